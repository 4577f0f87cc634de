"""The pure parts of the embedded DDM: expressions, paths, back-off, bandwidth."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda.ddm.embedded import expression, storage
from panda.ddm.embedded.outcomes import Patience
from panda.ddm.embedded.pace import Bucket
from panda.ddm.embedded.storage import Expected
from panda.ddm.port import Did, InvalidExpression, InvalidName

RSES = {
    "CERN": {"cloud": "CERN", "tier": "0"},
    "FZK": {"cloud": "DE", "tier": "1"},
    "DESY": {"cloud": "DE", "tier": "2"},
    "LAL": {"cloud": "FR", "tier": "2"},
}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("*", {"CERN", "FZK", "DESY", "LAL"}),
        ("FZK", {"FZK"}),
        ("*L", {"LAL"}),
        ("cloud=DE", {"FZK", "DESY"}),
        ("cloud=DE & tier=2", {"DESY"}),
        ("CERN|cloud=DE&tier=1", {"CERN", "FZK"}),
        ("(CERN|cloud=DE)&tier=2", {"DESY"}),
        ("*\\tier=2\\CERN", {"FZK"}),
        ("cloud=D*", {"FZK", "DESY"}),
        ("nothing=here", set()),
        ("NO_SUCH", set()),
    ],
)
def test_expressions(wanted: str, found: set[str]) -> None:
    assert expression.select(wanted, RSES) == found


@pytest.mark.parametrize("wrong", ["", "&", "a|", "(a", "a)", "a b", "cloud=", "a;b", "(" * 60 + "a" + ")" * 60])
def test_wrong_expressions_say_where(wrong: str) -> None:
    with pytest.raises(InvalidExpression):
        expression.select(wrong, RSES)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_name_leads_out_of_the_root(scope: str, name: str) -> None:
    root = Path("/rse/root")
    try:
        path = storage.path_on(str(root), Did(scope, name))
    except InvalidName:
        return
    assert Path(str(path)).resolve().is_relative_to(root)
    assert len(path.relative_to(root).parts) == 4


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/x", "x/y", ".hidden", "x\x00"])
def test_traversal_cannot_be_written_down(name: str) -> None:
    with pytest.raises(InvalidName):
        storage.path_on("/root", Did("scope", name))


def test_copies_are_checked_and_complete(tmp_path: Path) -> None:
    root = str(tmp_path)
    source, part = tmp_path / "source", storage.path_on(root, Did("user.ann", "x")).with_name("x.part-1.1")
    content = random.Random(1).randbytes(3_500_000)
    source.write_bytes(content)
    right = Expected(len(content), "00000000")
    with pytest.raises(storage.WrongContent) as refusal:
        storage.copy(source, part, root, right, bytes)
    adler32 = str(refusal.value).split("adler32 ")[1][:8]
    storage.copy(source, storage.part_path(part.with_name("x"), 1, 2), root, Expected(len(content), adler32), bytes)
    assert not part.exists(), "the part of an older lease is removed"
    assert part.with_name("x.part-1.2").read_bytes() == content
    with pytest.raises(storage.SourceUnreadable):
        storage.copy(tmp_path / "nothing", part, root, right, bytes)
    with pytest.raises(storage.TargetRefused, match="not mounted"):
        storage.copy(source, tmp_path / "gone" / "s" / "aa" / "bb" / "x", str(tmp_path / "gone"), right, bytes)


def test_back_off_grows_to_its_limit() -> None:
    patience = Patience(tries=10, backoff_s=2.0, backoff_max_s=60.0)
    chance = random.Random(1)
    for tries in range(1, 40):
        longest = min(60.0, 2.0 * 2 ** (tries - 1))
        assert longest / 2 <= patience.delay(tries, chance) <= longest


@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=20), st.floats(1e3, 1e9))
def test_a_bucket_never_gives_more_than_its_rate(amounts: list[int], rate: float) -> None:
    now = 0.0
    bucket = Bucket(rate, clock=lambda: now)
    for amount in amounts:
        now += bucket.take(amount)
    assert now * rate >= sum(amounts) * (1 - 1e-9)
