"""Exposure matching against the brute-force join."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraud.cards import card_keys
from fraud.store.records import ExposureChange
from fraud.transactions import Columns
from streams.exposure_index import ExposureIndex

REFS = [f"v1:{number:064x}" for number in range(6)]
# Two references with the same first 64 bits: the key alone must not be believed.
REFS += [f"v1:{0:016x}{number:048x}" for number in (1, 2)]

CHANGE = st.builds(
    ExposureChange,
    card_ref=st.sampled_from(REFS),
    compromise_event_id=st.sampled_from(["shop", "gateway"]),
    tier=st.integers(1, 5),
    window_start_at=st.just(100),
    window_end_at=st.just(200),
    released=st.booleans(),
)


def transactions(rows: list[tuple[str, int]]) -> Columns:
    refs = np.array([ref for ref, _ in rows], dtype=np.object_)
    return Columns(
        {
            "card_ref": refs,
            "card_key": card_keys(refs),
            "occurred_at": np.array([at for _, at in rows], dtype=np.int64),
        },
        len(rows),
    )


@given(
    st.lists(CHANGE, max_size=20),
    st.lists(st.tuples(st.sampled_from(REFS), st.integers(0, 300)), max_size=20),
    st.sampled_from([0, 2, 20_000]),  # changes are merged at once, now and then, or never
)
def test_matches_equal_the_brute_force_join(
    changes: list[ExposureChange], rows: list[tuple[str, int]], merged_at: int
) -> None:
    standing: dict[tuple[str, str], ExposureChange] = {}
    for change in changes:
        standing.pop((change.card_ref, change.compromise_event_id), None)
        if not change.released:
            standing[change.card_ref, change.compromise_event_id] = change

    with patch("streams.exposure_index._SMALLEST_MERGE", merged_at):
        index = ExposureIndex().apply(changes[:5], 1).apply(changes[5:7], 1).apply(changes[7:], 2)
    exposed = {ref for ref, _ in standing}
    assert len(index) == len(exposed)
    assert {ref for ref in REFS if ref in index} == exposed
    exposure, matches = index.match(transactions(rows))

    found = {(match.row, match.exposure.compromise_event_id, match.exposure.tier, match.kind) for match in matches}
    expected = {
        (row, event, change.tier, "BEFORE_WINDOW" if at < 100 else "IN_WINDOW" if at < 200 else "AFTER_WINDOW")
        for row, (ref, at) in enumerate(rows)
        for (card, event), change in standing.items()
        if card == ref
    }
    assert found == expected
    assert len(matches) == len(expected)
    for row, (ref, at) in enumerate(rows):
        own = {event: c.tier for (card, event), c in standing.items() if card == ref and at >= 100}
        assert exposure.tier[row] == max(own.values(), default=0)
        assert exposure.compromise_event_ids[row] == tuple(sorted(own))
    assert index.version == 2


def test_a_version_leaves_the_one_before_as_it_was() -> None:
    change = ExposureChange(REFS[0], "shop", 3, 100, 200, released=False)
    before = ExposureIndex()
    after = before.apply([change], 1)
    assert REFS[0] in after
    assert REFS[0] not in before
    assert (len(before), len(after)) == (0, 1)
