"""What brokerage looks at, read in one snapshot: sites with their queues of jobs, clouds, remaining work."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from panda.brokerage.snapshot import (
    CloudFacts,
    JobCount,
    Needs,
    ProcessGroup,
    Release,
    SiteFacts,
    SiteWish,
    process_group,
)
from panda.domain.states import IN_HAND
from panda.store.counters import EXACT, ensure_watermark

_SITES = """
    SELECT s.*, st.space_gb - st.used_gb AS free_gb, r.releases, p.pilots, p.running_nodes,
           COALESCE(e.started, 0) AS started_recently
    FROM site s
    LEFT JOIN storage st ON st.rse = s.rse
    LEFT JOIN LATERAL (
        SELECT array_agg(ARRAY[release, architecture]) AS releases FROM site_release WHERE site_id = s.id) r ON true
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE GREATEST(last_get_job, last_update_job) > now() - make_interval(hours => :hours))
                   AS pilots,
               count(*) FILTER (WHERE last_update_job > now() - make_interval(hours => :hours)) AS running_nodes
        FROM pilot_activity WHERE site_id = s.id) p ON true
    LEFT JOIN (
        SELECT to_site, sum(n) AS started FROM job_event
        WHERE to_state = 'sent' AND at > now() - make_interval(secs => :refill) GROUP BY to_site) e ON e.to_site = s.id
    ORDER BY s.id
"""

_WITH_JOBS = "task_id IN (SELECT id FROM production_task WHERE stage IN ('assigned', 'running', 'aborting'))"

# Per site, kind of work and priority, from the counters with what is not folded yet: exact, and no job is looked at.
_COUNTS = f"""
    SELECT c.site_id, t.processing_type, t.priority, c.status::text AS state, sum(c.n)::bigint AS n
    FROM ({EXACT.format(where=_WITH_JOBS)}) c JOIN production_task t ON t.id = c.task_id
    WHERE c.site_id <> 0 AND c.status IN ('assigned', 'activated', 'sent', 'starting', 'running')
    GROUP BY c.site_id, t.processing_type, t.priority, c.status
"""  # noqa: S608 - constants


def sites(connection: Connection, *, pilot_window_hours: float, refill_s: float) -> list[SiteFacts]:
    """Which sites are there, and what waits and runs at each?"""
    counts = _job_counts(connection)
    values = {"hours": int(pilot_window_hours), "refill": 2 * refill_s}
    rows = connection.execute(text(_SITES), values).mappings()
    return [_site(row, tuple(counts.get(row["id"], ()))) for row in rows]


def _site(row: RowMapping, counts: tuple[JobCount, ...]) -> SiteFacts:
    return SiteFacts(
        id=row["id"],
        name=row["name"],
        cloud=row["cloud"],
        tier=row["tier"],
        status=row["status"],
        vos=frozenset(row["vos"]) or None,
        labels=frozenset(row["labels"]),
        releases=None if row["releases"] is None else frozenset(Release(*one) for one in row["releases"]),
        memory_mb=row["memory_mb"],
        disk_mb=row["disk_mb"],
        cores=row["cores"],
        max_time_s=row["max_time_s"],
        corepower=row["corepower"],
        container_runtime=row["container_runtime"],
        free_space_gb=row["free_gb"],
        pilots=row["pilots"],
        running_nodes=row["running_nodes"],
        started_recently=row["started_recently"],
        rses=(row["rse"],),
        counts=counts,
    )


def _job_counts(connection: Connection) -> dict[int, list[JobCount]]:
    sums: dict[tuple[int, ProcessGroup, int], dict[str, int]] = {}
    ensure_watermark(connection)
    for row in connection.execute(text(_COUNTS)):
        states = sums.setdefault((row.site_id, process_group(row.processing_type), row.priority), {})
        state = "running" if row.state in IN_HAND else row.state
        states[state] = states.get(state, 0) + row.n
    found: dict[int, list[JobCount]] = {}
    for (site_id, group, priority), states in sorted(sums.items()):
        known = {name: states.get(name, 0) for name in ("assigned", "activated", "running")}
        found.setdefault(site_id, []).append(JobCount(group, priority, **known))
    return found


def clouds(connection: Connection, facts: list[SiteFacts]) -> list[CloudFacts]:
    """Which clouds are there, with their T1's space and the pilots of their sites?"""
    by_name = {site.name: site for site in facts}
    found = []
    for row in connection.execute(text("SELECT * FROM cloud ORDER BY name")).mappings():
        tier1 = by_name.get(row["tier1"])
        members = [site for site in facts if site.cloud == row["name"]]
        served = [site.vos for site in members]
        found.append(
            CloudFacts(
                name=row["name"],
                status=row["status"],
                validation=row["validation"],
                fasttrack=row["fasttrack"],
                mcshare=row["mcshare"],
                weight=row["weight"],
                tier1_site_id=tier1.id if tier1 else None,
                tier1_site=row["tier1"],
                tier1_rses=tier1.rses if tier1 else (),
                free_space_gb=tier1.free_space_gb if tier1 else None,
                transtimelo_days=row["transfer_time_low_days"],
                transtimehi_days=row["transfer_time_high_days"],
                pilots=sum(site.pilots for site in members),
                vos=None if any(one is None for one in served) else frozenset().union(*(one or () for one in served)),
            )
        )
    return found


def needs_of_task(task: RowMapping | Mapping[str, Any]) -> Needs:
    """Give what each job of a task asks for, in the words of brokerage."""
    return Needs(
        label=task["label"],
        vo=task["vo"],
        processing_type=task["processing_type"],
        release=task["release"],
        architecture=task["architecture"],
        memory_mb=task["memory_mb"],
        disk_mb=task["disk_mb"],
        cores=task["cores"],
        wall_s=task["wall_s"],
        work_hs23_s=task["work_hs23_s"],
        in_container=bool(task["container"]),
    )


def wish_of(known: Iterable[SiteFacts], wanted: Iterable[str], excluded: Iterable[str]) -> SiteWish:
    """Give the wish for sites by name; a wanted one that the grid does not have (any more) stays a wish: number 0."""
    ids = {site.name: site.id for site in known}
    return SiteWish(
        frozenset(ids.get(name, 0) for name in wanted), frozenset(ids[name] for name in excluded if name in ids)
    )


def wish_of_task(known: Iterable[SiteFacts], task: RowMapping) -> SiteWish:
    """Give where a task's owner lets it run; a preset site is the only one."""
    preset = task["preset_site"]
    return wish_of(known, task["sites"] if preset is None else [preset], task["excluded_sites"])


def needs_of_class(row: RowMapping) -> Needs:
    """Give what the jobs of a requirement class ask for."""
    return Needs(**{name: row[name] for name in Needs.__slots__})


def other_tasks(connection: Connection, task_id: int) -> list[RowMapping]:
    """Which other live tasks have a cloud, and how much of their work is left?"""
    return list(
        connection.execute(
            text("""
                SELECT t.id, t.cloud, t.priority, t.processing_type,
                       t.exp_remaining_work * CASE WHEN t.next_ordinal > 0 THEN GREATEST(0, 1 - (
                           SELECT COALESCE(sum(c.n), 0) FROM job_count c
                           WHERE c.task_id = t.id AND c.status = 'finished') / t.next_ordinal) ELSE 1 END AS work
                FROM production_task t
                WHERE t.cloud IS NOT NULL AND t.id <> :task AND t.stage IN ('registered', 'assigned', 'running')
            """),
            {"task": task_id},
        ).mappings()
    )
