"""Resource types: PanDA's names for slots by cores and memory per core (wire-protocol.md 4.1, domain.md 2.8)."""

from dataclasses import dataclass

HIGH_MEMORY_MB = 2000
"""From more than this many MB per core on a job is a high-memory job."""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of slot; a bound that is None does not bind. Memory is MB per core."""

    name: str
    min_cores: int
    max_cores: int | None
    min_memory_mb: int | None
    max_memory_mb: int | None


RESOURCE_TYPES = (
    ResourceType("SCORE", 1, 1, None, HIGH_MEMORY_MB),
    ResourceType("SCORE_HIMEM", 1, 1, HIGH_MEMORY_MB + 1, None),
    ResourceType("MCORE", 2, None, None, HIGH_MEMORY_MB),
    ResourceType("MCORE_HIMEM", 2, None, HIGH_MEMORY_MB + 1, None),
)


def resource_type_of(cores: int, memory_mb: float) -> str:
    """Name the resource type of a job with so many cores and, in all, so many MB of memory (0: unknown, not much)."""
    several = max(1, cores)
    name = "SCORE" if several == 1 else "MCORE"
    return f"{name}_HIMEM" if memory_mb / several > HIGH_MEMORY_MB else name
