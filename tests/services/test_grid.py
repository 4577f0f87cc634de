"""The grid file: what it refuses and how it says so, and what a load leaves in rows, folders and the DDM."""

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import Connection, text

from panda.domain.grid import GridFile, stricter
from panda.errors import BadRequest, NotFound
from panda.services import grid
from panda.services.context import Context

GRIDS = Path(__file__).parents[2] / "deployments" / "grids"
SMALL = """
    clouds:
      TEST: {tier1: ALPHA}
    sites:
      ALPHA: {cloud: TEST, tier: 1, rse: ALPHA_DISK}
      BETA: {cloud: TEST, rse: BETA_DISK, memory_mb: 3000, releases: [R-1], queues: {BETA_LONG: {cores: 9}, B2: {}}}
    storages:
      ALPHA_DISK: {space_gb: 100}
      BETA_DISK: {space_gb: 50}
    releases:
      R-1: {source: software/R-1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the release that SMALL installs."""
    (tmp_path / "software" / "R-1").mkdir(parents=True)
    (tmp_path / "software" / "R-1" / "release.json").write_text("{}")
    return tmp_path


def read(folder: Path, document: str = SMALL) -> GridFile:
    path = folder / "grid.yaml"
    path.write_text(dedent(document))
    return grid.read_grid_file(path)


@pytest.mark.parametrize("name", ["demo", "tiny"])
def test_our_own_grids_are_good(name: str) -> None:
    one = grid.read_grid_file(GRIDS / f"{name}.yaml")
    assert all(Path(release.source, "release.json").is_file() for release in one.releases)


def test_our_storages_leave_the_floors_of_the_brokerage_rules_untouched() -> None:
    demo = grid.read_grid_file(GRIDS / "demo.yaml")
    assert all(one.space_gb > (2048 if demo.home_of(one.rse).tier == 1 else 1000) for one in demo.storages)
    assert len(demo.clouds) == 3
    assert len(demo.sites) == 9


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("memory_mb: 3000", "memory_nb: 3000", "sites.BETA has the unknown key 'memory_nb'. Did you mean 'memory_mb'"),
        ("memory_mb: 3000", "memory_mb: 3 GB", "sites.BETA.memory_mb is '3 GB', but has to be a whole number"),
        ("memory_mb: 3000", "memory_mb: -1", "sites.BETA.memory_mb is -1, but has to be at least 0"),
        ("memory_mb: 3000", "status: on", "sites.BETA.status is True, but has to be a text. Put it in quotes"),
        ("memory_mb: 3000", "status: up", "sites.BETA.status is 'up', which is unknown. One of online, brokeroff"),
        ("rse: BETA_DISK,", "", "sites.BETA lacks the key 'rse'"),
        ("[R-1]", "R-1", "sites.BETA.releases is 'R-1', not a list. Write ['R-1'] for a list of one"),
        ("[R-1]", "[R-2]", "sites.BETA.releases is 'R-2', which the grid file does not describe. Known: R-1"),
        ("tier1: ALPHA", "tier1: GAMMA", "clouds.TEST.tier1 is 'GAMMA', which is no site of this cloud"),
        ("cloud: TEST, rse", "cloud: TOAST, rse", "sites.BETA.cloud is 'TOAST'"),
        ("rse: BETA_DISK", "rse: DISK", "sites.BETA.rse is 'DISK', which the grid file does not describe"),
        ("BETA: {", "BE TA: {", "site 'BE TA' is not a valid name"),
        ("BETA: {", "1234: {", "sites has the key 1234, which YAML reads as int"),
        ("B2: {}", "ALPHA: {}", "The queue 'ALPHA' belongs to ALPHA and to BETA"),
        ("storages:", "storages:\n      SPARE: {space_gb: 1}", "storages.SPARE is used by no site"),
        ("releases:\n", "release:\n", "unknown key 'release'. Did you mean 'releases'"),
        ("software/R-1", "software/R-9", "releases.R-1.source is 'software/R-9', which is no folder"),
        ("clouds:", "clouds: [", "cannot be read as YAML"),
    ],
)
def test_a_bad_file_is_refused_with_the_key_and_what_would_be_right(
    folder: Path, old: str, new: str, says: str
) -> None:
    assert old in SMALL
    with pytest.raises(BadRequest) as error:
        read(folder, dedent(SMALL).replace(dedent(old), new) if "\n" in old else SMALL.replace(old, new))
    assert says in str(error.value)
    assert "grid.yaml" in str(error.value)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no grid file .*nowhere\.yaml"):
        grid.read_grid_file(tmp_path / "nowhere.yaml")


def test_a_queue_takes_from_its_site_what_it_does_not_say(folder: Path) -> None:
    site = next(one for one in read(folder).sites if one.name == "BETA")
    assert [(one.name, one.memory_mb, one.cores) for one in site.queues] == [
        ("BETA_LONG", 3000, 9),
        ("B2", 3000, 1),
    ]
    assert [one.name for one in read(folder).sites[0].queues] == ["ALPHA"]


