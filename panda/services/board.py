"""The board: what dispatch keeps in memory of queues, requirement classes, tasks and nodes, so as not to ask again.

Theory. The board chooses, the database decides. Each transaction first compares marks (the version of a queue's and its
site's row, the sum of the generations of its classes) and reads again only what changed, so the choice is as fresh as
the transaction itself, whoever else works on the database. A board that serves many a second may trust what it compared
a moment ago (`trust_s`); who would get nothing by that is served again after a comparison. A bound that is too high
costs one empty look; whether a job may go is looked at by the pop itself, never here. A board lives as long as one
request, or as long as its process.
"""

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from sqlalchemy import Connection, RowMapping

from panda.brokerage.matching import ClassFacts, PilotFacts, QueueFacts, order, refusal
from panda.brokerage.shares import VO, deficits
from panda.brokerage.snapshot import Release
from panda.domain.dispatch import HandedJob
from panda.services.watermark import Watermarks
from panda.settings import DispatchSettings
from panda.store import counters, facts, handover, queue

Key = TypeVar("Key")
Value = TypeVar("Value")

PLACE_S = 60.0
"""Age at which a queue is read again although its row is the same: its site's releases may have changed."""

KEPT = 5000
"""Pilot signatures and tasks that are kept before the oldest knowledge is thrown away at once."""

CROWD = 8
"""From so many queues in a batch on, the comparison takes along what would have to be compared soon."""

NODES_KEPT = 200_000
GATHER_S = 2.0
GATHERED = 200
"""Signs of life of nodes wait this long, or for so many, before they are written down together."""


@dataclass(frozen=True, slots=True)
class Place:
    """A queue with its site: the row for the jobs handed out, the facts for matching."""

    row: RowMapping
    facts: QueueFacts
    site_id: int
    mark: str
    read_at: float


@dataclass(frozen=True, slots=True)
class Offer:
    """A requirement class as it was last seen, with its generation."""

    facts: ClassFacts
    gen: int


@dataclass(slots=True)
class _Site:
    """The classes of one site, and in which order pilots of one kind may take from them."""

    offers: dict[int, Offer]
    gens: int
    fits: dict[tuple[PilotFacts, QueueFacts], tuple[int, ...]] = field(default_factory=dict)
    orders: dict[tuple[PilotFacts, QueueFacts], tuple[Offer, ...]] = field(default_factory=dict)


