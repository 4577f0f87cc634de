"""What would change it: for each rule of brokerage that refused, the step by which a person or time lifts it."""

from collections.abc import Callable, Iterable, Sequence

from panda.brokerage.decision import Candidate, Rejection

MOST = 4

_UNITS = {"memory": "MB of memory", "disk": "MB of scratch disk", "cores": "cores", "wall time": "s of wall time"}


def _less(_one: Candidate, because: Rejection) -> str:
    return f"jobs that ask for at most {_number(because.value)} {_UNITS[because.name]}"


def _served(one: Candidate, because: Rejection) -> str:
    return (
        f"{one.name} would have to take {because.threshold!r} (its grid file), or the request ask for {because.value}"
    )


def _online(one: Candidate, because: Rejection) -> str:
    return (
        f"`panda site {one.name} online` (it is {because.value})" if one.id is not None else f"cloud {one.name} online"
    )


def _room(one: Candidate, because: Rejection) -> str:
    return (
        f"{_number(because.threshold)} GB free at {one.name} after what is planned there, not {_number(because.value)}"
    )


_STEPS: dict[str, Callable[[Candidate, Rejection], str]] = {
    "memory": _less,
    "disk": _less,
    "cores": _less,
    "wall time": _less,
    "label": _served,
    "vo": _served,
    "architecture": _served,
    "release": lambda one, because: f"release {because.threshold} installed at {one.name}",
    "container": lambda one, _: f"a `container_runtime` for {one.name} in the grid file",
    "status": _online,
    "space": _room,
    "pilots": lambda one, _: f"a pilot at {one.name}: is the factory of its queues up (`panda workers`)?",
    "window": lambda one, because: f"fewer than {_number(because.threshold)} jobs waiting at {one.name}",
    "preset": lambda _one, because: f"a request that is not for site {because.threshold} only",
    "T1 only": lambda _one, because: f"room at the T1 {because.threshold}: {because.text}",
    "data": lambda one, because: f"the other {_missing(because)} input datasets at the T1 of {one.name}",
    "files": lambda one, because: f"the other {_missing(because)} input files at the T1 of {one.name}",
    "work limit": lambda one, because: f"less than {_number(because.threshold)} of remaining work in {one.name}",
}


def remedies(candidates: Iterable[Candidate]) -> str:
    """Say what would let at least one of the refused candidates take it; empty where none was refused."""
    refused = [(one, one.rejection) for one in candidates if one.rejection is not None]
    others = [pair for pair in refused if pair[1].name != "preset"]  # who asked for one site wants that one
    steps = [_step(one, because) for one, because in others or refused]
    different = list(dict.fromkeys(steps))
    more = f"; and {len(different) - MOST} more" if len(different) > MOST else ""
    return "; or ".join(different[:MOST]) + more


def _step(one: Candidate, because: Rejection) -> str:
    step = _STEPS.get(because.name)
    if step is not None:
        return step(one, because)
    return f"{because.name} {_number(because.threshold)} at {one.name} instead of {_number(because.value)}"


def _missing(because: Rejection) -> str:
    if isinstance(because.value, int | float) and isinstance(because.threshold, int | float):
        return _number(because.threshold - because.value)
    return ""


def _number(found: float | str | None) -> str:
    return f"{found:.6g}" if isinstance(found, int | float) else str(found)


def names(found: Sequence[str], limit: int = 4) -> str:
    """List a few names and how many more there are."""
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more
