"""The Z boson release: generate, simulate, merge and fit Z/gamma* -> mu mu. Knows nothing of PanDA."""
