"""Not evaluable without history, or without fields: what is NaN, what is said, and what stays as it is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from model_samples import HOME, as_transactions, random_events

import fraud.policy
from fraud.transactions import FIELD_BY_NAME
from models.evaluability import FIELDS_NEEDED, RULES_NEED, not_evaluable
from models.feature_table import FEATURE_NAMES, FEATURES
from models.features import as_columns, compute_features
from models.state import CardStates

DAY = 86_400_000
TOKYO = {"home_country": HOME, "timezone": "Asia/Tokyo"}


@pytest.fixture(scope="module")
def columns():
    return as_transactions(random_events(11, 2_000, mean_gap_ms=3_000_000, late_share=0.05))


def test_a_feature_is_nan_until_history_reaches_back_as_far_as_it_looks_and_then_what_it_always_was(columns) -> None:
    start = int(columns["occurred_at"].min())
    whole = as_columns(compute_features(columns, CardStates(), **TOKYO))
    hidden = as_columns(compute_features(columns, CardStates(), **TOKYO, history_from=start))
    reach = columns["occurred_at"] - start
    assert reach.max() > 60 * DAY
    for feature in FEATURES:
        short = reach < feature.reach_ms
        assert np.isnan(hidden[feature.name][short]).all(), feature.name
        np.testing.assert_array_equal(hidden[feature.name][~short], whole[feature.name][~short], err_msg=feature.name)


def test_with_history_of_any_length_state_is_the_same_and_full_history_changes_no_bit(columns) -> None:
    first, second, third = CardStates(), CardStates(), CardStates()
    whole = compute_features(columns, first, **TOKYO)
    compute_features(columns, second, **TOKYO, history_from=int(columns["occurred_at"].max()))
    long = compute_features(columns, third, **TOKYO, history_from=int(columns["occurred_at"].min()) - 40 * DAY)
    assert long.tobytes() == whole.tobytes()
    assert second.records.tobytes() == first.records.tobytes()


def test_an_event_from_before_history_began_has_no_window(columns) -> None:
    features = as_columns(
        compute_features(columns.take([0]), CardStates(), **TOKYO, history_from=int(columns["occurred_at"][0]) + DAY)
    )
    assert np.isnan(features["count_1h"]).all()
    assert not np.isnan(features["hour_of_day"]).any()


def test_every_window_is_covered_by_the_reach() -> None:
    for feature in FEATURES:
        days = re.match(r"(\d+) local days", feature.window)
        if days:
            assert feature.reach_ms >= int(days[1]) * DAY, feature.name
    looking = {feature.name for feature in FEATURES if feature.reach_ms}
    of_the_event = {feature.name for feature in FEATURES if feature.window == "this event"}
    assert not looking & of_the_event
    assert {name for name in FEATURE_NAMES if name not in looking | of_the_event} == {"seconds_since_last"}


def test_what_a_feature_needs_is_what_it_says_nothing_without(columns) -> None:
    """Take a field away, and the features that need it are constant or NaN; the others do not change."""
    sources = {"amount": "amount", "mcc": "mcc_group", "merchant_id": "merchant_key"}
    whole = as_columns(compute_features(columns, CardStates(), **TOKYO))
    fields = {name for needs in FIELDS_NEEDED.values() for need in needs for name in need.split("|")}
    for field in fields - {"transaction_type"}:
        column = sources.get(field, field)
        blanked = columns[column].copy()
        missing = {"f": np.nan, "O": None, "u": 0}.get(blanked.dtype.kind, -1)
        blanked[:] = missing
        without = type(columns)({name: columns[name] for name in columns} | {column: blanked}, len(columns))
        found = as_columns(compute_features(without, CardStates(), **TOKYO))
        for name in FEATURE_NAMES:
            needed = any(need == field for need in FIELDS_NEEDED.get(name, ()))
            values = found[name]
            says_nothing = np.isnan(values).all() or np.nanmax(values) == np.nanmin(values)
            if needed and name not in ("small_1h", "small_24h"):  # account verifications are small without an amount
                assert says_nothing, (field, name)
            if says_nothing and not needed and field != "channel":
                np.testing.assert_array_equal(values, whole[name], err_msg=f"{name} without {field}")


def test_the_tables_name_what_there_is() -> None:
    assert set(FIELDS_NEEDED) <= set(FEATURE_NAMES)
    known = set(FIELD_BY_NAME) | {"amount"}
    assert {name for needs in FIELDS_NEEDED.values() for need in needs for name in need.split("|")} <= known
    assert {name for needs in RULES_NEED.values() for name in needs.features} <= set(FEATURE_NAMES)
    assert {name for needs in RULES_NEED.values() for name in needs.fields} <= known
    source = Path(fraud.policy.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'Reason\(\s*"([A-Z_]+)"', source))
    codes |= set(re.findall(r'^\s+"([A-Z_]+)": ', source, re.MULTILINE))
    scores = {"MODEL_SCORE_HIGH", "ANOMALY_HIGH", "SCORING_FAILED", "EXPOSED_CARD"}  # they need no feature of their own
    assert set(RULES_NEED) == codes - scores


def test_what_is_off_is_said_with_what_it_waits_for() -> None:
    nothing = not_evaluable()
    assert (nothing.features, nothing.rules) == ({}, {})
    early = not_evaluable(history_from=0, now=5 * DAY)
    assert early.features["count_7d"] == "needs 7 days of history, there are 5 days"
    assert "count_24h" not in early.features
    assert early.rules["NEW_MERCHANT"].startswith("merchant_new needs 30 days")
    assert "VELOCITY" not in early.rules
    assert not_evaluable(history_from=0, now=31 * DAY).features == {}
    bare = not_evaluable(frozenset({"channel"}), 0, 90 * DAY)
    assert bare.rules["NO_CHALLENGE"] == "needs three_ds"
    assert "is_cash" not in bare.features  # a channel is enough
