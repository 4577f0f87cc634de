"""The only place with SQL on PanDA's own tables."""
