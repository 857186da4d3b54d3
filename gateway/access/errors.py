"""Problems of access, each made in one place, with the headers that belong to it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.access.scopes import Scope
from shared.errors import InputProblem
from shared.problems import ProblemCode

_REALM = 'Bearer realm="ctclip"'


class AccessRefused(InputProblem):
    """The caller may not ask this, or not now; `headers` say how it could."""

    headers: Mapping[str, str]


class HostNotAllowed(AccessRefused):
    """The gateway is called by a name that is not its own, or from a page of another host; `header` says so."""

    headers: Mapping[str, str] = {}

    def __init__(self, header: str) -> None:
        detail = f"The `{header}` header names neither this machine nor a name that the operator allows."
        super().__init__(ProblemCode.HOST_NOT_ALLOWED, detail)


class AuthenticationRequired(AccessRefused):
    """Nothing says who asks."""

    headers: Mapping[str, str] = {"WWW-Authenticate": _REALM}

    def __init__(self) -> None:
        super().__init__(ProblemCode.AUTHENTICATION_REQUIRED, "The request has no `Authorization: Bearer` header.")


class CredentialsInvalid(AccessRefused):
    """The key or token is not valid. Whether it is unknown, expired or revoked is not told."""

    headers: Mapping[str, str] = {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'}

    def __init__(self) -> None:
        super().__init__(ProblemCode.CREDENTIALS_INVALID, "The key or token is not valid here, or no longer.")


class InsufficientScope(AccessRefused):
    """The caller is known, and may not do this."""

    def __init__(self, scope: Scope) -> None:
        detail = f"This needs the scope `{scope}`, which the key or token does not have."
        super().__init__(ProblemCode.INSUFFICIENT_SCOPE, detail, scope=str(scope))
        self.headers = {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{scope}"'}


class TenantForbidden(InputProblem):
    """An administrator of one tenant asked for something of another."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.TENANT_FORBIDDEN, "Only administrators of the tenant `default` may name another.")


class OperatorRequired(AccessRefused):
    """Only callers of the installation's own tenant may ask this."""

    headers: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__(ProblemCode.TENANT_FORBIDDEN, "Only callers of the tenant `default` may ask this.")


class ApiKeyNotFound(InputProblem):
    """No key that this administrator may see has this id."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.API_KEY_NOT_FOUND, "There is no key of this id.")


class RateLimited(AccessRefused):
    """`subject`, in words with its verb, asked too often."""

    def __init__(self, subject: str, retry_after_s: int, headers: Mapping[str, str]) -> None:
        detail = f"{subject} asked too often. Wait as `Retry-After` says."
        super().__init__(ProblemCode.RATE_LIMITED, detail, retry_after_s=retry_after_s)
        self.headers = {**headers, "Retry-After": str(retry_after_s)}


class TenantUploadsBusy(AccessRefused):
    """The tenant sends as many bodies at once as it may."""

    headers: Mapping[str, str] = {"Retry-After": "2"}

    def __init__(self, limit: int) -> None:
        super().__init__(ProblemCode.TENANT_UPLOADS_BUSY, f"{limit} uploads are coming in already.", limit=limit)
