"""Dispatch: what pilots say of the jobs they hold; how they get them is `panda.services.acquire`.

Many reports are taken in one transaction; a single one is a list of one, so that every way in follows the same rules.
What a report does is decided row by row under the job's lock, as a value; then each kind of change is one statement.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from panda.domain.dispatch import ErrorPair, JobUpdate, UpdateAnswer, is_another_batch
from panda.domain.pilotcommand import KILL
from panda.domain.states import FINAL_JOB, JobStatus
from panda.services.acquire import Answer, Say, acquire, acquire_many, plainly
from panda.services.board import Board
from panda.services.context import Context
from panda.services.handing import job_numbers
from panda.store import queue, reports
from panda.store.joined import joined
from panda.store.reports import Held, Step

__all__ = ["KILL", "Answer", "Say", "acquire", "acquire_many", "job_numbers", "plainly"]

BATCH = 64
"""Most requests in one transaction."""

KILLED = ErrorPair("pilot", 1144, "killed by order")
_DEAD = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.CLOSED})
BEATS = frozenset({JobStatus.STARTING, JobStatus.RUNNING})
_ENDS = frozenset({JobStatus.FINISHED, JobStatus.FAILED})

_TAKEN = UpdateAnswer(accepted=True)

# Serialization failure, deadlock, lock not available: troubles of some rows, not of all.
_OF_ONE_ROW = frozenset({"40001", "40P01", "55P03"})

Asked = TypeVar("Asked")
Given = TypeVar("Given")


_STATUS = {one.value: one for one in JobStatus}


class _Outcome(NamedTuple):
    """What one report does: the answer, and which rows change."""

    answer: UpdateAnswer
    step: Step | None = None
    sign_of_life: bool = False
    report: JobUpdate | None = None
    collected: bool = False


def update(ctx: Context, news: JobUpdate) -> UpdateAnswer:
    """Take a pilot's report on one job. Twice, late or of the wrong attempt: it changes nothing and is answered so."""
    with ctx.engine.connect() as connection:
        return take_reports(connection, [news], Board())[0]


def update_many(ctx: Context, news: Sequence[JobUpdate]) -> list[UpdateAnswer]:
    """Take many reports, 64 in a transaction; one that fails does so alone, and its error is raised after the others.

    The answers are in the order of the reports.
    """
    board = Board()
    answers: list[UpdateAnswer | Exception] = []
    with ctx.engine.connect() as connection:
        for start in range(0, len(news), BATCH):
            answers += each_alone(lambda some: take_reports(connection, some, board), news[start : start + BATCH])
    return [_raised(one) for one in answers]


def _raised(answer: UpdateAnswer | Exception) -> UpdateAnswer:
    if isinstance(answer, Exception):
        raise answer
    return answer


def each_alone(serve: Callable[[Sequence[Asked]], Sequence[Given]], asked: Sequence[Asked]) -> list[Given | Exception]:
    """Serve requests together; if that fails each alone, so that only the one that cannot be served gets an error."""
    try:
        return list(serve(asked))
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the request that it happened to
        if len(asked) == 1 or is_down(error):
            return [error] * len(asked)
    return [answer for one in asked for answer in each_alone(serve, [one])]


def batch_engine(engine: Engine) -> Engine:
    """Connections for those who serve many in a transaction: it begins with its first statement."""
    return joined(engine)


def is_down(error: Exception) -> bool:
    """Whether the database serves nobody now, so that asking again at once is of no use."""
    if isinstance(error, InterfaceError):
        return True
    return isinstance(error, OperationalError) and getattr(error.orig, "pgcode", None) not in _OF_ONE_ROW


def take_reports(connection: Connection, news: Sequence[JobUpdate], board: Board) -> list[UpdateAnswer]:
    """Take many reports in one transaction of this connection, those on the same job in their order."""
    answers: dict[int, UpdateAnswer] = {}
    nodes: set[tuple[int, str]] = set()
    with connection.begin():
        for turn in _turns(news):
            nodes |= _take_turn(connection, turn, answers)
            printed = [one for place, one in turn.items() if one.stdout and answers[place].accepted]
            reports.keep_tails(connection, printed)
        unnoted = board.unnoted(nodes, update=True)
        queue.note_activity(connection, unnoted, update=True)
    board.note(unnoted, update=True)
    return [answers[place] for place in range(len(news))]


def _turns(news: Sequence[JobUpdate]) -> Iterator[dict[int, JobUpdate]]:
    """Reports by their place, in the order of their jobs' ids, with at most one on each job in a turn."""
    ids = [one.job_id for one in news]
    if len(set(ids)) == len(ids):
        yield {place: news[place] for place in sorted(range(len(ids)), key=ids.__getitem__)}
        return
    left = dict(enumerate(news))
    while left:
        turn: dict[int, int] = {}
        for place, one in left.items():
            turn.setdefault(one.job_id, place)
        yield {place: left.pop(place) for _, place in sorted(turn.items())}


