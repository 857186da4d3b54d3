"""Problems of webhooks: the address, the endpoint, how many there are."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import FieldError, ProblemKind, show_of_request

_WEBHOOK = "/v1/webhooks/5b1f8a50-9a0e-4a4e-9d53-6a5f0f3a7c21"

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.CALLBACK_URL_NOT_ALLOWED: ProblemKind(
        "This address is not called",
        422,
        "Name an HTTPS address that the whole internet can reach, on port 443, 80 or above 1023. For a receiver in "
        "your own network, the operator allows that network with `CTCLIP_WEBHOOK_ALLOWED_NETWORKS`.",
        cause="`callback_url` of a submission, or `url` of a webhook, is none that messages may be sent to. `reason` "
        "says why: `malformed`, `scheme` (neither https nor http), `credentials` in the address, `host`, "
        "`internationalised_name` (letters beyond ASCII, also as `xn--`), `port`, `internal_address` (loopback, "
        "private, link-local, metadata, multicast, or IPv4 inside IPv6), `https_required` (plain HTTP is for allowed "
        "networks). What a name leads to is judged again at every try.",
        example=show_of_request(
            "Messages are not sent to this address.",
            instance="/v1/webhooks",
            errors=(FieldError("/url", "Not an address that is called: internal_address"),),
            reason="internal_address",
        ),
        related=(ProblemCode.VALIDATION_FAILED,),
    ),
    ProblemCode.WEBHOOK_NOT_FOUND: ProblemKind(
        "No such webhook",
        404,
        "Check the id; `GET /v1/webhooks` lists yours.",
        cause="No webhook of yours has this id, or it was deleted.",
        example=show_of_request("There is no webhook of this id.", instance=_WEBHOOK),
        related=(ProblemCode.NOT_FOUND, ProblemCode.WEBHOOK_DISABLED),
    ),
    ProblemCode.WEBHOOK_DISABLED: ProblemKind(
        "The webhook is disabled",
        409,
        "Mend the receiver, then `PATCH` the webhook with `enabled` true and repeat this.",
        cause="A ping or a replay was asked of a webhook that gets nothing. `disabled_reason` says why: `by_caller`, "
        "`gone` (it answered 410), or `failing` (it took nothing in all ten tries of a message).",
        example=show_of_request(
            "The webhook is disabled: failing.", instance=f"{_WEBHOOK}/ping", disabled_reason="failing"
        ),
        related=(ProblemCode.WEBHOOK_NOT_FOUND,),
    ),
    ProblemCode.WEBHOOK_LIMIT_REACHED: ProblemKind(
        "There are as many webhooks as there may be",
        409,
        "Delete one that is not needed. `limit` says how many there may be.",
        cause="A tenant may have a limited number of webhooks, enabled or not.",
        example=show_of_request("There are 20 webhooks already.", instance="/v1/webhooks", limit=20),
        related=(ProblemCode.WEBHOOK_DISABLED,),
    ),
}
