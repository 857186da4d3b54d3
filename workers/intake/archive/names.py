"""Names of entries: data to be judged and shown, never paths to be opened."""

from __future__ import annotations

import re

from workers.intake.limits import LONGEST_NAME

_UTF8_FLAG = 0x800
_DRIVE = re.compile(r"^[A-Za-z]:")
_JUNK_FOLDERS = {"__macosx", ".git", ".svn", "$recycle.bin", "system volume information"}
_JUNK_NAMES = {".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db"}


def decode_name(raw: bytes, flags: int) -> str:
    """Return the name as text: UTF-8 where it says so and is right, else code page 437, which reads any byte."""
    if flags & _UTF8_FLAG:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return raw.decode("cp437")


def escape_name(name: str) -> str:
    """Return a name that can be shown and stored anywhere: nothing but printable characters, cut to 255."""
    shown: list[str] = []
    for character in name[: LONGEST_NAME + 1]:
        is_plain = character.isprintable() and character != "\\"
        shown.append(character if is_plain else character.encode("unicode_escape").decode("ascii"))
    escaped = "".join(shown)
    return escaped if len(escaped) <= LONGEST_NAME else escaped[: LONGEST_NAME - 1] + "…"


def is_unsafe(name: str) -> bool:
    """Whether a careless unpacker would write outside of its folder."""
    return (
        "\\" in name or name.startswith("/") or _DRIVE.match(name) is not None or ".." in name.rstrip("\x00").split("/")
    )


def is_junk(name: str) -> bool:
    """Whether the name is one that file managers leave behind."""
    *folders, last = name.lower().split("/")
    return last in _JUNK_NAMES or last.startswith("._") or any(folder in _JUNK_FOLDERS for folder in folders)
