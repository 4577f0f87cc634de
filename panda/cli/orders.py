"""Owns how the command line has a Prefect deployment run at once, instead of at its next time."""

import requests

from panda.errors import Unavailable

PATIENCE_S = 30.0


def order_run(prefect_api_url: str, deployment: str) -> str:
    """Order one run of a deployment (`flow/deployment`) now; returns the flow run's id.

    Raises Unavailable if Prefect does not answer or has no such deployment.
    """
    try:
        found = requests.get(f"{prefect_api_url}/deployments/name/{deployment}", timeout=PATIENCE_S)
        found.raise_for_status()
        url = f"{prefect_api_url}/deployments/{found.json()['id']}/create_flow_run"
        made = requests.post(url, json={"state": {"type": "SCHEDULED", "name": "Scheduled"}}, timeout=PATIENCE_S)
        made.raise_for_status()
        return str(made.json()["id"])
    except requests.RequestException as error:
        raise Unavailable(f"{deployment} could not be called: {error}", "See the logs of Prefect's parts.") from error
