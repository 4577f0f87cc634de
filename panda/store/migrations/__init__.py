"""Migrations of PanDA's and the DDM's tables."""
