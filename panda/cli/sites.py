"""Owns `panda sites` and `panda site`: the grid as it is now, and an operator's word on a site."""

from enum import StrEnum
from typing import Annotated

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, one_command, print_json, print_table, tally
from panda.cli.remote import api
from panda.domain.views.grid import SiteView
from panda.domain.words import clock


class Status(StrEnum):
    """What a site lets through: everything, nothing new by brokerage, only tests, nothing."""

    ONLINE = "online"
    BROKEROFF = "brokeroff"
    TEST = "test"
    OFFLINE = "offline"


def sites(*, as_json: AsJson = False) -> None:
    """List the sites with their live jobs and the worker nodes seen in 3 hours."""
    with api() as panda:
        found = panda.look("sites", list[SiteView])
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.cloud, one.name, f"T{one.tier}", one.status, one.pilots, one.running_nodes, tally(one.jobs),
            ", ".join(one.releases), ", ".join(one.vos), one.comment,
        )
        for one in found
    ]  # fmt: skip
    columns = ("cloud", "site", "tier", "status", "nodes (3 h)", "running", "live jobs", "releases", "VOs", "comment")
    print_table(columns, rows)


def site(
    name: Annotated[str, typer.Argument(help="The site.", autocompletion=complete.sites)],
    status: Annotated[Status | None, typer.Argument(help="Its new status; without one it is shown.")] = None,
    *,
    comment: Annotated[str, typer.Option(help="Why, for everybody to read.")] = "",
    as_json: AsJson = False,
) -> None:
    """Set a site online, brokeroff, test or offline, or show it. Jobs that run go on in any case."""
    with api() as panda:
        if status is not None:
            order = {"site": name, "status": status.value, "comment": comment}
            panda.post("/api/v1/site/set_status", order)
        one = panda.look("site", SiteView, name=name)
    if as_json:
        print_json(one)
        return
    words = f" ({one.comment})" if one.comment else ""
    print(f"{one.name} is {one.status} since {clock(one.status_since)}{words}; live jobs: {tally(one.jobs)}.")


sites_app, site_app = one_command(sites), one_command(site)
