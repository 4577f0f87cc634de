"""What the monitor's pages are made of: the questions of `panda.store.monitor`, asked in one snapshot per page."""

from panda.store.monitor import data, errors, jobs, operations, overview, tasks
from panda.store.monitor.snapshot import Span, now
from panda.store.monitor.snapshot import snapshot as looking

__all__ = ["Span", "data", "errors", "jobs", "looking", "now", "operations", "overview", "tasks"]
