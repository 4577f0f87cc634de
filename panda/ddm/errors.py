"""What can go wrong in data management: one class per cause that a caller can act on.

`code` is stable and goes to logs and wires; `retryable` says whether the same call may succeed later.
"""


class DdmError(Exception):
    """The root: data management refused or failed."""

    code = "DDM_ERROR"
    retryable = False


class Unavailable(DdmError):
    """Not reachable now; try again later."""

    code = "DDM_UNAVAILABLE"
    retryable = True


class Overloaded(DdmError):
    """Too much at once; try again after `retry_after` seconds."""

    code = "DDM_OVERLOADED"
    retryable = True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFound(DdmError):
    """A dataset, file, copy or transfer that does not exist."""

    code = "DDM_NOT_FOUND"


class Closed(DdmError):
    """The dataset is closed and does not change any more."""

    code = "DDM_CLOSED"


class Inconsistent(DdmError):
    """It exists with another size, checksum, GUID or content."""

    code = "DDM_INCONSISTENT"


class InvalidName(DdmError):
    """A scope or name outside the grammar."""

    code = "DDM_INVALID_NAME"


class InvalidExpression(DdmError):
    """An RSE expression that cannot be read."""

    code = "DDM_INVALID_EXPRESSION"


class NoTarget(DdmError):
    """No such RSE, or it does not accept data."""

    code = "DDM_NO_TARGET"


class QuotaExceeded(DdmError):
    """The account would hold more than its limit."""

    code = "DDM_QUOTA_EXCEEDED"


class Denied(DdmError):
    """Not allowed."""

    code = "DDM_DENIED"
