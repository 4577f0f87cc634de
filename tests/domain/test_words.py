"""What a task waits for is said in words."""

import pytest

from panda.domain.words import awaited


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("AwaitingTransfers: 3 assigned", "input files on their way: 3 assigned"),
        ("AwaitingSite: no site of cloud US now: window 2 (BNL)", "a site: no site of cloud US now: window 2 (BNL)"),
        ("AwaitingJobs", "jobs"),
        ("window 2 (BNL)", "window 2 (BNL)"),
        ("", ""),
        (None, None),
    ],
)
def test_what_is_awaited_is_said_in_words(state: str | None, words: str | None) -> None:
    assert awaited(state) == words
