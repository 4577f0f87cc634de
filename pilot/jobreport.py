"""What a payload says of itself in jobReport.json: events, events per output, an error of its own; all optional."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilot.errors import JobReportError

NAME = "jobReport.json"
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class JobReport:
    """Events processed, events per output file, and the payload's own error code and text."""

    n_events: int | None = None
    output_events: Mapping[str, int] = field(default_factory=dict)
    error_code: int = 0
    error_diagnosis: str = ""


def read_job_report(work: Path) -> JobReport:
    """The report in a work folder; an empty one if there is none. JobReportError says what is wrong with it."""
    path = work / NAME
    if not path.is_file():
        return JobReport()
    if path.stat().st_size > _MAX_BYTES:
        raise JobReportError(f"{NAME} is larger than {_MAX_BYTES} bytes")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise JobReportError(f"{NAME} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise JobReportError(f"{NAME} holds no object")
    outputs = content.get("outputs") or {}
    if not isinstance(outputs, dict):
        raise JobReportError(f"outputs in {NAME} is not an object")
    events = {str(lfn): _count(entry.get("events")) for lfn, entry in outputs.items() if isinstance(entry, dict)}
    return JobReport(
        n_events=_count(content.get("nEvents")),
        output_events={lfn: count for lfn, count in events.items() if count is not None},
        error_code=_count(content.get("exeErrorCode")) or 0,
        error_diagnosis=str(content.get("exeErrorDiag") or ""),
    )


def _count(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise JobReportError(f"{value!r:.40} in {NAME} is not a count")
    return value
