"""The tests; folders have the names of the code they hold."""
