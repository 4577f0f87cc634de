"""Hypothesis strategies: grids, bunches and tasks of every kind, also nonsensical ones."""

from hypothesis import strategies as st

from panda.brokerage.snapshot import (
    BunchFacts,
    CloudFacts,
    DatasetFacts,
    DatasetLocation,
    JobCount,
    Needs,
    ProcessGroup,
    Release,
    RemainingWork,
    RoundSnapshot,
    SiteFacts,
    TaskFacts,
)

few = st.integers(0, 60)
priority = st.sampled_from([100, 500, 949, 950, 1000])
names = st.sampled_from(["25.0.1", "25.0.2", "24.9"])
architectures = st.sampled_from(["x86", "arm"])
release_sets = st.none() | st.frozensets(st.builds(Release, names, architectures | st.just("")), max_size=3)
needs = st.builds(
    Needs,
    label=st.sampled_from(["managed", "user", "prod_test"]),
    vo=st.sampled_from(["atlas", "charmm"]),
    processing_type=st.sampled_from(["evgen", "simul", "reco", "reprocessing", "validation"]),
    release=names | st.just(""),
    architecture=architectures | st.just(""),
    memory_mb=st.sampled_from([0, 2000, 64_000]),
    disk_mb=st.sampled_from([0, 10_000]),
    cores=st.sampled_from([1, 8]),
    wall_s=st.sampled_from([0.0, 600.0, 90_000.0]),
    work_hs23_s=st.sampled_from([0.0, 36_000.0, 1e7]),
)
counts = st.builds(JobCount, st.sampled_from(ProcessGroup), priority, few, few, few)
name_sets = st.none() | st.frozensets(st.sampled_from(["atlas", "charmm"]), max_size=2)


@st.composite
def site_lists(draw: st.DrawFn, most: int = 6) -> tuple[SiteFacts, ...]:
    """Sites of one cloud; the first is its T1."""
    number = draw(st.integers(1, most))
    return tuple(
        SiteFacts(
            id=index,
            name=f"S{index}",
            cloud="US",
            tier=1 if index == 1 else 2,
            status=draw(st.sampled_from(["online", "online", "online", "test", "offline", "brokeroff"])),
            is_test=draw(st.sampled_from([False, False, False, True])),
            vos=draw(name_sets),
            labels=draw(st.none() | st.frozensets(st.sampled_from(["managed", "user"]), min_size=1)),
            releases=draw(release_sets),
            memory_mb=draw(st.sampled_from([0, 0, 8000])),
            cores=draw(st.sampled_from([0, 1, 8])),
            max_time_s=draw(st.sampled_from([0.0, 3600.0, 100_000.0])),
            corepower=draw(st.sampled_from([None, 10.0])),
            free_space_gb=draw(st.none() | st.sampled_from([100.0, 210.0, 5000.0])),
            pilots=draw(few),
            running_nodes=draw(few),
            counts=tuple(draw(st.lists(counts, max_size=3))),
        )
        for index in range(1, number + 1)
    )


clouds = st.builds(
    CloudFacts,
    name=st.just("US"),
    weight=st.sampled_from([-1.0, 0.0, 2.0]),
    tier1_site_id=st.just(1),
    tier1_site=st.just("S1"),
)
snapshots = st.builds(RoundSnapshot, clouds, site_lists())


@st.composite
def bunch_lists(draw: st.DrawFn, most: int = 6) -> tuple[BunchFacts, ...]:
    """Bunches with ids 1, 2, ..."""
    return tuple(
        BunchFacts(
            id=index,
            task_id=1,
            priority=draw(priority),
            needs=draw(needs),
            n_jobs=draw(st.integers(1, 20)),
            n_input_files=draw(st.sampled_from([0, 0, 5, 200])),
            input_bytes=draw(st.sampled_from([0, 10**11])),
            preset_site_id=draw(st.sampled_from([None, None, None, 1, 2, 99])),
            files_at=draw(st.dictionaries(st.integers(1, 6), few, max_size=3)),
        )
        for index in range(1, draw(st.integers(1, most)) + 1)
    )


cloud_names = st.sampled_from(["FR", "IT", "US"])
locations = st.builds(DatasetLocation, cloud_names, st.booleans(), st.booleans(), few, few, st.booleans())
datasets = st.builds(
    DatasetFacts, st.sampled_from(["a", "b"]), st.integers(0, 10**13), st.lists(locations, max_size=3).map(tuple)
)
tasks = st.builds(
    TaskFacts,
    id=st.integers(1, 1000),
    task_type=st.sampled_from(["evgen", "simul", "reco"]),
    priority=priority,
    needs=needs,
    expected_work=st.floats(0, 10_000),
    inputs=st.lists(datasets, max_size=2).map(tuple),
    remaining=st.lists(
        st.builds(RemainingWork, cloud_names, st.floats(0, 10_000), st.floats(0, 50_000)), max_size=3
    ).map(tuple),
    catalogue_error=st.sampled_from(["", "", "", "timeout"]),
)
cloud_lists = st.lists(
    st.builds(
        CloudFacts,
        name=cloud_names,
        status=st.sampled_from(["online", "online", "offline"]),
        validation=st.booleans(),
        fasttrack=st.booleans(),
        mcshare=st.sampled_from([0.0, 1.0, 3.0]),
        free_space_gb=st.none() | st.floats(0, 20_000),
        pilots=few,
        vos=name_sets,
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)
