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


def judge(window: DedupeWindow, records: list[tuple[str, bytes]]) -> list[int]:
    verdicts: list[int] = window.judge([event_id for event_id, _ in records], [value for _, value in records]).tolist()
    return verdicts


@given(st.lists(st.lists(RECORD, max_size=12), max_size=6), st.integers(0, 8), st.integers(0, 6))
def test_a_base_and_its_deltas_give_the_window_back(
    batches: list[list[tuple[str, bytes]]], size: int, base_at: int
) -> None:
    window, restored = DedupeWindow(size), DedupeWindow(size)
    for number, batch in enumerate(batches):
        if number == base_at:
            restored.restore(window.entries())
            window.take_new()
        judge(window, batch)
        if number % 2:
            restored.append(window.take_new())
    restored.append(window.take_new())
    assert restored.entries() == window.entries()
    assert restored.take_new() == []
    probe = [(event_id, b"one") for event_id in "abcdefgh"]
    assert judge(restored, probe) == judge(window, probe)
    assert restored.take_new() == window.take_new()


def test_new_entries_are_those_that_entered_since_they_were_last_taken() -> None:
    window = DedupeWindow(3)
    judge(window, [("a", b"one"), ("b", b"one"), ("a", b"one"), ("b", b"two")])
    assert [event_id for event_id, _ in window.take_new()] == ["a", "b"]
    judge(window, [("c", b"one"), ("a", b"one")])
    assert [event_id for event_id, _ in window.take_new()] == ["c"]
    judge(window, [(event_id, b"one") for event_id in "defgh"])
    assert window.take_new() == window.entries()
    assert window.take_new() == []


def test_what_is_put_back_is_not_new() -> None:
    window, restored = DedupeWindow(3), DedupeWindow(2)
    judge(window, [(event_id, b"one") for event_id in "abc"])
    restored.restore(window.entries())
    assert restored.entries() == window.entries()[1:]
    assert restored.take_new() == []


def test_entries_are_a_digest_of_what_was_said_and_stay_the_same_on_every_machine() -> None:
    window = DedupeWindow(3)
    judge(window, [("a", b"one"), ("b", b"two")])
    first, second = (digest for _, digest in window.entries())
    assert first != second
    assert isinstance(first, bytes)
