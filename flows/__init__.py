"""The story: Prefect flows that read like a page each."""
