"""The grammar of names and the deterministic place of a file: what may be called what, and where it lies."""

import hashlib
import re
import unicodedata

from panda.errors import Refused

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+\-]{0,249}")
_SCOPE_LENGTH = 25
_INNER_DOT = re.compile(r"\.(?=.)")


def check_name(kind: str, name: str) -> str:
    """Return `name` if it keeps the grammar of names (security-sites.md section 3, point 6).

    Raises Refused that shows the nearest name that would be accepted.
    """
    if _NAME.fullmatch(name) and ".." not in name:
        return name
    raise Refused(
        f"{kind} {name!r} is not a valid name: it must start with a letter or digit, be at most 250 characters of "
        f"letters, digits and . _ : + - , and hold no '..'",
        hint=f"try {nearest_name(name)!r}",
    )


def nearest_name(name: str) -> str:
    """Make the valid name that looks most like `name`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._:+\-]+", "_", plain)
    plain = re.sub(r"\.{2,}", ".", plain).lstrip("._:+-")
    return plain[:250] or "unnamed"


def scope_of(name: str) -> str:
    """Tell a dataset's scope: the first part of its name, or the first two for user.* and group.* (Rucio's convention).

    Scopes are at most 25 characters; an explicit `scope:name` wins.
    """
    if ":" in name:
        return name.split(":", 1)[0][:_SCOPE_LENGTH]
    parts = name.split(".")
    n = 2 if parts[0] in {"user", "group"} and len(parts) > 1 else 1
    return ".".join(parts[:n])[:_SCOPE_LENGTH]


def bare_name(name: str) -> str:
    """Drop an explicit scope from `scope:name`, and a trailing slash (a container's mark for PanDA's clients)."""
    return name.split(":", 1)[-1].rstrip("/")


def file_path(scope: str, lfn: str) -> str:
    """Give a file's place below an RSE's root: scope, two levels of hash, LFN (the layout of a deterministic RSE).

    A dot inside a scope opens a folder (`user.jane` is user/jane): stock pilots find the place by the same rule.
    """
    digest = hashlib.md5(f"{scope}:{lfn}".encode(), usedforsecurity=False).hexdigest()
    return f"{_INNER_DOT.sub('/', scope)}/{digest[:2]}/{digest[2:4]}/{lfn}"
