"""Pilots that ask for work: many in one transaction, each gets the best jobs that fit its node (design.md 5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast
from uuid import UUID

from sqlalchemy import Connection

from panda.brokerage.matching import PilotFacts
from panda.domain.dispatch import HandedJob, PilotAsk
from panda.errors import NotFound
from panda.services.board import Board, Offer, Place
from panda.services.context import Context
from panda.services.handing import handed_again, to_hand
from panda.services.watermark import Walk
from panda.store import pop, queue, requests

READY_CHANNEL = queue.READY_CHANNEL
"""The notification by which activation says which sites got how many jobs: `site:jobs`, joined by commas."""


Say: TypeAlias = Callable[[tuple[HandedJob, ...]], Any]
"""What makes a pilot's answer of its jobs."""


@dataclass(slots=True)
class _Case:
    """One request on its way through the transaction."""

    ask: PilotAsk
    say: Say
    place: Place
    holder: pop.Holder
    wanted: int
    offers: list[Offer]
    before: list[int] | None = None
    jobs: list[pop.Popped] = field(default_factory=list)

    @property
    def lacks(self) -> int:
        """How many jobs it may still get."""
        return 0 if self.before is not None else self.wanted - len(self.jobs)

    def looks_again(self, board: Board) -> bool:
        """Take the queue and its classes from the board anew; False if the queue is gone."""
        place = board.place(self.ask.queue)
        if place is not None:
            self.place, self.offers = place, list(matching_offers(self.ask, place, board))
        return place is not None

    @property
    def job_ids(self) -> list[int]:
        """The jobs it got."""
        return [one.job_id for one in self.jobs if one.job_id is not None]

    def answered(self, answers: Mapping[UUID, list[int]]) -> Sequence[int]:
        """The jobs that its request was answered with before, or is by another one of this transaction."""
        if self.before is not None or self.ask.request_id is None:
            return self.before or ()
        return answers.get(self.ask.request_id, ())


Answer: TypeAlias = Any
"""What a pilot is told of its jobs, or the error that keeps it from them."""


def acquire(ctx: Context, ask: PilotAsk) -> tuple[HandedJob, ...]:
    """Hand up to `ask.n_jobs` jobs to a pilot, in one transaction; the reply may leave after it returned.

    A repeated `request_id` gets the same jobs again. Raises NotFound for an unknown queue.
    """
    with ctx.engine.connect() as connection:
        (answer,) = acquire_many(ctx, connection, [(ask, plainly)], Board())
    return jobs_of(answer)


def plainly(jobs: tuple[HandedJob, ...]) -> tuple[HandedJob, ...]:
    """Say jobs as they are."""
    return jobs


def jobs_of(answer: Answer) -> tuple[HandedJob, ...]:
    """The jobs of an answer that was said plainly; raises the error that it is instead."""
    if isinstance(answer, Exception):
        raise answer
    return cast("tuple[HandedJob, ...]", answer)


def acquire_many(
    ctx: Context, connection: Connection, asks: Sequence[tuple[PilotAsk, Say]], board: Board
) -> list[Answer]:
    """Serve many pilots in one transaction of this connection, in their order; replies may leave after it returned.

    Two requests with the same id get the same jobs. Answers are made while the database writes. One that cannot be made
    is the error, and only that; its jobs are then in nobody's hands and are lost by the usual rule, so that a job that
    cannot be described does not stand before all the others for ever.
    """
    with board.watermarks.walk() as walk, connection.begin():
        trusted = board.freshen(connection, {ask.queue for ask, _ in asks})
        board.know_shares(connection, ctx.settings.dispatch)
        cases = [_case(ctx, ask, say, board) for ask, say in asks]
        known = [case for case in cases if case is not None]
        nodes = board.unnoted(((case.place.site_id, case.ask.node) for case in known), update=False)
        queue.note_activity(connection, nodes, update=False)
        booked = _booked(connection, known)
        serving = [*(case for case in known if case.ask.request_id is None), *booked.values()]
        dry = _serve(connection, serving, walk)
        if late := [case for case in serving if not case.jobs and case.ask.queue in trusted]:
            board.freshen(connection, {case.ask.queue for case in late}, trust=False)
            dry |= _serve(connection, [case for case in late if case.looks_again(board)], walk)
        answers = {one: case.job_ids for one, case in booked.items()}
        requests.settle(connection, answers)
        bounds = pop.lower(connection, dry)
        said = _hand_over(ctx, connection, board, known, answers)
    board.note(nodes, update=False)
    board.lowered(bounds, dry)
    return [_unknown(ask) if case is None else said[id(case)] for (ask, _), case in zip(asks, cases, strict=True)]


def matching_offers(ask: PilotAsk, place: Place, board: Board) -> tuple[Offer, ...]:
    """Give the requirement classes a pilot may take from, the best first."""
    return board.offers(_pilot(ask, place), place)


def _case(ctx: Context, ask: PilotAsk, say: Say, board: Board) -> _Case | None:
    place = board.place(ask.queue)
    if place is None:
        return None
    holder = pop.Holder(ask.queue, ask.node, ask.factory, ask.worker_id, ask.batch_id)
    wanted = min(ask.n_jobs, ctx.settings.pilot.max_jobs)
    return _Case(ask, say, place, holder, wanted, list(matching_offers(ask, place, board)))


