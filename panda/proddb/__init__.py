"""The production database (ProdDB): its own metadata and address, never joined with PanDA's tables."""
