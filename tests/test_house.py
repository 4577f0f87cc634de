"""The house keeps its rules of size, tells no secrets of the machine it was built on, and documents its settings."""

import ast
import re
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from panda.settings import Group, Settings, variable_name

ROOT = Path(__file__).parents[1]
FILE_LINES, FUNCTION_LINES, MEDIAN_LINES, MOST_EXCUSED_MEDIAN = 500, 50, 120, 200

EXCUSED_FILES = {
    "panda/store/schema.py": "one schema, read from top to bottom like a list",
}
EXCUSED_PACKAGES = {
    "panda/brokerage": "the rules of one step stay side by side in the order in which they are asked",
    "panda/ddm/embedded": "a catalogue and an agent whose statements are explained where they stand",
    "panda/proddb": "eight files, half of them the statements of one side of the mirror",
    "panda/store/monitor": "as panda/store: set-based statements with their reasons, one kind of page per file",
    "panda_api/monitor/pages": "a page with its columns, blocks and links is one file",
    "panda/services": "a use case with its transaction, its result type and its reasons is one file",
    "panda/store": "set-based statements with their reasons, one kind of thing per file",
}
SOURCES = ("panda", "panda_api", "pilot", "flows", "tasks", "examples")

OF_A_MACHINE = re.compile(r"(?<![\w.$}])/(?:work|home|root|Users)/")
REGISTRY = re.compile(
    r"--(?:extra-)?index-url|https?://\S*(?:pypi|pythonhosted|npmjs|deb\.debian|/simple\b)", re.IGNORECASE
)


def tracked() -> list[Path]:
    """Every file of the project; without git (an unpacked archive) what lies in its folders."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        files = [ROOT / name for name in listed.split("\0") if name]
    else:
        folders = [ROOT / name for name in (*SOURCES, "tests", "docs", "deployments", "benchmarks", "requirements")]
        files = [*ROOT.glob("*.*"), *(file for folder in folders for file in folder.rglob("*"))]
    return [file for file in files if file.is_file() and "__pycache__" not in file.parts]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def written_by_hand() -> Iterator[tuple[str, str]]:
    """Name and text of every Python file; migrations are made by a tool."""
    for file in tracked():
        if file.suffix == ".py" and "migrations" not in file.parts:
            yield name_of(file), file.read_text(encoding="utf-8")


def texts() -> Iterator[tuple[str, str]]:
    for file in tracked():
        if file.suffix not in {".png", ".root", ".gz"}:
            yield name_of(file), file.read_text(encoding="utf-8")


def test_no_file_is_too_long() -> None:
    long = {name: text.count("\n") for name, text in written_by_hand() if text.count("\n") > FILE_LINES}
    assert {name: lines for name, lines in long.items() if name not in EXCUSED_FILES} == {}


def test_no_function_is_too_long() -> None:
    long = {
        f"{name}:{node.name}": node.end_lineno - node.lineno + 1
        for name, text in written_by_hand()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES} == {}


def test_packages_have_small_files() -> None:
    sizes = defaultdict(list)
    for name, text in written_by_hand():
        if name.startswith(tuple(f"{top}/" for top in SOURCES)):
            sizes[name.rpartition("/")[0]].append(text.count("\n"))
    medians = {package: statistics.median(lines) for package, lines in sizes.items()}
    too_large = {
        package: median
        for package, median in medians.items()
        if median > (MOST_EXCUSED_MEDIAN if package in EXCUSED_PACKAGES else MEDIAN_LINES)
    }
    assert too_large == {}


def test_excuses_name_what_exists() -> None:
    lines = dict(written_by_hand())
    assert [name for name in EXCUSED_FILES if lines.get(name, "").count("\n") <= FILE_LINES] == []
    assert [name for name in EXCUSED_PACKAGES if not (ROOT / name).is_dir()] == []


def test_no_path_of_a_machine_and_no_address_of_a_registry() -> None:
    found = [
        f"{name}: {line.strip()[:120]}"
        for name, text in texts()
        for line in text.splitlines()
        if OF_A_MACHINE.search(line) or REGISTRY.search(line)
    ]
    assert found == []


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    fields = {variable_name(name): field for name, field in Settings.model_fields.items()}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            del fields[variable_name(name)]
            fields |= {variable_name(name, inner): one for inner, one in field.annotation.model_fields.items()}
    assert {name for name, field in fields.items() if not field.description or f"`{name}`" not in page} == set()
    assert len(fields) > 50
