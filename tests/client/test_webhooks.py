"""`ctclip webhook verify` beside the package that signs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook
from typer.testing import CliRunner, Result

from client.command import app
from shared.webhooks import make_secret

BODY = json.dumps({"type": "job.completed", "timestamp": "2026-03-01T10:00:07Z", "data": {"job_id": "1"}})
SECRET = make_secret()


def run(body: str, *options: str, sent_at: datetime, secret: str = SECRET) -> Result:
    headers = {
        "Webhook-Id": "msg_1",
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": f"v1,AAAA {Webhook(SECRET).sign('msg_1', sent_at, BODY)}",
    }
    told = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    return CliRunner().invoke(app, ["webhook", "verify", "-", "--secret", secret, *told, *options], input=body)


class TestVerify:
    def test_accepts_what_was_signed_with_the_secret(self) -> None:
        done = run(BODY, "--json", sent_at=datetime.now(UTC))
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout) == {"is_valid": True, "message": json.loads(BODY)}

    @pytest.mark.parametrize("options", [(), ("--any-age",)])
    def test_refuses_another_body_or_secret(self, options: tuple[str, ...]) -> None:
        assert run(f"{BODY} ", *options, sent_at=datetime.now(UTC)).exit_code == 1
        assert run(BODY, *options, sent_at=datetime.now(UTC), secret=make_secret()).exit_code == 1

    def test_accepts_an_old_message_only_when_told(self) -> None:
        sent_at = datetime.now(UTC) - timedelta(days=2)
        refused = run(BODY, sent_at=sent_at)
        assert (refused.exit_code, refused.stdout) == (1, "Not valid: Message timestamp too old.\n")
        assert run(BODY, "--any-age", sent_at=sent_at).exit_code == 0

    def test_refuses_what_lacks_a_header_and_explains_wrong_usage(self) -> None:
        arguments = ["webhook", "verify", "-", "--secret", SECRET, "-H", "webhook-id: a"]
        for options in ((), ("--any-age",)):
            assert CliRunner().invoke(app, [*arguments, *options], input=BODY).exit_code == 1
        for wrong in (["--secret", "no base64!", "-H", "a: b"], ["--secret", SECRET, "-H", "no colon"]):
            assert CliRunner().invoke(app, ["webhook", "verify", "-", *wrong], input=BODY).exit_code == 2
