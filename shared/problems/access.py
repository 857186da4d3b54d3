"""Problems of access: who asks, what they may do, how often."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind, show_of_request

_KEYS = "/v1/api-keys"

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.HOST_NOT_ALLOWED: ProblemKind(
        "The platform is not called by its name",
        421,
        "Call it as `localhost`, or have the operator name the host in `CTCLIP_GATEWAY_NAMES`.",
        cause="This installation asks nobody for a key, so it answers only who calls it by a name or address of its "
        "own machine, and no page of another host: otherwise a page of the web could let its name lead here, or send "
        "a form, and ask through a browser.",
        example=show_of_request("The `Host` header names neither this machine nor a name that the operator allows."),
        related=(ProblemCode.AUTHENTICATION_REQUIRED,),
    ),
    ProblemCode.AUTHENTICATION_REQUIRED: ProblemKind(
        "A key is needed",
        401,
        "Send `Authorization: Bearer` with an API key or a token. The operator makes keys with `ctclip keys create`.",
        cause="This installation answers known callers only, and the request does not say who sent it. `/health`, "
        "`/livez`, `/readyz`, the documentation and the catalogues of codes are open.",
        example=show_of_request("The request has no `Authorization: Bearer` header."),
        related=(ProblemCode.CREDENTIALS_INVALID, ProblemCode.INSUFFICIENT_SCOPE),
    ),
    ProblemCode.CREDENTIALS_INVALID: ProblemKind(
        "The key or token is not valid",
        401,
        "Check that the whole key is sent. Ask the operator for another; a token is fetched anew from its provider.",
        cause="The key is unknown, revoked or expired, or the token has expired, is signed by another, is meant for "
        "another service, or names no tenant. Which of these is not told, so that nothing can be guessed. "
        "The operator sees a key's end in `GET /v1/api-keys`.",
        example=show_of_request("The key or token is not valid here, or no longer."),
        related=(ProblemCode.AUTHENTICATION_REQUIRED,),
    ),
    ProblemCode.INSUFFICIENT_SCOPE: ProblemKind(
        "The key or token does not allow this",
        403,
        "Use a key that has the scope in `scope`. Scopes of a key never change; a new one is made.",
        cause="Who asks is known, and may not do this. `jobs:write` submits, cancels and erases, `jobs:read` reads "
        "jobs and results, `webhooks` manages webhooks, `admin` makes and revokes keys. None includes another.",
        example=show_of_request(
            "This needs the scope `jobs:write`, which the key or token does not have.", scope="jobs:write"
        ),
        related=(ProblemCode.CREDENTIALS_INVALID, ProblemCode.TENANT_FORBIDDEN),
    ),
    ProblemCode.TENANT_FORBIDDEN: ProblemKind(
        "Only administrators of the installation may do this",
        403,
        "Leave `tenant` out, or ask an administrator of the tenant `default`.",
        cause="Administrators make, list and revoke the keys of their own tenant. Those of the tenant `default` "
        "administer the installation: they may name any. `/metrics` tells of all tenants, so only keys "
        "of `default` read it.",
        example=show_of_request("Only administrators of the tenant `default` may name another.", instance=_KEYS),
        related=(ProblemCode.INSUFFICIENT_SCOPE,),
    ),
    ProblemCode.API_KEY_NOT_FOUND: ProblemKind(
        "No such key",
        404,
        "Check the id; `GET /v1/api-keys` lists yours. The id is not the prefix.",
        cause="No key that you administer has this id.",
        example=show_of_request(
            "There is no key of this id.", instance=f"{_KEYS}/b0f1a1de-6c1f-4f0b-8f55-0b8d1f1e7a10"
        ),
        related=(ProblemCode.NOT_FOUND,),
    ),
    ProblemCode.RATE_LIMITED: ProblemKind(
        "Too many requests",
        429,
        "Wait as `Retry-After` says. Poll a job as its own `Retry-After` says, or follow its events instead.",
        cause="The key or token has sent more requests than its allowance holds (`CTCLIP_RATE_LIMIT_PER_MINUTE`, "
        "`CTCLIP_RATE_LIMIT_BURST`), or all of its tenant together (`CTCLIP_TENANT_RATE_LIMIT_PER_MINUTE`, "
        "`CTCLIP_TENANT_RATE_LIMIT_BURST`), counted over all gateways. `RateLimit` in every answer tells what is left "
        "of the scarcer one. An address that keeps sending keys which are not valid is answered so too "
        "(`CTCLIP_REFUSED_LIMIT_PER_MINUTE`).",
        example=show_of_request("This key or token has asked too often. Wait as `Retry-After` says.", retry_after_s=1),
        related=(ProblemCode.TENANT_UPLOADS_BUSY, ProblemCode.TOO_MANY_STREAMS),
    ),
    ProblemCode.TENANT_UPLOADS_BUSY: ProblemKind(
        "Too many uploads at once",
        429,
        "Wait as `Retry-After` says, and send fewer studies at the same time. `limit` says how many.",
        cause="The tenant is sending as many bodies to this gateway at once as it may "
        "(`CTCLIP_TENANT_UPLOAD_CONCURRENCY`), so that slow uploads of one cannot keep all others out.",
        example=show_of_request("16 uploads are coming in already.", limit=16),
        related=(ProblemCode.RATE_LIMITED,),
    ),
    ProblemCode.IDENTITY_PROVIDER_UNAVAILABLE: ProblemKind(
        "The identity provider cannot be asked",
        503,
        "Try again as `Retry-After` says. API keys work meanwhile.",
        cause="The keys that tokens are verified with are fetched from the provider (`CTCLIP_OIDC_ISSUER`, "
        "`CTCLIP_OIDC_JWKS_URL`), which does not answer, or not with keys.",
        example=show_of_request("The identity provider cannot be asked. The same request may succeed later."),
        related=(ProblemCode.CREDENTIALS_INVALID,),
    ),
}
