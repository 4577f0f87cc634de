"""Owns the tree of exceptions that callers can act on; knows neither HTTP nor the command line.

Every error has a stable `code` (for machines), a message (what is wrong) and a `hint` (what would be right).
Shells translate: the API to its answers in one table, the command line to one sentence and an exit code.
"""

from typing import ClassVar


class PandaError(Exception):
    """Something a caller can act on: what is wrong (`message`), what would be right (`hint`), and a stable `code`."""

    code: ClassVar[str] = "panda_error"

    def __init__(self, message: str, hint: str = "") -> None:
        between = " " if message.endswith((".", "!", "?")) else "; "
        super().__init__(f"{message}{between}{hint}" if hint else message)
        self.message = message
        self.hint = hint


class NotFound(PandaError):
    """The thing that was named does not exist."""

    code = "not_found"


class BadRequest(PandaError):
    """The request is malformed or its values are impossible: nothing was stored, and the same request never works."""

    code = "bad_request"


class Refused(BadRequest):
    """The request is well formed, but a rule forbids it: no site could ever serve it, a dataset does not exist, ..."""

    code = "refused"


class NameTaken(Refused):
    """A new task names something that exists already: the same request works under another name."""


class Forbidden(PandaError):
    """The caller is known, or not known at all, and may not do this."""

    code = "forbidden"


class NotOwner(Forbidden):
    """The caller may do such things, but not to this one: it is somebody else's."""

    code = "not_owner"


class Conflict(PandaError):
    """The state changed meanwhile or forbids the step; somebody else was faster, or the name is already taken."""

    code = "conflict"


class LeaseLost(Conflict):
    """The lease of this worker has ended and another may hold it: whatever it was about to write is not written."""

    code = "lease_lost"


class Unavailable(PandaError):
    """A service that is needed (database, storage, another server) does not answer; the same call may work later."""

    code = "unavailable"


class Busy(Unavailable):
    """More is asked for than can be done now; the same call works in a few seconds."""

    code = "busy"


class SchemaMismatch(PandaError):
    """The tables are older or newer than this program."""

    code = "schema_mismatch"


class PrerequisiteMissing(PandaError):
    """The machine lacks something that has to be installed or allowed first; the hint says what."""

    code = "prerequisite_missing"


class BadSettings(PandaError):
    """A setting has an impossible value, or two settings contradict each other; the message names them."""

    code = "bad_settings"
