"""Every number of the brokerage rules, with the value of the original system as default (domain.md 2.1 and 2.2)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The numbers that rules compare with; a round stores the ones it used, so that its decisions can be replayed.

    A "work unit" is what tasks state their remaining work in (kSI2k days in 2009); `mcshare` is a cloud's share by the
    collaboration's agreement. Names end in their unit where they have one.
    """

    # Task to cloud (domain.md 2.1; the step stands behind each)
    cloud_space_floor_gb: float = 1024.0  # 5
    gb_per_work_unit: float = 0.2  # 5
    work_limit_per_mcshare: float = 4000.0  # 6
    starving_work_per_mcshare: float = 400.0  # 8
    copy_work_per_mcshare: float = 400.0  # 9 (600 one year later)
    copied_task_types: tuple[str, ...] = ("simul",)  # 9
    fasttrack_evgen_priority: int = 700  # 3
    fasttrack_simul_priority: int = 800  # 3

    # Bunch to site (domain.md 2.2)
    t1_direct_priority: int = 950
    t1_direct_input_files_per_job: float = 20.0
    large_input_files_per_job: float = 5.0
    large_input_mb_per_job: float = 500.0
    t2_space_floor_gb: float = 200.0
    gb_per_queued_job: float = 0.25
    pilot_window_hours: float = 3.0
    bunch_jobs: int = 20
    bunch_input_files: int = 20
    sites_kept: int = 2
    second_site_factor: float = 2.0

    # How deep a site's queue is filled (design.md section 4, "Brokerage rounds")
    window_minimum_jobs: int = 20
    window_running_factor: float = 2.0
