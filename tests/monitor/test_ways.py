"""Addresses of the original's monitor lead to the page that shows the same, with their filters kept."""

import pytest

from tests.support.serving import Caller

QUERY = "/server/pandamon/query"


@pytest.mark.usefixtures("scene")
def test_addresses_of_the_original_lead_to_the_right_page(caller: Caller) -> None:
    job = caller.get("/jobs?status=failed&json").json()["jobs"]["rows"][0]
    ways = {
        f"{QUERY}?dash=prod": "/",
        f"{QUERY}?dash=prod&hours=3&cloud=US&view=cloud": "/?hours=3&cloud=US",
        f"{QUERY}?dash=analysis&days=2": "/?label=user%7Cpanda&days=2",
        f"{QUERY}?dash=clouds": "/",
        f"{QUERY}?dash=site&cloud=US": "/sites?cloud=US",
        f"{QUERY}?mode=site&site=BNL": "/site/BNL",
        f"{QUERY}?overview=dslist": "/datasets",
        f"{QUERY}?overview=dslist&type=output&limit=5": "/datasets?type=output&limit=5",
        f"{QUERY}?dset=mc.evgen.out": "/dataset/mc.evgen.out",
        f"{QUERY}?days=1&overview=errorlist": "/errors?days=1",
        f"{QUERY}?days=3&overview=errorlist&site=BNL&jeditaskid={job['task_id']}":
            f"/errors?days=3&site=BNL&task={job['task_id']}",
        f"{QUERY}?overview=wnlist&days=7": "/errors?days=7",
        f"{QUERY}?overview=prodlist&hours=6": "/ddm?hours=6",
        f"{QUERY}?overview=taskinfo&taskname=mc.*": "/tasks?taskname=mc.%2A",
        f"{QUERY}?mode=taskquery&status=running": "/tasks?status=running",
        f"{QUERY}?reqid={job['task_id']}": f"/tasks?task={job['task_id']}",
        f"{QUERY}?job={job['id']}": f"/job/{job['id']}",
        f"{QUERY}?ui=user&name=alice": "/user/alice",
        f"{QUERY}?mode=listusers&days=3": "/users?days=3",
        f"{QUERY}?tp=main": "/workers",
        f"{QUERY}?dash=ddm": "/ddm",
        f"{QUERY}?ddm=dash": "/ddm",
        f"{QUERY}?overview=incidents&typekey=brokerage": "/incidents?type=brokerage",
        "/dashboard/request.py/site": "/ddm",
        "/dashboard/request.py/site?days=3&site=BNL&statsInterval=24": "/ddm?days=3&site=BNL",
    }  # fmt: skip
    for old, new in ways.items():
        answer = caller.session.get(caller.address + old, allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (302, new), old
        assert caller.get(old).status_code == 200, old


def test_an_address_that_has_no_page_today_names_those_that_have(caller: Caller) -> None:
    answer = caller.get(f"{QUERY}?overview=wishes&json")
    assert answer.status_code == 404
    assert "overview=dslist" in answer.json()["hint"]