def _take_turn(
    connection: Connection, turn: dict[int, JobUpdate], answers: dict[int, UpdateAnswer]
) -> set[tuple[int, str]]:
    """Take at most one report of each job; returns the nodes (site, name) that gave a sign of life."""
    nodes: set[tuple[int, str]] = set()
    beating = [one for one in turn.values() if one.status in BEATS]
    beats = {one.job_id: one for one in reports.beat(connection, beating)} if beating else {}
    left: dict[int, JobUpdate] = {}
    for place, one in turn.items():
        found = beats.get(one.job_id)
        if found is None:
            left[place] = one
            continue
        answers[place] = _TAKEN if found.command is None else UpdateAnswer(accepted=True, command=found.command)
        if one.node:
            nodes.add((found.site_id, one.node))
    finished = [one for one in left.values() if one.status is JobStatus.FINISHED and not one.errors]
    if finished:
        sites = reports.finish(connection, finished, [_pilot(one) for one in finished])
        for place, one in list(left.items()):
            if one.job_id in sites:
                answers[place] = _TAKEN
                nodes |= {(sites[one.job_id], one.node)} if one.node else set()
                del left[place]
    if not left:
        return nodes
    rows = reports.lock(connection, [one.job_id for one in left.values()])
    outcomes: list[tuple[JobUpdate, _Outcome]] = []
    for place, one in left.items():
        row = rows.get(one.job_id)
        outcome = _outcome(row, one)
        answers[place] = outcome.answer
        outcomes.append((one, outcome))
        if row is not None and row.site_id is not None and one.node and _counts(row, one):
            nodes.add((row.site_id, one.node))
    _write(connection, outcomes)
    return nodes


def _counts(row: Held, news: JobUpdate) -> bool:
    return _refused(row, news) is None


def _write(connection: Connection, outcomes: Sequence[tuple[JobUpdate, _Outcome]]) -> None:
    """Make the changes, each kind in one statement."""
    reports.keep(connection, [outcome.report for _, outcome in outcomes if outcome.report is not None])
    reports.step(connection, [outcome.step for _, outcome in outcomes if outcome.step is not None])
    reports.collect(connection, [one.job_id for one, outcome in outcomes if outcome.collected])
    reports.seen(connection, [one for one, outcome in outcomes if outcome.sign_of_life])


def _outcome(row: Held | None, news: JobUpdate) -> _Outcome:
    if row is None:
        return _Outcome(UpdateAnswer(accepted=False, command=KILL, note="unknown job", known=False))
    refused = _refused(row, news)
    return _take(row, news) if refused is None else _Outcome(refused)


def _refused(row: Held, news: JobUpdate) -> UpdateAnswer | None:
    status = None if row.status is None else _STATUS[row.status]
    if news.attempt is not None and news.attempt != row.attempt:
        return UpdateAnswer(accepted=False, command=KILL, note="badattemptnr")
    if news.lease is not None and news.lease != row.lease:
        return UpdateAnswer(accepted=False, command=KILL, note="the job was handed out again since")
    if is_another_batch(row.batch_id, news.batch_id):
        return UpdateAnswer(accepted=False, command=KILL, note=f"the job runs in batch job {row.batch_id}")
    if status is None:
        return UpdateAnswer(accepted=False, command=KILL, note="the job is not in a pilot's hand")
    if status in FINAL_JOB:
        again = row.reported and bool(news.body_hash) and row.body_hash == news.body_hash
        return UpdateAnswer(accepted=again, command=KILL if status in _DEAD and not again else None, note="alreadydone")
    return None


def _take(row: Held, news: JobUpdate) -> _Outcome:
    if news.status in _ENDS:
        return _final(row, news)
    taken = UpdateAnswer(accepted=True, command=row.command)
    if news.status in {JobStatus.HOLDING, JobStatus.TRANSFERRING}:
        step = _step(row, news, JobStatus.HOLDING, "the pilot keeps its outputs")
        return _Outcome(taken, step, sign_of_life=True, collected=step is not None)
    if news.status in BEATS:
        return _Outcome(taken, _step(row, news, news.status, "reported"), sign_of_life=True)
    note = f"a pilot cannot report {news.status.value}"
    return _Outcome(UpdateAnswer(accepted=False, command=row.command, note=note))


def _pilot(news: JobUpdate) -> str:
    return f"pilot on {news.node or 'unknown node'}"


def _step(row: Held, news: JobUpdate, new: JobStatus, why: str) -> Step | None:
    step = Step(row.id, _STATUS[row.status or ""], new, why, _pilot(news))
    return step if step.is_allowed else None


def _final(row: Held, news: JobUpdate) -> _Outcome:
    """Store the first final report with the step to holding; a second one changes nothing.

    A job that failed after it was told to end was killed, whatever its pilot calls it: it is not tried again.
    """
    if row.reported or _STATUS[row.status or ""] in {JobStatus.TRANSFERRING, JobStatus.MERGING}:
        return _Outcome(UpdateAnswer(accepted=True, note="a final report is there already"))
    step = _step(row, news, JobStatus.HOLDING, f"reported {news.status.value}")
    if row.command == KILL and news.status is JobStatus.FAILED:
        news = news._replace(errors=(*news.errors, KILLED))
    return _Outcome(UpdateAnswer(accepted=True), step, report=news, collected=True)
