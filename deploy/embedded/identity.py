"""Under which identity PostgreSQL runs: it refuses to be root.

An ordinary user starts it directly. Root starts it in a user namespace, where it sees uid 1000 while its files stay
root's: no account, no change of owners. Where namespaces are forbidden (many containers), root starts it as an
unprivileged account that owns the data folder and needs to reach it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.problems import StackProblem

_NAMESPACE = ("--user", "--map-user=1000", "--map-group=1000", "--")
_FALLBACK_ACCOUNTS = ("postgres", "nobody")
_TRIAL_LIMIT_S = 5
_INSTALL_ADVICE = "Install the platform outside of a private home folder, or start it as an ordinary user."


@dataclass(frozen=True)
class PostgresIdentity:
    """`wrapper` goes before every PostgreSQL command; `owner_uid` must own the data folder."""

    wrapper: tuple[str, ...]
    owner_uid: int
    owner_gid: int


def choose_identity() -> PostgresIdentity:
    """Return how this user can run PostgreSQL here. Raises StackProblem when root has neither way."""
    if os.geteuid() != 0:
        return PostgresIdentity((), os.geteuid(), os.getegid())
    return _user_namespace() or account_identity()


def account_identity() -> PostgresIdentity:
    """Return the fallback of root: an unprivileged account. Raises StackProblem when there is none."""
    setpriv = shutil.which("setpriv")
    account = _find_account()
    if setpriv is None or account is None:
        raise StackProblem(
            "PostgreSQL refuses to run as root, and neither `unshare --user` nor `setpriv` with the account "
            "`postgres` or `nobody` works here. Start the platform as an ordinary user, or set CTCLIP_DATABASE_URL."
        )
    wrapper = (setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--")
    return PostgresIdentity(wrapper, account.pw_uid, account.pw_gid)


def give_folder(folder: Path, identity: PostgresIdentity) -> None:
    """Make the identity own the data folder (the way of running it may have changed since the last start)."""
    if folder.stat().st_uid == identity.owner_uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, identity.owner_uid, identity.owner_gid, follow_symlinks=False)


def let_through(folder: Path, identity: PostgresIdentity, server: Path) -> None:
    """Let another account pass through the state folder (not list it), and prove that it reaches it and the server.

    Raises StackProblem when a folder above bars the way.
    """
    if identity.owner_uid == os.geteuid():
        return
    folder.chmod(0o711)
    for path, advice in ((folder, "Name a folder under /var/lib or /srv with --state."), (server, _INSTALL_ADVICE)):
        if not _runs((*identity.wrapper, "test", "-x", str(path))):
            raise StackProblem(
                f"PostgreSQL must run as another account than root here, and that account cannot reach {path}. {advice}"
            )


def _user_namespace() -> PostgresIdentity | None:
    unshare = shutil.which("unshare")
    if unshare is None or not _runs((unshare, *_NAMESPACE, "true")):
        return None
    return PostgresIdentity((unshare, *_NAMESPACE), os.geteuid(), os.getegid())


def _find_account() -> pwd.struct_passwd | None:
    for name in _FALLBACK_ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _runs(command: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=_TRIAL_LIMIT_S, check=False).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
