"""The envelopes of pilots' calls, for the documented routes and for the hot way in front of them alike."""

from collections.abc import Sequence
from functools import lru_cache

import orjson
from pydantic import ValidationError

from panda.domain.dispatch import HandedJob, JobUpdate, UpdateAnswer
from panda.errors import BadRequest
from panda.settings import Settings
from panda_api.envelope import as_json, failure, success
from panda_api.errors import described, field_name, sentence
from panda_api.render import NO_JOBS, STATUS_INVALID, STATUS_OK, job_json, no_jobs, wire_update
from panda_api.wire.beats import update_of


def jobs_envelope(settings: Settings, jobs: Sequence[HandedJob]) -> dict[str, object]:
    """The answer to a request for jobs."""
    if not jobs:
        return failure(NO_JOBS, no_jobs(settings.pilot.retry_after_s))
    source = settings.api_url
    return success({"StatusCode": STATUS_OK, "jobs": [orjson.Fragment(job_json(one, source)) for one in jobs]})


# The same answer cut where its jobs stand: JSON made once need not be looked through again.
_BEFORE, _AFTER = as_json(success({"StatusCode": STATUS_OK, "jobs": ["|"]})).split(b'"|"')


def jobs_json(settings: Settings, jobs: Sequence[HandedJob], source: str) -> bytes:
    """The JSON of `jobs_envelope`; `source` is the server's address, which the settings work out each time."""
    if not jobs:
        return as_json(jobs_envelope(settings, jobs))
    return b"".join((_BEFORE, b",".join([job_json(one, source) for one in jobs]), _AFTER))


def update_envelope(job_id: int, answer: UpdateAnswer) -> dict[str, object]:
    """The answer to one update."""
    if not answer.known:
        return failure(f"there is no job {job_id}", wire_update(answer))
    return success(wire_update(answer), answer.note)


@lru_cache(maxsize=1024)
def _update_said(answer: UpdateAnswer) -> bytes:
    return as_json(update_envelope(0, answer))


def update_json(job_id: int, answer: UpdateAnswer) -> bytes:
    """The JSON of `update_envelope`; it names the job only where there is none."""
    return _update_said(answer) if answer.known else as_json(update_envelope(job_id, answer))


Part = JobUpdate | dict[str, object]
"""One update of many: as it was understood, or the envelope that says why it was not."""


def parts_of(told: Sequence[dict[str, object]]) -> list[Part]:
    """Each update of a bulk judged alone, in order."""
    return [_part(one) for one in told]


def _part(raw: dict[str, object]) -> Part:
    try:
        return update_of(raw)
    except ValidationError as error:
        found = error.errors()
        names = [field_name(("", *one["loc"])) for one in found]
        text = "; ".join(sentence(name, dict(one)) for name, one in zip(names, found, strict=True))
        return failure(text, {"StatusCode": STATUS_INVALID, **described(BadRequest(text), names)})


def bulk_envelope(parts: Sequence[Part], answers: Sequence[UpdateAnswer]) -> dict[str, object]:
    """The answer to a bulk: one envelope for each update, in order; `answers` are those to the understood ones."""
    left = iter(answers)
    said = [
        orjson.Fragment(update_json(one.job_id, next(left))) if isinstance(one, JobUpdate) else one for one in parts
    ]
    return success(said)
