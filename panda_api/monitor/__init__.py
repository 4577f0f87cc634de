"""The monitor: pages for people who look, JSON and CSV of the same for programs (domain.md 5)."""
