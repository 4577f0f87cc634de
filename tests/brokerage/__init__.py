"""Brokerage: a table for every rule, and properties of the choices. No I/O, under five seconds in all."""