def test_the_stricter_status_wins() -> None:
    assert stricter("online", "offline") == "offline"
    assert stricter("test", "brokeroff") == "test"


def test_a_load_stores_declares_and_installs(ctx: Context, rows: Connection, folder: Path) -> None:
    loaded = grid.load(ctx, read(folder))
    assert (loaded.clouds, loaded.sites, loaded.queues, loaded.storages, loaded.gone) == (1, 2, 3, 2, ())
    beta = rows.execute(text("SELECT software, status, tier, labels FROM site WHERE name = 'BETA'")).one()
    assert (Path(beta.software) / "R-1" / "release.json").is_file()
    assert (beta.status, beta.tier) == ("online", 2)
    assert "managed" in beta.labels
    assert rows.execute(text("SELECT release FROM site_release")).scalars().all() == ["R-1"]
    declared = {one.name: one for one in ctx.ddm.rses()}
    assert declared["BETA_DISK"].declared_space_bytes == 50_000_000_000
    assert Path(declared["BETA_DISK"].root).is_dir()
    assert (
        rows.execute(text("SELECT root FROM storage WHERE rse = 'BETA_DISK'")).scalar_one()
        == declared["BETA_DISK"].root
    )


def test_a_second_load_changes_nothing(ctx: Context, rows: Connection, folder: Path) -> None:
    everything = text("SELECT to_jsonb(s) - 'id' FROM site s UNION ALL SELECT to_jsonb(q) FROM queue q ORDER BY 1")
    grid.load(ctx, read(folder))
    before = rows.execute(everything).scalars().all()
    grid.load(ctx, read(folder))
    assert rows.execute(everything).scalars().all() == before
    assert rows.execute(text("SELECT max(id) FROM site")).scalar_one() == 2


def test_what_an_operator_set_survives_a_load_unless_the_file_says_otherwise(
    ctx: Context, rows: Connection, folder: Path
) -> None:
    status = text("SELECT status, comment FROM site WHERE name = 'BETA'")
    grid.load(ctx, read(folder))
    rows.execute(text("UPDATE site SET status = 'brokeroff', comment = 'disk is full' WHERE name = 'BETA'"))
    grid.load(ctx, read(folder))
    assert tuple(rows.execute(status).one()) == ("brokeroff", "disk is full")
    grid.load(ctx, read(folder, SMALL.replace("memory_mb", "status: online, memory_mb")))
    assert rows.execute(status).one().status == "online"


def test_a_site_that_vanished_goes_offline_and_comes_back(ctx: Context, rows: Connection, folder: Path) -> None:
    states = text("SELECT name, status FROM site UNION ALL SELECT name, status FROM queue WHERE name = 'B2' ORDER BY 1")
    whole = read(folder)
    grid.load(ctx, whole)
    smaller = replace(whole, sites=whole.sites[:1], storages=whole.storages[:1])
    assert grid.load(ctx, smaller).gone == ("BETA",)
    assert [tuple(row) for row in rows.execute(states)] == [("ALPHA", "online"), ("B2", "offline"), ("BETA", "offline")]
    grid.load(ctx, whole)
    assert [tuple(row) for row in rows.execute(states)] == [("ALPHA", "online"), ("B2", "online"), ("BETA", "online")]


def test_a_release_that_a_site_loses_leaves_its_folder(ctx: Context, rows: Connection, folder: Path) -> None:
    grid.load(ctx, read(folder))
    grid.load(ctx, read(folder, SMALL.replace("releases: [R-1], ", "")))
    assert rows.execute(text("SELECT count(*) FROM site_release")).scalar_one() == 0
    assert list((folder / "data" / "sites" / "BETA" / "software").iterdir()) == []
    assert (folder / "software" / "R-1").is_dir()


def test_a_software_folder_of_somebody_else_is_left_alone(ctx: Context, rows: Connection, folder: Path) -> None:
    foreign = folder / "cvmfs"
    foreign.mkdir()
    grid.load(ctx, read(folder, SMALL.replace("memory_mb", f"software: {foreign}, memory_mb")))
    assert list(foreign.iterdir()) == []
    assert rows.execute(text("SELECT software FROM site WHERE name = 'BETA'")).scalar_one() == str(foreign)


def test_pilots_read_their_queue_and_the_storages(ctx: Context, folder: Path) -> None:
    grid.load(ctx, read(folder))
    view = grid.queue_view(ctx, "BETA_LONG")
    assert (view["nickname"], view["atlas_site"], view["cloud"], view["maxrss"]) == ("BETA_LONG", "BETA", "TEST", 3000)
    assert view["heartbeat"] == ctx.settings.pilot.heartbeat_s
    assert Path(str(view["appdir"]), "R-1").is_dir()
    place = grid.storages(ctx)["BETA_DISK"]["arprotocols"]
    protocols = [{"endpoint": "file://localhost", "path": f"{folder}/data/storage/BETA_DISK/"}]
    assert place == {"read_lan": protocols, "write_lan": protocols}
    with pytest.raises(NotFound, match="Known queues: ALPHA, B2, BETA_LONG"):
        grid.queue_view(ctx, "BETA_SHORT")
