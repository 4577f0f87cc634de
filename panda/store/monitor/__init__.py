"""SQL of the monitor's pages: reads only, set-based, every page in one snapshot of the database."""