def _unknown(ask: PilotAsk) -> NotFound:
    return NotFound(f"there is no queue {ask.queue!r}", hint="'panda sites' lists sites and queues")


def _booked(connection: Connection, cases: Sequence[_Case]) -> dict[UUID, _Case]:
    """Book the requests that have an id; returns those that are new, one for each id. The others learn their answer."""
    first: dict[UUID, _Case] = {}
    for case in cases:
        if case.ask.request_id is not None:
            first.setdefault(case.ask.request_id, case)
    before = requests.book(connection, sorted(first))
    for case in cases:
        if case.ask.request_id in before:
            case.before = before[case.ask.request_id]
    return {one: case for one, case in first.items() if case.before is None}


def _serve(connection: Connection, cases: Sequence[_Case], walk: Walk) -> dict[int, int]:
    """Pop in rounds until every request has its jobs or its classes are empty; returns those with their generations.

    In a round each request asks the best class it has left for all that it lacks.
    """
    dry: dict[int, int] = {}
    for case in cases:
        if case.ask.task_id is not None:
            _serve_task(connection, case, case.ask.task_id)
    while True:
        asked: dict[int, list[_Case]] = {}
        for case in cases:
            while case.offers and case.offers[0].facts.id in dry:
                case.offers.pop(0)
            if case.offers and case.lacks > 0:
                asked.setdefault(case.offers[0].facts.id, []).extend([case] * case.lacks)
        if not asked:
            return dry
        _round(connection, asked, dry, walk)


def _serve_task(connection: Connection, case: _Case, task_id: int) -> None:
    """Pop jobs of the one task that the pilot wants, from every class that it may take from; nothing else is left."""
    classes = [offer.facts.id for offer in case.offers]
    case.offers = []
    while classes and case.lacks > 0:
        lacks = case.lacks
        found = pop.take_of_task(connection, task_id, classes, case.place.site_id, lacks)
        case.jobs += [one for one in found if one.job_id is not None]
        if len(found) < lacks:
            return


def _round(connection: Connection, asked: dict[int, list[_Case]], dry: dict[int, int], walk: Walk) -> None:
    # In order of the classes: two batches that take the rows of the same classes then do so in the same order.
    wants = [
        pop.Want(one, cases[0].place.site_id, len(cases), walk.start(one, _gen(cases)))
        for one, cases in sorted(asked.items())
    ]
    slots = [case for _, cases in sorted(asked.items()) for case in cases]
    found = pop.take(connection, wants)
    seen: dict[int, int] = dict.fromkeys(asked, 0)
    for one in found:
        case = slots[one.slot - 1]
        offer = case.offers[0]
        seen[offer.facts.id] += 1
        if one.job_id is not None:
            case.jobs.append(one)
            walk.took(offer.facts.id, offer.gen, pop.Spot(-one.waited_at, one.job_id))
    for class_id, n in seen.items():
        gen = _gen(asked[class_id])
        if n < len(asked[class_id]) and not walk.restart(class_id, gen):
            dry[class_id] = gen


def _gen(cases: Sequence[_Case]) -> int:
    return cases[0].offers[0].gen


def _hand_over(
    ctx: Context,
    connection: Connection,
    board: Board,
    cases: Sequence[_Case],
    answers: Mapping[UUID, list[int]],
) -> dict[int, Answer]:
    """Write down who holds what and end the transaction; meanwhile make what each case is told."""
    taken = [(one, case) for case in cases for one in case.jobs]
    made = to_hand(ctx, connection, board, [(one, case.place) for one, case in taken])
    again = {
        id(case): handed_again(ctx, connection, case.answered(answers), case.place) for case in cases if not case.jobs
    }

    def told() -> dict[int, Answer]:
        said: dict[int, Answer] = {}
        gone: list[HandedJob] = []
        for case in cases:
            try:
                jobs = tuple([made(one, case.place) for one in case.jobs]) if case.jobs else again[id(case)]
                said[id(case)] = case.say(jobs)
            except Exception as error:  # noqa: BLE001 - answered to the one pilot whom it keeps from its jobs
                said[id(case)] = error
            else:
                gone += jobs if case.jobs else ()
        board.handed_out(gone, ctx.settings.dispatch)
        return said

    if not taken:
        return told()
    return pop.hand(connection, [pop.Handing(one, case.place.site_id, case.holder) for one, case in taken], told)


def _pilot(ask: PilotAsk, place: Place) -> PilotFacts:
    return PilotFacts(
        site_id=place.site_id,
        label=ask.label,
        memory_mb=ask.memory_mb,
        disk_mb=ask.disk_mb,
        cores=ask.cores,
        cpu_mhz=ask.cpu_mhz,
        remaining_s=ask.remaining_s,
        releases=ask.releases,
        vos=None if ask.vo is None else frozenset({ask.vo}),
        owner=ask.owner or "",
        working_group=ask.working_group or "",
        resource_type=ask.resource_type or "",
    )
