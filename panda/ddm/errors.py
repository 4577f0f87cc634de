"""What can go wrong in data management: one class per cause that a caller can act on.

`code` is stable and goes to logs and wires; `retryable` says whether the same call may succeed later.
"""

from typing import ClassVar

from panda.errors import PandaError


class DdmError(PandaError):
    """The root: data management refused or failed."""

    code = "ddm_error"
    retryable: ClassVar[bool] = False


class Unavailable(DdmError):
    """Not reachable now; try again later."""

    code = "ddm_unavailable"
    retryable = True


class Overloaded(DdmError):
    """Too much at once; try again after `retry_after` seconds."""

    code = "ddm_overloaded"
    retryable = True

    def __init__(self, message: str, hint: str = "", *, retry_after: float) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class NotFound(DdmError):
    """A dataset, file, copy or transfer that does not exist."""

    code = "ddm_not_found"


class Closed(DdmError):
    """The dataset is closed and does not change any more."""

    code = "ddm_closed"


class Inconsistent(DdmError):
    """It exists with another size, checksum, GUID or content."""

    code = "ddm_inconsistent"


class InvalidName(DdmError):
    """A scope or name outside the grammar."""

    code = "ddm_invalid_name"


class InvalidExpression(DdmError):
    """An RSE expression that cannot be read."""

    code = "ddm_invalid_expression"


class NoTarget(DdmError):
    """No such RSE, or it does not accept data."""

    code = "ddm_no_target"


class QuotaExceeded(DdmError):
    """The account would hold more than its limit."""

    code = "ddm_quota_exceeded"


class Denied(DdmError):
    """Not allowed."""

    code = "ddm_denied"
