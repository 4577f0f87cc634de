"""PanDA itself: rules, tables and services, importable without Prefect and without a web framework."""
