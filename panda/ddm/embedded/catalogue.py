"""The embedded implementation of the port: every method checks its key and hands over to the module that owns it."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import Connection, Engine, text

from panda.ddm.embedded import consistency, contents, events, replicas, topology, transfers
from panda.ddm.embedded import datasets as dataset_rows
from panda.ddm.embedded import traffic as tries
from panda.ddm.embedded.transactions import remember_call, run
from panda.ddm.port import (
    BulkResult,
    Completeness,
    DatasetInfo,
    DatasetSpec,
    DdmEvent,
    Did,
    FileInfo,
    FileSpec,
    Health,
    ReplicaInfo,
    RequestResult,
    RseInfo,
    RseSpec,
    TransferId,
    TransferRequest,
    TransferStatus,
    Usage,
)
from panda.ddm.traffic import Traffic, TrafficWanted

_HEALTH = text("""
    SELECT (SELECT count(*) FROM ddm.agent WHERE seen_at > now() - interval '60 seconds') AS agents,
           count(*) FILTER (WHERE state = 'QUEUED') AS queued,
           count(*) FILTER (WHERE state = 'RUNNING') AS running,
           count(*) FILTER (WHERE state = 'STUCK') AS stuck,
           coalesce(extract(epoch FROM now() - min(not_before) FILTER (WHERE state = 'QUEUED' AND not_before <= now())),
                    0) AS oldest,
           (SELECT coalesce(max(e.seq), 0) FROM ddm.event e)
               - (SELECT coalesce(min(s.delivered), (SELECT coalesce(max(e.seq), 0) FROM ddm.event e))
                    FROM ddm.subscription s) AS undelivered
      FROM ddm.request
