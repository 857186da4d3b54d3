"""Problems of webhooks, each made in one place."""

from __future__ import annotations

from gateway.problems.handlers import make_pointer
from shared.callback_urls import UrlRefusal
from shared.errors import InputProblem
from shared.problems import FieldError, Problem, ProblemCode


class CallbackUrlNotAllowed(InputProblem):
    """The address in the field `name` is none that messages are sent to. It is never repeated."""

    def __init__(self, name: str, refusal: UrlRefusal) -> None:
        detail = "Messages are not sent to this address."
        super().__init__(ProblemCode.CALLBACK_URL_NOT_ALLOWED, detail, reason=str(refusal))
        error = FieldError(make_pointer([name]), f"Not an address that is called: {refusal}")
        self.problem = Problem(self.problem.code, detail, self.problem.facts, errors=(error,))


class WebhookNotFound(InputProblem):
    """No webhook of this tenant has this id."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.WEBHOOK_NOT_FOUND, "There is no webhook of this id.")


class WebhookDisabled(InputProblem):
    """The webhook gets nothing, so nothing can be sent to it on demand."""

    def __init__(self, reason: str | None) -> None:
        detail = f"The webhook is disabled: {reason}."
        super().__init__(ProblemCode.WEBHOOK_DISABLED, detail, disabled_reason=reason)


class WebhookLimitReached(InputProblem):
    """There are as many webhooks as there may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(ProblemCode.WEBHOOK_LIMIT_REACHED, f"There are {limit} webhooks already.", limit=limit)
