"""Values that no pilot should send."""

from hypothesis import strategies as st

TEXTS = [
    "", " ", "None", " NULL ", "null", "0", "7", "running", "starting", "finished", "failed", "x\x07", "n" * 255,
    "n" * 256, "Zürich", "2026-11-08 14:00:00", "2026-11-08T14:00:00", "2026-11-08 14:00:0x",
    "datetime/2026-11-08 14:00:00.000000", "a\u2003b", "\u2003",
    "2026-11-08 14:00+01", "0A1b2c3D", "ad:0a1b2c3d", "0a1b2c3",
    "harvester-7", "0f8fad5b-d9cb-469f-a165-70867728950e", "{0F8FAD5B-d9cb-469f-a165-70867728950e}",
]  # fmt: skip
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([60, 61, 1000, 1001, 10**9, 10**9 + 1, 2**31 - 1, 2**31, 2**63, -1]),
    st.floats(),
    st.sampled_from(TEXTS),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=1),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=1),
)
