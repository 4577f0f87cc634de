"""Harvester's side of supply: its signs of life, what it says of its workers, and commands of operators to it."""

from collections.abc import Callable, Mapping, Sequence

from panda.domain.harvester import Dialog, HarvesterBeat, HarvesterOrder, ServiceMetrics, Statistics, counts_of
from panda.domain.views.harvester import Command, Instance, Measured, Said, Shown, Statistic
from panda.errors import NotFound
from panda.services.context import Context
from panda.store import harvester as store
from panda.store import supply

LATELY_S = 4 * 3600
"""Numbers of workers that are older say nothing of now (PanDA's own time for its worker statistics)."""

KEPT_DAYS = 30


def heartbeat(ctx: Context, beat: HarvesterBeat) -> None:
    """Keep an instance's sign of life; may be repeated."""
    with ctx.engine.begin() as connection:
        store.note_beat(connection, beat)


def report_statistics(ctx: Context, name: str, queue: str, statistics: Statistics) -> None:
    """Let this be what an instance says of its workers at a queue. Raises NotFound for an unknown queue."""
    with ctx.engine.begin() as connection:
        if not supply.known_queues(connection, [queue]):
            raise NotFound(f"there is no queue {queue!r}", hint="'panda sites' lists sites and queues")
        store.replace_statistics(connection, name, queue, counts_of(statistics))


def statistics(ctx: Context) -> list[Statistic]:
    """What all instances said of their workers within LATELY_S."""
    with ctx.engine.connect() as connection:
        return [Statistic(**row) for row in store.statistics(connection, LATELY_S)]


def add_dialogs(ctx: Context, name: str, dialogs: Sequence[Dialog]) -> None:
    """Keep messages of an instance's agents; the same number again is the same message."""
    latest = {one.number: one for one in dialogs}
    with ctx.engine.begin() as connection:
        store.add_dialogs(connection, name, [latest[number] for number in sorted(latest)])


def add_metrics(ctx: Context, name: str, metrics: Sequence[ServiceMetrics]) -> None:
    """Keep measurements of an instance's hosts."""
    with ctx.engine.begin() as connection:
        store.add_metrics(connection, name, metrics)


def give(
    ctx: Context, order: HarvesterOrder, who: str, *, harvester: str | None = None, queue: str | None = None
) -> list[tuple[int, str]]:
    """Leave a command for one instance, or for all that serve a queue; returns each one's number and instance.

    Raises NotFound for an instance that never gave a sign of life, and for a queue that no instance serves.
    """
    with ctx.engine.begin() as connection:
        if harvester is not None:
            names = sorted(store.known(connection, [harvester]))
            missing = f"there is no Harvester instance {harvester!r}"
        else:
            names = store.serving(connection, queue or "", LATELY_S)
            missing = f"no Harvester instance spoke of queue {queue!r} in the last {LATELY_S // 3600} h"
        if not names:
            raise NotFound(missing, hint="'panda workers --show harvesters' lists the instances")
        return list(zip(store.add_commands(connection, names, order, who), names, strict=True))


def fetch_commands(ctx: Context, name: str, limit: int) -> list[Command]:
    """Hand the oldest waiting commands to their instance, each once."""
    with ctx.engine.begin() as connection:
        return [Command(**row) for row in store.fetch_commands(connection, name, limit)]


def acknowledge(ctx: Context, commands: Sequence[int]) -> int:
    """Note that commands were carried out; what is unknown or acknowledged already changes nothing."""
    with ctx.engine.begin() as connection:
        return store.acknowledge(connection, commands)


def instances(ctx: Context) -> list[Instance]:
    """Every instance that ever gave a sign of life."""
    with ctx.engine.connect() as connection:
        return [Instance(**row) for row in store.instances(connection)]


def commands(ctx: Context, *, limit: int | None = None, offset: int = 0) -> list[Command]:
    """Commands, the newest first."""
    with ctx.engine.connect() as connection:
        return [Command(**row) for row in store.commands(connection, limit, offset)]


def dialogs(ctx: Context, *, limit: int | None = None, offset: int = 0) -> list[Said]:
    """Messages of all instances, the newest first."""
    with ctx.engine.connect() as connection:
        return [Said(**row) for row in store.dialogs(connection, limit, offset)]


def metrics(ctx: Context) -> list[Measured]:
    """The newest measurement of every host."""
    with ctx.engine.connect() as connection:
        return [Measured(**row) for row in store.metrics(connection)]


def shown(ctx: Context, show: Shown, *, limit: int | None = None, offset: int = 0) -> Sequence[object]:
    """One of the lists, a part of it."""
    if show is Shown.COMMANDS:
        return commands(ctx, limit=limit, offset=offset)
    if show is Shown.DIALOGS:
        return dialogs(ctx, limit=limit, offset=offset)
    whole: Mapping[Shown, Callable[[Context], Sequence[object]]] = {
        Shown.HARVESTERS: instances,
        Shown.STATISTICS: statistics,
        Shown.METRICS: metrics,
    }
    return whole[show](ctx)[offset : None if limit is None else offset + limit]


def forget(ctx: Context) -> int:
    """Drop what nobody will look at again; the watcher calls it. Returns how many rows."""
    with ctx.engine.begin() as connection:
        return store.forget(connection, KEPT_DAYS)
