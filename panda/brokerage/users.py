"""The priority of a user's jobs: the more somebody runs already, the lower (domain.md 2.5, "Priority")."""

from dataclasses import dataclass

BASE_PRIORITY = 1000
BUILD_JOB_PRIORITY = 2000
PRODUCTION_ROLE_OFFSET = 2000
JOBS_PER_STEP = 5
WAITED_LONG_BONUS = 40
WAITED_LONG_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class UserLoad:
    """What a user (or, for jobs of a working group, the group) has in the system.

    `live_jobs` are the jobs that are not final. `cpu_one_day` was used in the last day, `cpu_quota` is what a day
    allows (same unit; 0 is no quota). `offset` is the one of the group at the site; a production role counts
    2000 instead.
    """

    live_jobs: int = 0
    cpu_one_day: float = 0.0
    cpu_quota: float = 0.0
    offset: int = 0
    production_role: bool = False


def overuse(load: UserLoad) -> float:
    """Give used CPU over quota where it is at least 1, otherwise 0: a user within the quota is not slowed."""
    if load.cpu_quota <= 0:
        return 0.0
    ratio = load.cpu_one_day / load.cpu_quota
    return ratio if ratio >= 1 else 0.0


def user_priority(load: UserLoad, index: int = 0, *, build: bool = False) -> int:
    """Give the priority of the job number `index` (from 0) of a submission; a build job goes before all of them.

    1000 + offset - n/5 - int(100 w), where n counts the user's live jobs and those before this one, and w is `overuse`.
    """
    if index < 0 or load.live_jobs < 0:
        raise ValueError(f"index {index} and live_jobs {load.live_jobs} must not be negative")
    if build:
        return BUILD_JOB_PRIORITY
    offset = PRODUCTION_ROLE_OFFSET if load.production_role else load.offset
    serial = load.live_jobs + index
    return BASE_PRIORITY + offset - serial // JOBS_PER_STEP - int(100 * overuse(load))


def user_priorities(load: UserLoad, n_jobs: int) -> list[int]:
    """Give the priorities of the jobs of one submission, in order."""
    return [user_priority(load, index) for index in range(n_jobs)]


def waited_bonus(activated_for_s: float) -> int:
    """Give what is added to a user's job once it has been activated for 24 h without a pilot taking it."""
    return WAITED_LONG_BONUS if activated_for_s >= WAITED_LONG_S else 0
