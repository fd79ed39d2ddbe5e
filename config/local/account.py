"""Who the database server runs as, and where that user can reach it.

PostgreSQL refuses to run as root. Root therefore runs it as an unprivileged user that every system has,
without adding users and without opening a folder that is not ours: what that user cannot reach in the clone
is put into a folder of our own under the system's temporary folder.
"""

import hashlib
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from config.local.errors import LocalStackError
from config.local.folder import PROJECT


@dataclass(frozen=True)
class Account:
    """An existing user and its own group."""

    name: str
    uid: int
    gid: int

    def can_reach(self, path: Path) -> bool:
        """Tell whether this user, as one of the others, may pass all folders on the path and read its end."""
        resolved = path.resolve()
        return all(_is_open_to_others(place) for place in (resolved, *resolved.parents))


def _is_open_to_others(path: Path) -> bool:
    mode = path.stat().st_mode
    wanted = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return bool(mode & wanted)


def server_account() -> Account | None:
    """Return the user that the database server runs as; None means: as ourselves, since we are not root.

    Raises:
        LocalStackError: we are root and the system has no unprivileged user.
    """
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise LocalStackError("PostgreSQL cannot run as root and there is no user 'nobody': run this as another user.")


def shelter(*, account: Account) -> Path:
    """Return our own folder under the system's temporary one, for this clone, that the account can reach.

    Safe against a folder planted there by another user: it must be a real folder, ours, and writable by
    nobody else.

    Raises:
        LocalStackError: the account cannot reach the temporary folder, or the folder is not ours.
    """
    name = f"saga-bridge-{hashlib.sha256(os.fsencode(PROJECT)).hexdigest()[:16]}"
    place = Path(tempfile.gettempdir())
    if not account.can_reach(place):
        raise LocalStackError(f"Set TMPDIR to a folder that the user {account.name!r} can reach: {place} is closed.")
    folder = place / name
    try:
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise LocalStackError(f"{folder} is not a folder of ours: remove it.")
    return folder
