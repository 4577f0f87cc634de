"""The thin FastAPI shell: dispatch to pilots, calls of users, notifications of the DDM."""
