"""Alanine dipeptide by CHARMM36: build, move, analyse. Knows nothing of PanDA."""
