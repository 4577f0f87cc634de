"""Names that come over the wire, and the place a file has on a storage: refused here before anything is written."""

import hashlib
import re
from pathlib import Path

from pilot.errors import ErrorCode, JobError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+\-]{0,254}")
_INNER_DOT = re.compile(r"\.(?=.)")
_EMPTY = frozenset({"", "NULL", "None"})


def checked_name(kind: str, name: str) -> str:
    """`name` if it follows the grammar of security-sites.md section 3 point 6, else a JobError with 1110."""
    if NAME.fullmatch(name) is None or ".." in name:
        message = (
            f"{kind} {name!r:.120} is refused: a name starts with a letter or digit, goes on with letters, digits and"
            " . _ : + -, has at most 255 characters and holds no '..'"
        )
        raise JobError(ErrorCode.SETUP_FAILED, message)
    return name


def is_given(value: object) -> bool:
    """Whether a wire value says something: `NULL` and the empty text mean none."""
    return value is not None and str(value) not in _EMPTY


def place(root: Path, scope: str, lfn: str) -> Path:
    """The deterministic path of a file under a storage's root; a JobError if it would lie outside of the root.

    <root>/<scope>/<h[0:2]>/<h[2:4]>/<lfn> with h the md5 of "scope:lfn", as the DDM computes it; a dot inside the scope
    opens a folder.
    """
    checked_name("scope", scope)
    checked_name("file name", lfn)
    digest = hashlib.md5(f"{scope}:{lfn}".encode(), usedforsecurity=False).hexdigest()
    path = root.joinpath(_INNER_DOT.sub("/", scope), digest[0:2], digest[2:4], lfn)
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise JobError(ErrorCode.SETUP_FAILED, f"{path} leaves the storage's folder {root}")
    return path
