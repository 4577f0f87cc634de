"""Fair share: how much of its target each global share, and each virtual organisation, lacks (design.md 4)."""

from collections.abc import Mapping

VO = "vo:"
"""Before the name of a virtual organisation, where shares and organisations stand side by side."""


def deficits(targets: Mapping[str, float], used: Mapping[str, float]) -> dict[str, float]:
    """Give target minus use, both as fractions of their kind (shares or organisations); above 0 it lacks something.

    `targets` are in any unit, `used` in cores. What has no target gets what is left: its target is 0. Without targets
    of a kind nothing of that kind lacks anything.
    """
    return _of_kind(targets, used, is_vo=False) | _of_kind(targets, used, is_vo=True)


def _of_kind(targets: Mapping[str, float], used: Mapping[str, float], *, is_vo: bool) -> dict[str, float]:
    wanted = {name: value for name, value in targets.items() if name.startswith(VO) is is_vo}
    whole = sum(wanted.values())
    if whole <= 0:
        return {}
    has = {name: value for name, value in used.items() if name.startswith(VO) is is_vo}
    cores = sum(has.values())
    return {
        name: wanted.get(name, 0.0) / whole - (has.get(name, 0.0) / cores if cores > 0 else 0.0)
        for name in wanted.keys() | has.keys()
    }
