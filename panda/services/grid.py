"""The grid file: read, checked, stored, its storages declared and its folders made; and what pilots read of it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from panda.ddm.port import RseSpec
from panda.domain.grid import CloudSpec, GridFile, QueueSpec, SiteSpec, StorageSpec, parse_grid, stricter
from panda.errors import BadRequest, NotFound
from panda.services.context import Context
from panda.services.control import set_site_status
from panda.store import grid as store
from panda.store.schema import cloud, queue, storage

GONE = "not in the grid file"
GIGABYTE = 1_000_000_000
ACTIVITIES = ("read_lan", "write_lan", "pr", "pw", "pl")
"""What pilots move files for: inputs (pr), outputs (pw) and logs (pl), the same storage and tool for all."""


@dataclass(frozen=True, slots=True)
class _Change:
    site: str
    status: str
    comment: str


@dataclass(frozen=True, slots=True)
class LoadedGrid:
    """How much a load stored, and the sites that vanished from the file and are offline now."""

    clouds: int
    sites: int
    queues: int
    storages: int
    gone: tuple[str, ...]


def read_grid_file(path: Path) -> GridFile:
    """Read and check a grid file; the folders releases are taken from become absolute.

    Raises BadRequest that names the file, the key and what would be right.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no grid file {path}.", "Set PANDA_GRID_FILE, or give its path.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadRequest(f"{path} cannot be read as YAML: {error}") from error
    try:
        grid = parse_grid(document)
    except BadRequest as error:
        raise type(error)(f"{path}: {error.message}", error.hint) from error
    releases = tuple(replace(one, source=str(_source(path, one.name, one.source))) for one in grid.releases)
    return replace(grid, releases=releases)


def _source(path: Path, release: str, source: str) -> Path:
    """Find a release's folder: absolute, or below the folder of the grid file or one of the folders around that."""
    folder = path.absolute().parent
    for base in (folder, *folder.parents):
        if (base / source).is_dir():
            return (base / source).resolve()
    raise BadRequest(
        f"{path}: releases.{release}.source is {source!r}, which is no folder.",
        f"Give an absolute path, or one below {folder} or the folders around it.",
    )


def load(ctx: Context, grid: GridFile) -> LoadedGrid:
    """Make the grid what the file says; may be repeated. Sites that vanished go offline, nothing is deleted.

    Folders and storages come first, so that a site that is stored can be used.
    """
    for spec in grid.sites:
        _install_software(ctx, grid, spec)
    _declare_storages(ctx, grid)
    with ctx.engine.begin() as connection:
        known = store.known_sites(connection)
        store.upsert(connection, cloud, "name", [_cloud_row(one) for one in grid.clouds])
        store.store_sites(connection, [_site_row(ctx, one, known.get(one.name)) for one in grid.sites], known)
        ids = store.site_ids(connection)
        queues = [_queue_row(one, ids[spec.name]) for spec in grid.sites for one in spec.queues]
        store.upsert(connection, queue, "name", queues)
        store.upsert(connection, storage, "rse", [_storage_row(ctx, grid, one) for one in grid.storages])
        store.install(connection, [row for one in grid.sites for row in _release_rows(grid, one, ids[one.name])])
        gone = sorted(known.keys() - {one.name for one in grid.sites})
        store.retire(connection, cloud, [one.name for one in grid.clouds])
        store.retire(connection, queue, [one.name for spec in grid.sites for one in spec.queues])
    for one in _changes(grid, known):
        set_site_status(ctx, one.site, one.status, "the grid file", one.comment)
    return LoadedGrid(len(grid.clouds), len(grid.sites), len(queues), len(grid.storages), tuple(gone))


def _changes(grid: GridFile, known: Mapping[str, store.KnownSite]) -> Iterable[_Change]:
    """Tell which known sites get another status; each change goes the same way as an operator's."""
    for spec in grid.sites:
        old = known.get(spec.name)
        if old is not None and spec.status is not None and spec.status != old.status:
            yield _Change(spec.name, spec.status, spec.comment)
        elif old is not None and spec.status is None and old.comment == GONE:
            yield _Change(spec.name, "online", spec.comment)
    for name in sorted(known.keys() - {one.name for one in grid.sites}):
        if known[name].comment != GONE:
            yield _Change(name, "offline", GONE)


def storage_root(ctx: Context, spec: StorageSpec) -> Path:
    """The folder of a storage element."""
    return ctx.settings.data_dir / (spec.root or f"storage/{spec.rse}")


def software_folder(ctx: Context, spec: SiteSpec) -> Path:
    """The folder in which a site's pilots look for releases."""
    return ctx.settings.data_dir / (spec.software or f"sites/{spec.name}/software")


