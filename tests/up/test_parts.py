"""Which processes a system consists of, and that their environment writes nothing outside the data folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.testing

from panda.cli import COMMANDS, main_app
from panda.cli.parts import Stamp, choose_ports, house_environment, panda_parts
from panda.cli.up import PART_NAMES, supervisor_for
from panda.errors import BadSettings
from panda.settings import PREFIX, load


def test_every_part_is_known_by_name_and_waits_only_for_parts_that_exist(tmp_path: Path) -> None:
    parts = panda_parts(load(data_dir=tmp_path))
    assert {part.name for part in parts} <= set(PART_NAMES)
    assert {part.name for part in parts} >= set(PART_NAMES) - {"deployments"}
    assert {name for part in parts for name in part.after} <= set(PART_NAMES)


def test_parts_are_left_out_by_name_and_a_wrong_name_is_refused(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    names = {part.name for part in panda_parts(settings, without=frozenset({"conductor", "factory"}))}
    assert not names & {"conductor", "factory"}
    with pytest.raises(BadSettings, match="There is no part conducter"):
        supervisor_for(settings, without=frozenset({"conducter"}))


def test_a_database_or_prefect_of_somebody_else_is_not_started(tmp_path: Path) -> None:
    settings = load(
        data_dir=tmp_path, database_url="postgresql://elsewhere/panda", prefect_url="http://elsewhere:4200/api"
    )
    assert not {part.name for part in panda_parts(settings)} & {"database", "prefect"}


def test_free_ports_are_chosen_where_the_setting_is_0() -> None:
    chosen = choose_ports(load(api_port=0, prefect_port=4321))
    assert chosen.api_port > 0
    assert chosen.prefect_port == 4321
    assert choose_ports(load(prefect_port=4321), automatic=True).prefect_port != 4321


def test_every_folder_that_libraries_write_to_is_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://a-prefect-of-the-user/api")
    environment = house_environment(load(data_dir=tmp_path))
    for name in ("PREFECT_HOME", "MPLCONFIGDIR", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        assert Path(environment[name]).is_relative_to(tmp_path)
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment[f"{PREFIX}DATA_DIR"] == str(tmp_path)


def test_a_stamp_holds_only_for_the_state_it_was_set_for(tmp_path: Path) -> None:
    stamp = Stamp(load(data_dir=tmp_path), "deployments")
    assert not stamp.holds("one")
    stamp.set("one")
    assert stamp.holds("one")
    assert not stamp.holds("two")


def test_the_help_names_every_command_and_each_command_has_help_of_its_own() -> None:
    runner = typer.testing.CliRunner()
    listed = runner.invoke(main_app, ["--help"]).output
    for name, (module, _) in COMMANDS.items():
        assert name in listed
        if module != "panda.cli.part":
            assert f"panda {name}" in runner.invoke(main_app, [name, "--help"]).output


def test_the_help_of_all_commands_imports_none_of_them() -> None:
    heavy = {"sqlalchemy", "psycopg2", "prefect", "fastapi", "pydantic"}
    code = f"import sys, panda.cli; sys.exit(' '.join({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_an_error_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PANDA_DATA_DIR": str(tmp_path), "PANDA_HOST": "0.0.0.0"}
    done = subprocess.run(
        [sys.executable, "-m", "panda.cli", "settings"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("panda: PANDA_HOST=0.0.0.0 would open the API to the network")
    assert done.stderr.count("\n") == 1


def test_nobody_waits_for_tables_that_are_known_to_be_right(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    version = tmp_path / "postgres" / "data" / "PG_VERSION"
    version.parent.mkdir(parents=True)

    def waits_for() -> tuple[str, ...]:
        return next(part.after for part in panda_parts(settings) if part.name == "api")

    assert waits_for() == ("prepare",)
    version.write_text("18\n", encoding="ascii")
    prepare = next(part for part in panda_parts(settings) if part.name == "prepare")
    assert prepare.succeeded is not None
    prepare.succeeded()
    assert waits_for() == ("database",)
    os.utime(version, ns=(1, 1))  # another cluster
    assert waits_for() == ("prepare",)
