"""Errors of PanDA in Prefect's logs and states: what is wrong and what would be right, instead of a stack of ours."""

import logging

from prefect.exceptions import FailedRun
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from panda.ddm.port import DdmError
from panda.errors import PandaError

LOGGERS = ("prefect.flow_runs", "prefect.task_runs")

EXPECTED = (PandaError, DdmError, DBAPIError)
"""What people can act on; anything else is a defect of ours, whose stack is wanted."""


def said(error: BaseException) -> str:
    """Say an error as people read it: its own sentence, without SQL and without a stack."""
    if isinstance(error, DBAPIError):
        return f"The database does not answer as it should: {str(error.orig).strip()}. The same works later."
    if isinstance(error, DdmError):
        return f"Data management: {error}"
    return str(error)


class Plainly(logging.Filter):
    """Takes the stack from log records about errors that people can act on."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Let records pass; one about an expected error says it in one line.

        What a worker's process logs when its run has ended in a failed state is left out: the line before it, "Finished
        in state ...", says why in PanDA's words.
        """
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, FailedRun):
            return False
        if isinstance(error, EXPECTED):
            record.msg, record.args = f"{type(error).__name__}: %s", (said(error),)
            record.exc_info, record.exc_text = None, None
        return True


def speak_plainly() -> None:
    """Put the filter in front of Prefect's loggers of runs; once is enough, more does no harm."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, Plainly) for one in logger.filters):
            logger.addFilter(Plainly())
