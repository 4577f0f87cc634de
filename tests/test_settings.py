"""The settings: defaults, ranges, sentences for wrong values, and that they survive the way to another process."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from panda.brokerage.thresholds import Thresholds
from panda.cli.show_settings import settings_page
from panda.errors import BadSettings
from panda.settings import Settings, environment_of, known_variables, load, notify_secret, unknown_variables

ROOT = Path(__file__).parent.parent


def test_defaults_are_loopback_and_inside_one_absolute_folder() -> None:
    settings = load()
    assert settings.api_url == "http://127.0.0.1:25080"
    assert settings.prefect_api_url == "http://127.0.0.1:4200/api"
    assert settings.data_dir.is_absolute()
    assert settings.logs.parent == settings.data_dir


def test_groups_are_set_with_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_WATCHER__SENT_S", "7")
    assert load().watcher.sent_s == 7


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PANDA_HOST", "0.0.0.0", "only a loopback address is accepted"),
        ("PANDA_TLS_KEY", "/key.pem", "PANDA_TLS_CERTIFICATE and PANDA_TLS_KEY belong together"),
        ("PANDA_DATABASE_URL", "sqlite:///x", "PANDA_DATABASE_URL: PostgreSQL is the only database"),
        ("PANDA_EXPANSION__BUNCH_SIZE", "0", "PANDA_EXPANSION__BUNCH_SIZE: Input should be greater than"),
        ("PANDA_API_PORT", "70000", "PANDA_API_PORT"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=says):
        load()


def test_the_password_in_a_wrong_address_is_not_printed() -> None:
    with pytest.raises(BadSettings) as raised:
        load(database_url="mysql://panda:geheim@host/x")
    assert "geheim" not in str(raised.value)


def test_a_typing_error_finds_its_setting() -> None:
    found = unknown_variables({"PANDA_API_PROT": "1", "PANDA_URL": "of a client", "PANDA_API_PORT": "1"})
    assert found == {"PANDA_API_PROT": "PANDA_API_PORT"}


def test_settings_reach_another_process_unchanged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sent = load(data_dir=tmp_path, api_port=1234, notify_key="k", watcher={"sent_s": 3})
    for name, value in environment_of(sent).items():
        monkeypatch.setenv(name, value)
    assert load() == sent
    assert set(environment_of(sent)) <= known_variables()


def test_brokerage_settings_are_the_fields_and_defaults_of_the_rules() -> None:
    assert Thresholds(**load().brokerage.model_dump()) == Thresholds()
    assert {field.name for field in fields(Thresholds)} == set(load().brokerage.model_dump())


def test_the_callback_secret_is_made_once_and_private(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    first = notify_secret(settings)
    assert len(first) > 30
    assert notify_secret(settings) == first
    assert (tmp_path / "notify.key").stat().st_mode & 0o077 == 0
    assert notify_secret(load(data_dir=tmp_path, notify_key="set")) == "set"


def test_the_page_of_all_settings_is_the_one_made_from_the_code() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page(), "make docs"


def test_every_setting_is_read_by_some_part() -> None:
    folders = ("panda", "panda_api", "flows", "tasks")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if path.name != "settings.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources) + inspect.getsource(notify_secret)
    text += "".join(
        inspect.getsource(one.fget) for one in vars(Settings).values() if isinstance(one, property) and one.fget
    )
    names = [name.rpartition("__")[2].removeprefix("PANDA_").lower() for name in known_variables()]
    assert [name for name in names if re.search(rf"\b{name}\b", text) is None] == []
