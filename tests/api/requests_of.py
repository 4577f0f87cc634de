"""Bodies of requests as callers send them."""

from typing import Any


def a_task_form(name: str = "mc.t1", *, n_jobs: int = 1, **more: Any) -> dict[str, Any]:
    """A task without input that any site may run, in our own form."""
    return {
        "name": name,
        "transformation": "gen.py",
        "parameters": "--seed ${SEED} --out ${OUTPUT0}",
        "outputs": [
            {"name": "out", "dataset": f"{name}.out", "lfn": f"{name}._${{SN}}.root"},
            {"name": "log", "dataset": f"{name}.log", "lfn": f"{name}._${{SN}}.log.tgz", "kind": "log"},
        ],
        "split": {"n_jobs": n_jobs},
        **more,
    }


def an_ask(queue: str = "ALPHA", **facts: Any) -> dict[str, Any]:
    """A pilot's request for one job."""
    return {"site_name": queue, "node": "wn1", "prod_source_label": "managed", **facts}


def a_file(size: int = 6) -> dict[str, Any]:
    """An output as a pilot reports it."""
    return {"guid": "b5f0a4f0-0000-4000-8000-000000000001", "fsize": size, "adler32": "084b021f"}