class Board:
    """What one process knows. Threads may share it: every entry is replaced as a whole."""

    def __init__(self, trust_s: float = 0.0) -> None:
        self.watermarks = Watermarks()
        self._lock = threading.Lock()
        self._trust_s = trust_s
        self._compared: dict[str, float] = {}
        self._places: dict[str, Place] = {}
        self._sites: dict[int, _Site] = {}
        self._tasks: dict[int, Mapping[str, object]] = {}
        self._noted: dict[bool, dict[tuple[int, str], float]] = {False: {}, True: {}}
        self._unnoted: dict[bool, set[tuple[int, str]]] = {False: set(), True: set()}
        self._noted_at = {False: -1e9, True: -1e9}
        self._made: dict[Hashable, object] = {}
        self._used: dict[str, float] = {}
        self._deficits: dict[str, float] = {}
        self._used_at = -1e9

    # --- queues and classes -----------------------------------------------------------------------------------------
    def freshen(self, connection: Connection, names: Collection[str], *, trust: bool = True) -> set[str]:
        """Read again what changed of these queues, their sites and the classes there since it was put on the board.

        Returns those that were trusted instead, as they were compared a moment ago.
        """
        now = time.monotonic()
        limit = now - self._trust_s if trust else now
        trusted = {name for name in names if self._compared.get(name, -1e9) > limit}
        stale = set(names) - trusted
        if stale:
            self._compare(connection, stale | self._soon_stale(now) if len(names) >= CROWD else stale)
        return trusted

    def _soon_stale(self, now: float) -> set[str]:
        """The queues in use whose turn would come next: one comparison of many saves a round trip of each of them."""
        oldest, newest = now - 2 * self._trust_s, now - self._trust_s / 2
        return {name for name, at in list(self._compared.items()) if oldest < at < newest}

    def _compare(self, connection: Connection, names: set[str]) -> None:
        marks = queue.marks(connection, names)
        now = time.monotonic()
        with self._lock:
            for name in marks:
                _keep(self._compared, name, now)
        changed = [name for name, mark in marks.items() if not self._is_current(name, mark)]
        if changed:
            places = {row["name"]: _place(row, marks[row["name"]].queue) for row in queue.queues(connection, changed)}
            with self._lock:
                self._places |= places
        for name in names - marks.keys():
            self._places.pop(name, None)
        gens = {mark.site_id: mark.gens for mark in marks.values()}
        stale = [one for one, sums in gens.items() if one not in self._sites or self._sites[one].gens != sums]
        if stale:
            offers = _by_site(queue.classes_of_sites(connection, stale))
            with self._lock:
                for site_id in stale:
                    self._renew(site_id, offers.get(site_id, {}), gens[site_id])

    def _is_current(self, name: str, mark: queue.Mark) -> bool:
        place = self._places.get(name)
        return place is not None and place.mark == mark.queue and time.monotonic() - place.read_at < PLACE_S

    def place(self, name: str) -> Place | None:
        """The queue of this name, None if there is none (or it is not on the board)."""
        return self._places.get(name)

    def offers(self, pilot: PilotFacts, place: Place) -> tuple[Offer, ...]:
        """The classes that this pilot may take from and that may have jobs, the best first."""
        site = self._sites.get(place.site_id)
        if site is None:
            return ()
        key = (pilot, place.facts)
        found = None if self._deficits else site.orders.get(key)
        if found is None:
            fits = site.fits.get(key)
            if fits is None:
                offers = site.offers.values()
                fits = tuple(one.facts.id for one in offers if refusal(pilot, one.facts, place.facts) is None)
                _keep(site.fits, key, fits)
            mine = [site.offers[one].facts for one in fits if site.offers[one].facts.max_priority > queue.EMPTY]
            found = tuple(site.offers[one.id] for one in order(mine, self._deficits))
            if not self._deficits:
                _keep(site.orders, key, found)
        return found

    def lowered(self, bounds: Mapping[int, int], gens: Mapping[int, int]) -> None:
        """Note the bounds of classes that a pop lowered while they were at these generations."""
        if not bounds:
            return
        with self._lock:
            for site_id, site in list(self._sites.items()):
                mine = {one: bound for one, bound in bounds.items() if one in site.offers}
                if not mine:
                    continue
                offers = dict(site.offers)
                for one, bound in mine.items():
                    if offers[one].gen == gens[one]:
                        offers[one] = Offer(replace(offers[one].facts, max_priority=bound), offers[one].gen)
                self._sites[site_id] = _Site(offers, site.gens, site.fits)

    def _renew(self, site_id: int, offers: dict[int, Offer], gens: int) -> None:
        old = self._sites.get(site_id)
        if old is not None and offers.keys() <= old.offers.keys():
            lost = {
                one: Offer(replace(offer.facts, max_priority=queue.EMPTY), offer.gen)
                for one, offer in old.offers.items()
                if one not in offers
            }
            self._sites[site_id] = _Site(lost | offers, gens, old.fits)
        else:
            self._sites[site_id] = _Site(offers, gens)

    # --- fair share -------------------------------------------------------------------------------------------------
    def know_shares(self, connection: Connection, settings: DispatchSettings) -> None:
        """Read the use of the shares where it is too old; hand-outs of this process are added until then."""
        if settings.shares and time.monotonic() - self._used_at >= settings.usage_s:
            self._used = {}
            self._used_at = time.monotonic()
            for row in counters.used_by_share(connection):
                self._use(row["share"], row["vo"], row["cores"])
            self._deficits = deficits(settings.shares, self._used)

    def handed_out(self, jobs: Iterable[HandedJob], settings: DispatchSettings) -> None:
        """Count jobs that were handed out just now."""
        if settings.shares:
            for job in jobs:
                task = self._tasks.get(job.task_id)
                self._use("" if task is None else str(task["share"]), job.vo, job.cores)
            self._deficits = deficits(settings.shares, self._used)

    def _use(self, share: str, vo: str, cores: float) -> None:
        for name in (share, VO + vo):
            self._used[name] = self._used.get(name, 0.0) + cores

    # --- tasks ------------------------------------------------------------------------------------------------------
    def tasks(self, connection: Connection, versions: Mapping[int, float]) -> dict[int, Mapping[str, object]]:
        """The common part of tasks, read where the version that is kept is another one."""
        found = {task: row for task in versions if (row := self._tasks.get(task)) is not None}
        stale = [task for task, version in versions.items() if task not in found or found[task]["version"] != version]
        if stale:
            fresh = {row["id"]: dict(row) for row in handover.common_parts(connection, stale)}
            found |= fresh
            with self._lock:
                for task, row in fresh.items():
                    _keep(self._tasks, task, row)
        return found

    def kept(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What was made for this key before, or is made now; the key names every version it depends on."""
        found = self._made.get(key)
        if found is None:
            found = make()
            with self._lock:
                _keep(self._made, key, found)
        return cast("Value", found)

    # --- nodes ------------------------------------------------------------------------------------------------------
    def unnoted(self, nodes: Iterable[tuple[int, str]], *, update: bool) -> set[tuple[int, str]]:
        """The nodes (site, name) whose asking, or reporting, is to be written down now.

        A node is written down once in a while only, and at once where it is the first of its site; the others gather,
        as nothing but counts of nodes depends on them: one write for many costs each a part.
        """
        now = time.monotonic()
        limit = now - queue.ACTIVITY_S
        noted_at = self._noted[update].get
        fresh = [one for one in nodes if noted_at(one, -1e9) < limit]
        waiting = self._unnoted[update]
        waiting.update(fresh)
        if not waiting:
            return set()
        of_new_sites = any(noted_at((site, ""), -1e9) < limit for site, _ in fresh)
        due = len(waiting) >= GATHERED or now - self._noted_at[update] > GATHER_S
        return set(waiting) if of_new_sites or due else set()

    def note(self, nodes: Iterable[tuple[int, str]], *, update: bool) -> None:
        """Remember that this was written down, now that it is committed."""
        now = time.monotonic()
        with self._lock:
            for one in nodes:
                _keep(self._noted[update], one, now, NODES_KEPT)
                _keep(self._noted[update], (one[0], ""), now, NODES_KEPT)
                self._unnoted[update].discard(one)
                self._noted_at[update] = now


def _keep(kept: dict[Key, Value], key: Key, value: Value, most: int = KEPT) -> None:
    if len(kept) >= most and key not in kept:
        kept.clear()
    kept[key] = value


def _by_site(rows: Sequence[RowMapping]) -> dict[int, dict[int, Offer]]:
    found: dict[int, dict[int, Offer]] = {}
    for row in rows:
        found.setdefault(row["site_id"], {})[row["id"]] = Offer(_class(row), row["gen"])
    return found


def _place(row: RowMapping, mark: str) -> Place:
    return Place(row, _queue(row), row["site_id"], mark, time.monotonic())


def _known_releases(place: RowMapping) -> frozenset[Release] | None:
    names, architectures = place["releases"], place["architectures"]
    return None if names is None else frozenset(map(Release, names, architectures))


def _queue(place: RowMapping) -> QueueFacts:
    status = place["status"] if place["site_status"] == "online" else place["site_status"]
    return QueueFacts(
        site_id=place["site_id"],
        name=place["name"],
        status=status,
        corepower=place["corepower"],
        reference_mhz=place["reference_mhz"],
        releases=_known_releases(place),
        vos=frozenset(place["vos"] or place["site_vos"]) or None,
        labels=frozenset(place["labels"]),
    )


def _class(row: RowMapping) -> ClassFacts:
    return ClassFacts(
        id=row["id"],
        site_id=row["site_id"],
        needs=facts.needs_of_class(row),
        share=row["share"],
        owner=row["owner"],
        working_group=row["working_group"],
        max_priority=row["max_priority"],
        oldest=row["id"],
    )
