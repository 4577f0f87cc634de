"""The releases under examples/: their transformations run for real, small."""
