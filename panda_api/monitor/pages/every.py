"""Every page of the monitor with its address."""

from panda_api.monitor import files  # noqa: F401 - its address joins the router
from panda_api.monitor.pages import (
    dashboard,
    datasets,
    errors,
    job,
    jobs,
    operations,
    report,
    sites,
    task,
    tasks,
    transfers,
    tries,
    users,
    ways,  # noqa: F401 - its addresses join the router
)
from panda_api.monitor.routes import add, router

__all__ = ["PAGES", "router"]

PAGES = (
    dashboard.SPEC,
    tasks.SPEC,
    task.SPEC,
    jobs.SPEC,
    job.SPEC,
    *datasets.SPECS,
    errors.SPEC,
    transfers.SPEC,
    tries.SPEC,
    *sites.SPECS,
    *users.SPECS,
    *operations.SPECS,
    report.SPEC,
)

for each in PAGES:
    add(each)