""")


class EmbeddedDdm:
    """Data management in PostgreSQL and folders; an agent process (`panda.ddm.embedded.agent`) moves the bytes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def health(self) -> Health:
        """See `DataManager.health`."""

        def work(connection: Connection) -> Health:
            row = connection.execute(_HEALTH).one()
            waiting = row.queued + row.running > 0
            ok = row.agents > 0 or not waiting
            return Health(
                ok=ok,
                agents=row.agents,
                queued=row.queued,
                running=row.running,
                stuck=row.stuck,
                oldest_queued_seconds=float(row.oldest),
                undelivered_events=row.undelivered,
                message="" if ok else "files wait, but no transfer agent runs",
            )

        return run(self._engine, work)

    def create_datasets(self, specs: Sequence[DatasetSpec], *, key: str = "") -> BulkResult[Did]:
        """See `DataManager.create_datasets`."""
        remember_call(self._engine, "create_datasets", key, lambda: repr(list(specs)))
        return dataset_rows.create(self._engine, specs)

    def attach(self, dataset: Did, files: Sequence[FileSpec | Did], *, key: str = "") -> BulkResult[Did]:
        """See `DataManager.attach`."""
        remember_call(self._engine, "attach", key, lambda: repr((dataset, list(files))))
        return contents.attach(self._engine, dataset, files)

    def close(self, datasets: Sequence[Did]) -> BulkResult[Did]:
        """See `DataManager.close`."""
        return dataset_rows.close(self._engine, datasets)

    def reopen(self, datasets: Sequence[Did]) -> BulkResult[Did]:
        """See `DataManager.reopen`."""
        return dataset_rows.reopen(self._engine, datasets)

    def erase(self, datasets: Sequence[Did]) -> BulkResult[Did]:
        """See `DataManager.erase`."""
        return dataset_rows.erase(self._engine, datasets)

    def dataset(self, did: Did) -> DatasetInfo | None:
        """See `DataManager.dataset`."""
        return dataset_rows.look_up(self._engine, did)

    def datasets(self, pattern: str) -> Iterator[DatasetInfo]:
        """See `DataManager.datasets`."""
        return dataset_rows.matching(self._engine, pattern)

    def files(self, dataset: Did) -> Iterator[FileInfo]:
        """See `DataManager.files`."""
        return contents.files(self._engine, dataset)

    def find_by_guid(self, guids: Sequence[str]) -> dict[str, Did]:
        """See `DataManager.find_by_guid`."""
        return contents.find_by_guid(self._engine, guids)

    def datasets_of(self, files: Sequence[Did]) -> dict[Did, list[Did]]:
        """See `DataManager.datasets_of`."""
        return contents.datasets_of(self._engine, files)

    def expand(self, container: Did) -> list[Did]:
        """See `DataManager.expand`."""
        return contents.expand(self._engine, container)

    def register_replicas(
        self, rse: str, files: Sequence[FileSpec], *, dataset: Did | None = None, written_by: str = "", key: str = ""
    ) -> BulkResult[Did]:
        """See `DataManager.register_replicas`."""
        remember_call(self._engine, "register_replicas", key, lambda: repr((rse, dataset, list(files))))
        return replicas.register(self._engine, rse, files, dataset=dataset, written_by=written_by)

    def declare_lost(self, rse: str, files: Sequence[Did], reason: str) -> BulkResult[Did]:
        """See `DataManager.declare_lost`."""
        return replicas.declare_lost(self._engine, rse, files, reason)

    def delete_dark(self, rse: str, files: Sequence[Did]) -> list[Did]:
        """See `DataManager.delete_dark`."""
        return consistency.delete_unregistered(self._engine, rse, files)

    def replicas(self, files: Sequence[Did], rses: Sequence[str] | None = None) -> Iterator[ReplicaInfo]:
        """See `DataManager.replicas`."""
        return replicas.find(self._engine, files, rses)

    def local_catalogue(self, rse: str) -> Iterator[ReplicaInfo]:
        """See `DataManager.local_catalogue`."""
        return replicas.local_catalogue(self._engine, rse)

    def locations(self, datasets: Sequence[Did]) -> dict[Did, dict[str, Completeness]]:
        """See `DataManager.locations`."""
        return replicas.locations(self._engine, datasets)

    def request(self, reqs: Sequence[TransferRequest], *, key: str = "") -> RequestResult:
        """See `DataManager.request`."""
        remember_call(self._engine, "request", key, lambda: repr(list(reqs)))
        return transfers.request(self._engine, reqs)

    def update(
        self,
        ids: Sequence[TransferId],
        *,
        priority: int | None = None,
        retry_now: bool = False,
        lifetime: timedelta | None = None,
    ) -> BulkResult[TransferId]:
        """See `DataManager.update`."""
        seconds = None if lifetime is None else lifetime.total_seconds()
        return transfers.update(self._engine, ids, transfers.Update(priority, retry_now, seconds))

    def cancel(self, ids: Sequence[TransferId]) -> BulkResult[TransferId]:
        """See `DataManager.cancel`."""
        return transfers.cancel(self._engine, ids)

    def status(self, ids: Sequence[TransferId]) -> dict[TransferId, TransferStatus]:
        """See `DataManager.status`."""
        return transfers.status(self._engine, ids)

    def transfers_of(self, datasets: Sequence[Did]) -> dict[Did, list[TransferStatus]]:
        """See `DataManager.transfers_of`."""
        return transfers.of_datasets(self._engine, datasets)

    def changes(self, since: int, limit: int = 1000) -> list[DdmEvent]:
        """See `DataManager.changes`."""
        return run(self._engine, lambda connection: events.read(connection, since, limit))

    def traffic(self, wanted: TrafficWanted) -> Traffic:
        """See `DataManager.traffic`."""
        return tries.traffic(self._engine, wanted)

    def declare_rses(self, specs: Sequence[RseSpec]) -> BulkResult[str]:
        """See `DataManager.declare_rses`."""
        return topology.declare(self._engine, specs)

    def rses(self, expression: str = "*") -> list[RseInfo]:
        """See `DataManager.rses`."""
        return topology.matching(self._engine, expression)

    def usage(self, account: str, rse: str | None = None) -> list[Usage]:
        """See `DataManager.usage`."""
        return topology.usage(self._engine, account, rse)
