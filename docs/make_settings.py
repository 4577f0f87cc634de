#!/usr/bin/env python3
"""Makes docs/reference/settings.md from `panda.settings`; `make docs` calls it, a test compares."""

from pathlib import Path

from panda.cli.show_settings import settings_page

PAGE = Path(__file__).parent / "reference" / "settings.md"


def page() -> str:
    """The whole page."""
    return settings_page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
