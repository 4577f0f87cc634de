"""Outputs of tasks for their owners: which files there are, and where a copy lies that can be read here."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from panda.ddm.port import Did, ReplicaState
from panda.errors import NotFound, Unavailable
from panda.services.context import Context
from panda.store import taskfiles


def output_path(ctx: Context, task_id: int, lfn: str) -> Path:
    """Where a copy of one output lies. Raises NotFound for no such output, Unavailable while no copy can be read."""
    with ctx.engine.connect() as connection:
        scope = taskfiles.output_scope(connection, task_id, lfn)
    if scope is None:
        raise NotFound(f"task {task_id} has no output {lfn[:255]!r}", hint="get_datasets_and_files lists its files")
    for replica in ctx.ddm.replicas([Did(scope, lfn)]):
        address = urlsplit(replica.pfn)
        path = Path(unquote(address.path))
        if replica.state is ReplicaState.AVAILABLE and address.scheme == "file" and path.is_file():
            return path
    raise Unavailable(f"no copy of {lfn} can be read now", hint="try again later")
