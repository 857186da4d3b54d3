"""Generated secrets of a state folder: made once, kept in `secrets.json` (0600), never in a command line or a log."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from deploy.embedded.problems import StackProblem
from deploy.embedded.state_folder import StateFolder, read_json, write_json
from gateway.access.keys import make_key
from shared.json_values import JsonObject

FLOWER_USER = "ctclip"
PSEUDONYM_KEY = "CTCLIP_PSEUDONYM_KEY"
RECEIPT_KEY = "CTCLIP_RECEIPT_KEY"

_SECRET_BYTES = 24
_KEY_BYTES = 32


@dataclass(frozen=True, repr=False)
class Credentials:
    """What the embedded servers and Flower are entered with, and the keys of our own. All are URL-safe."""

    postgres_user: str
    postgres_password: str
    broker_password: str
    storage_access_key: str
    storage_secret_key: str
    flower_user: str
    flower_password: str
    pseudonym_key: str
    receipt_key: str
    api_key: str

    def choose_keys(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the settings that pseudonyms and receipts are made with: the environment's own, or this folder's."""
        own = {PSEUDONYM_KEY: self.pseudonym_key, RECEIPT_KEY: self.receipt_key}
        return {name: environment.get(name) or key for name, key in own.items()}


def load_or_create_credentials(folder: StateFolder) -> Credentials:
    """Return the folder's credentials, made on the first start.

    Raises StackProblem when data is there but the secrets that open it are not.
    """
    kept = read_json(folder.credentials_file)
    if kept is not None:
        return _parse(kept, folder)
    if folder.postgres.exists():
        raise StackProblem(
            f"{folder.credentials_file} is missing or damaged, and the database beside it opens with nothing else. "
            "Restore that file, or name an empty folder with --state."
        )
    credentials = generate_credentials()
    write_json(folder.credentials_file, asdict(credentials))
    return credentials


def generate_credentials() -> Credentials:
    """Return fresh random credentials."""
    return Credentials(
        postgres_user="ctclip",
        postgres_password=_make_secret(),
        broker_password=_make_secret(),
        # rclone refuses access keys of two letters.
        storage_access_key=f"ctclip-{secrets.token_hex(6)}",
        storage_secret_key=_make_secret(),
        flower_user=FLOWER_USER,
        flower_password=_make_secret(),
        pseudonym_key=_make_key(),
        receipt_key=_make_key(),
        api_key=make_key().text,
    )


def _make_secret() -> str:
    return secrets.token_hex(_SECRET_BYTES)


def _make_key() -> str:
    return secrets.token_hex(_KEY_BYTES)


def _parse(kept: JsonObject, folder: StateFolder) -> Credentials:
    made: dict[str, Callable[[], str]] = {
        "pseudonym_key": _make_key,
        "receipt_key": _make_key,
        "api_key": lambda: make_key().text,
    }
    lacking = made.keys() - kept.keys()  # the folder is older than pseudonyms, receipts or API keys
    if lacking:
        kept = {**kept, **{name: made[name]() for name in sorted(lacking)}}
        write_json(folder.credentials_file, kept)
    try:
        return Credentials(**kept)  # type: ignore[arg-type]  # a wrong shape is the case that is caught
    except TypeError as error:
        raise StackProblem(
            f"{folder.credentials_file} has other fields than this version expects. "
            "Restore the file that the version which made this folder wrote, or name an empty folder with --state."
        ) from error
