"""Tests of ProdDB, on a real database of its own."""
