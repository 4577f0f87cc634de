"""One module per change of the schema of ProdDB, oldest first."""
