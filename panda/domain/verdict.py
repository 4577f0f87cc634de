"""The verdict on a final report: finished or failed, which outputs count, and which errors stand (domain.md 2.6, 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from panda.domain.dispatch import ErrorPair

DDM_ADDER = 200
"""ddmErrorCode: outputs could not be added."""
NO_REPORT = 1187
OUTPUT_MISSING = 1165


@dataclass(frozen=True, slots=True)
class ExpectedOutput:
    """An output or log that a job should have made."""

    place: int
    kind: str
    scope: str
    lfn: str
    dataset: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class FoundOutput:
    """An expected output with what the pilot reported of it; `rse` defaults to the site's."""

    expected: ExpectedOutput
    guid: str | None
    bytes: int
    adler32: str
    rse: str
    events: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the job did its work, the outputs to register (a failed job keeps its log only), and the errors."""

    finished: bool
    outputs: tuple[FoundOutput, ...]
    errors: tuple[ErrorPair, ...]

    @property
    def words(self) -> str:
        """Say in one line how it ended."""
        if self.finished:
            return "all outputs are reported"
        return "; ".join(f"{one.component}:{one.code} {one.text}".strip() for one in self.errors)[:500]


def judge(
    said: str,
    reported: Mapping[str, Mapping[str, object]],
    errors: Sequence[Mapping[str, object]],
    expected: Sequence[ExpectedOutput],
    site_rse: str,
) -> Verdict:
    """Judge a report: `finished` needs every output that is not optional, with size and checksum, and no error.

    Sizes and checksums that are missing fail the job with ddm error 200, as in 2009 (domain.md 2.6).
    """
    pairs = [ErrorPair(str(one["component"]), _int(one["code"]), str(one.get("text", ""))) for one in errors]
    found = [_found(one, reported[one.lfn], site_rse) for one in expected if one.lfn in reported]
    good = tuple(one for one in found if one is not None)
    there = {one.expected.lfn for one in good}
    if said == "finished":
        bad = [one.lfn for one in expected if one.lfn in reported and one.lfn not in there]
        lost = [one.lfn for one in expected if one.lfn not in reported and not one.optional]
        if bad:
            pairs.append(ErrorPair("ddm", DDM_ADDER, f"no size or checksum reported for {', '.join(bad[:5])}"))
        if lost:
            pairs.append(ErrorPair("pilot", OUTPUT_MISSING, f"outputs not reported: {', '.join(lost[:5])}"))
        if not bad and not lost:
            return Verdict(True, good, ())
    elif not pairs:
        pairs.append(ErrorPair("pilot", NO_REPORT, "the pilot reported a failure without any error code"))
    logs = tuple(one for one in good if one.expected.kind == "log")
    return Verdict(False, logs, tuple(pairs))


def _found(expected: ExpectedOutput, said: Mapping[str, object], site_rse: str) -> FoundOutput | None:
    size, checksum = said.get("bytes"), said.get("adler32")
    if not isinstance(size, int) or size < 0 or not isinstance(checksum, str) or not _is_adler32(checksum):
        return None
    guid, rse, events = said.get("guid"), said.get("rse"), said.get("events")
    return FoundOutput(
        expected,
        str(guid) if guid else None,
        size,
        checksum.lower(),
        str(rse) if rse else site_rse,
        events if isinstance(events, int) else None,
    )


def _is_adler32(text: str) -> bool:
    return len(text) == 8 and all(one in "0123456789abcdefABCDEF" for one in text)  # noqa: PLR2004 - hex digits


def _int(value: object) -> int:
    return int(value) if isinstance(value, int | str) else 0
