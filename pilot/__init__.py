"""The worker-node side: standard library and requests only, nothing of PanDA's own code."""
