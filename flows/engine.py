"""Owns the process of one flow run that a worker starts: `python -m prefect.engine`, begun by `panda.launch`."""

import runpy

import flows.bamboo  # noqa: F401 - what is loaded here need not be loaded later


def main() -> None:
    """Run the flow run that the environment names (PREFECT__FLOW_RUN_ID)."""
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
