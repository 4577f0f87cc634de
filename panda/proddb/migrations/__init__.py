"""Migrations of the schema of ProdDB, run by `panda.proddb.engine`."""
