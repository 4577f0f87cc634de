"""Jobs taken by pilots, without what pilots are told of them."""

from collections.abc import Sequence

from sqlalchemy import Connection

from panda.store import pop

HOLDER = pop.Holder("BNL", "node1", "f", 1, None)


def handed_out(connection: Connection, wants: Sequence[pop.Want]) -> list[int]:
    """Pop for one pilot; returns its jobs."""
    sites = [want.site_id for want in wants for _ in range(want.n)]
    taken = [one for one in pop.take(connection, wants) if one.job_id is not None]
    if taken:
        handings = [pop.Handing(one, sites[one.slot - 1], HOLDER) for one in taken]
        pop.hand(connection, handings, lambda: None)
    return [one.job_id for one in taken if one.job_id is not None]
