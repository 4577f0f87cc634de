"""One machine over the services, and mutations that it has to find."""
