"""The window of event ids, against a list that remembers everything in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.dedupe import DedupeWindow, Verdict

RECORD = st.tuples(st.sampled_from("abcdef"), st.sampled_from([b"one", b"two"]))


def obvious(records: list[tuple[str, bytes]], size: int) -> list[Verdict]:
    """What the window says, worked out with a plain list."""
    seen: list[tuple[str, bytes]] = []
    verdicts = []
    for event_id, value in records:
        known = dict(seen[-size:] if size else []).get(event_id)
        if known is None:
            seen.append((event_id, value))
            verdicts.append(Verdict.FRESH)
        else:
            verdicts.append(Verdict.DUPLICATE if known == value else Verdict.CONFLICT)
    return verdicts


@given(st.lists(RECORD, max_size=40), st.integers(0, 8), st.integers(1, 10))
def test_verdicts_equal_the_obvious_list_however_the_log_is_cut(
    records: list[tuple[str, bytes]], size: int, batch: int
) -> None:
    window = DedupeWindow(size)
    verdicts: list[int] = []
    for start in range(0, len(records), batch):
        part = records[start : start + batch]
        verdicts.extend(window.judge([event_id for event_id, _ in part], [value for _, value in part]).tolist())
    assert verdicts == obvious(records, size)
    assert len(window) <= max(size, 0) or size == 0