def _install_software(ctx: Context, grid: GridFile, spec: SiteSpec) -> None:
    """Put links to the releases into a folder of ours and take away links to others; foreign folders are left alone."""
    if spec.software:
        return
    folder = software_folder(ctx, spec)
    folder.mkdir(parents=True, exist_ok=True)
    sources = {one.name: Path(one.source) for one in grid.releases if one.name in spec.releases}
    for link in folder.iterdir():
        if link.is_symlink() and sources.get(link.name) != link.readlink():
            link.unlink()
    for name, source in sources.items():
        if not (folder / name).exists():
            (folder / name).symlink_to(source, target_is_directory=True)


def _declare_storages(ctx: Context, grid: GridFile) -> None:
    specs = []
    for one in grid.storages:
        root, home = storage_root(ctx, one), grid.home_of(one.rse)
        root.mkdir(parents=True, exist_ok=True)
        specs.append(
            RseSpec(
                name=one.rse, site=home.name, root=str(root), cloud=home.cloud, tier=home.tier,
                declared_space_bytes=int(one.space_gb * GIGABYTE),
                max_incoming=one.max_incoming, max_outgoing=one.max_outgoing,
            )
        )  # fmt: skip
    ctx.ddm.declare_rses(specs).raise_first()


def _cloud_row(spec: CloudSpec) -> store.Row:
    return asdict(spec) | {"status": spec.status or "online"}


def _site_row(ctx: Context, spec: SiteSpec, known: store.KnownSite | None) -> store.Row:
    row = asdict(spec) | {"software": str(software_folder(ctx, spec)), "status": spec.status or "online"}
    for name in ("queues", "releases"):
        del row[name]
    if known is not None:
        row |= {"status": known.status, "comment": known.comment}
    return _lists(row)


def _queue_row(spec: QueueSpec, site_id: int) -> store.Row:
    return _lists(asdict(spec) | {"site_id": site_id, "status": spec.status or "online"})


def _storage_row(ctx: Context, grid: GridFile, spec: StorageSpec) -> store.Row:
    root = str(storage_root(ctx, spec))
    return {"rse": spec.rse, "cloud": grid.cloud_of(spec.rse), "root": root, "space_gb": spec.space_gb}


def queue_view(ctx: Context, name: str) -> dict[str, object]:
    """The description of a queue that pilots read, in schedconfig's names.

    Memory and disk are in MB, times in s, the floor in min. Raises NotFound that names queues that exist.
    """
    with ctx.engine.connect() as connection:
        rows = store.queues_with_sites(connection, name)
        if not rows:
            known = ", ".join(store.queue_names(connection)[:20]) or "none"
            raise NotFound(f"There is no queue {name!r}.", f"Known queues: {known}.")
    return _queue_view(ctx, rows[0])


def queue_views(ctx: Context) -> dict[str, dict[str, object]]:
    """The descriptions of all queues, by name."""
    with ctx.engine.connect() as connection:
        return {row.name: _queue_view(ctx, row) for row in store.queues_with_sites(connection)}


def _queue_view(ctx: Context, row: store.QueueRow) -> dict[str, object]:
    return {
        "nickname": row.name, "panda_resource": row.name, "siteid": row.name,
        "atlas_site": row.site, "site": row.site, "cloud": row.cloud, "tier": f"T{row.tier}", "tier_level": row.tier,
        "state": "ACTIVE", "status": stricter(row.site_status, row.status), "type": "unified",
        "vo": ",".join(row.vos), "labels": list(row.labels), "resource_type": "GRID",
        "catchall": "mv_final_destination",
        "corecount": row.cores, "maxrss": row.memory_mb, "maxwdir": row.disk_mb, "maxtime": row.max_time_s,
        "timefloor": row.time_floor_min, "corepower": row.corepower, "reference_mhz": row.reference_mhz,
        "appdir": row.software, "heartbeat": row.heartbeat_s or ctx.settings.pilot.heartbeat_s,
        "astorages": {one: [row.rse] for one in ACTIVITIES},
        "copytools": {"mv": {}}, "acopytools": {one: ["mv"] for one in ACTIVITIES},
        "container_type": "", "container_options": "",
    }  # fmt: skip


def storages(ctx: Context) -> dict[str, dict[str, object]]:
    """Every storage element as pilots read it: its state, and by which protocol and folder it is reached."""
    with ctx.engine.connect() as connection:
        rows = store.storages(connection)
    return {row.rse: _storage_view(row.root) for row in rows}


def _storage_view(root: str) -> dict[str, object]:
    protocols = [{"endpoint": "file://localhost", "path": f"{root.rstrip('/')}/"}]
    return {
        "is_deterministic": True,
        "state": "ACTIVE",
        "arprotocols": {"read_lan": protocols, "write_lan": protocols},
    }


def _release_rows(grid: GridFile, spec: SiteSpec, site_id: int) -> Iterable[store.Row]:
    for one in grid.releases:
        if one.name in spec.releases:
            yield {"site_id": site_id, "release": one.name, "architecture": one.architecture}


def _lists(row: dict[str, object]) -> store.Row:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}
