"""The documentation: links lead somewhere, pages made from code are those of this code, commands exist."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from panda.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    assert list(broken_links(ROOT / name)) == []


def test_a_broken_link_and_a_missing_heading_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# The `head` of it\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#the-head-of-it) [c](there.md#tail) ![d](gone.png)\n```\n[e](no.md)\n```\n",
        encoding="utf-8",
    )
    assert list(broken_links(page)) == ["there.md#tail: no such heading", "gone.png: no such file"]


def test_the_page_of_states_is_made_from_the_tables_of_states() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_states.py"))
    assert (ROOT / "docs" / "reference" / "states.md").read_text(encoding="utf-8") == made["page"](), "make docs"


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert pages - set(listed) == set(), "name them under nav in mkdocs.yml"
    assert set(listed) - pages == set()


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_the_pages_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    made = set(re.findall(r"(?:`|^\$ |^    )make ([a-z-]+)", text, re.MULTILINE))
    called = set(re.findall(r"(?:`|^\$ |^    )panda ([a-z][a-z-]*)", text, re.MULTILINE))
    assert made - targets == set()
    assert called - set(COMMANDS) == set()


def test_pictures_are_small() -> None:
    sizes = {picture.name: picture.stat().st_size for picture in (ROOT / "docs" / "images").iterdir()}
    assert {name: size for name, size in sizes.items() if size > 200_000} == {}
