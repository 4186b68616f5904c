"""The kernel against the plain reference, and its independence from how the log is cut."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_samples import HOME, START, as_transactions, random_events
from reference_features import reference_features

import fraud
import models
from fraud.transactions import EVENT_TYPES, Columns
from models.card_state import CARD_STATE, RING_SIZE
from models.events import EVENT, is_scored, pack_events
from models.evidence import recent_events
from models.feature_table import FEATURE_ROW
from models.features import FEATURE_NAMES, FEATURES, as_columns, compute_features, feature_digest, step
from models.state import CardStates

TOKYO = {"home_country": HOME, "timezone": "Asia/Tokyo"}
DAY = 86_400_000
HOUR = 3_600_000


def features_of(events, states=None, **portfolio):
    return compute_features(as_transactions(events), CardStates() if states is None else states, **TOKYO | portfolio)


def named(events, **portfolio):
    return as_columns(features_of(events, **portfolio))


def purchase(at, **fields):
    return {"number": 0, "card": 1, "type": "authorization", "at": START + at, "approved": True} | fields


def assert_same(events, **portfolio):
    computed = named(events, **portfolio)
    expected = reference_features(events, **TOKYO | portfolio)
    assert set(expected[0]) == set(FEATURE_NAMES)
    for name in FEATURE_NAMES:
        reference = np.array([row[name] for row in expected], dtype=np.float64)
        np.testing.assert_allclose(computed[name], reference, rtol=2e-6, atol=2e-6, err_msg=name)


scenarios = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "n": st.integers(1, 200),
        "cards": st.integers(1, 4),
        "merchants": st.sampled_from([2, 20, 60]),
        "mean_gap_ms": st.sampled_from([20_000, 1_800_000, 20_000_000, 200_000_000]),
        "late_share": st.sampled_from([0.0, 0.1, 0.5]),
        "late_ms": st.sampled_from([HOUR, 2 * DAY, 90 * DAY]),
        "missing": st.sampled_from([0.0, 0.2, 0.6]),
    }
)


@settings(deadline=None, max_examples=60)
@given(scenarios)
def test_kernel_equals_the_reference(scenario):
    assert_same(random_events(**scenario))


@pytest.mark.parametrize("timezone", ["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_kernel_equals_the_reference_in_other_zones(timezone):
    # Ten months in steps of hours: both changes of daylight saving are inside.
    assert_same(random_events(5, 300, mean_gap_ms=DAY), timezone=timezone, small_amount_minor=150)


@settings(deadline=None, max_examples=30)
@given(scenarios, st.sampled_from([1, 7, 1_000]), st.randoms(use_true_random=False))
def test_results_do_not_depend_on_batches_or_on_how_cards_interleave(scenario, size, random):
    events = random_events(**scenario)
    whole, states = features_of(events), CardStates()
    cut = [features_of(events[start : start + size], states) for start in range(0, len(events), size)]
    assert np.concatenate(cut).tobytes() == whole.tobytes()

    # Any merge of the cards' own logs: as if they came from other partitions.
    waiting = {}
    for row, event in enumerate(events):
        waiting.setdefault(event["card"], []).append(row)
    order = []
    while waiting:
        card = random.choice(sorted(waiting))
        order.append(waiting[card].pop(0))
        if not waiting[card]:
            del waiting[card]
    merged = features_of([events[row] for row in order])
    assert merged.tobytes() == whole[order].tobytes()


def test_a_record_kept_as_bytes_gives_the_same_numbers():
    """What a stream engine with per-key state does: bytes in, one step, bytes out."""
    events = random_events(11, 120)
    whole = features_of(events)
    packed, kept = pack_events(as_transactions(events), "Asia/Tokyo"), {}
    empty = np.zeros(1, CARD_STATE)
    empty["version"] = 1
    for row, event in enumerate(events):
        state = np.frombuffer(bytearray(kept.get(event["card"], empty.tobytes())), CARD_STATE)
        out = np.full(1, -7.0, np.float32).repeat(len(FEATURES)).view(FEATURE_ROW)
        step(state[0], packed[row], HOME, 200.0, out[0])
        kept[event["card"]] = state.tobytes()
        assert out.tobytes() == whole[row].tobytes()


def test_every_feature_is_written_for_every_row():
    features = np.full((1, len(FEATURES)), -7.0, np.float32)
    step(
        np.zeros(1, CARD_STATE)[0],
        np.zeros(1, EVENT)[0],
        HOME,
        200.0,
        features.view(FEATURE_ROW)[0, 0],
    )
    assert not (features == -7.0).any()


def test_shape_and_type():
    features = features_of(random_events(1, 10))
    assert features.shape == (10, len(FEATURES))
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    assert compute_features(Columns({}, 0), CardStates(), **TOKYO).shape == (0, len(FEATURES))


def test_only_counted_types_move_the_state():
    for name in EVENT_TYPES:
        states = CardStates()
        features_of([purchase(0, type=name)], states)
        counted = name not in ("reversal", "refund", "authentication", "account_change")
        assert states.records["history_count"].tolist() == [int(counted)], name
    linked = purchase(0, type="clearing", original="e-0")
    states = CardStates()
    features_of([linked], states)
    assert states.records["history_count"].tolist() == [0]
    assert not is_scored(as_transactions([linked]))[0]
    assert is_scored(as_transactions([purchase(0, type="clearing")]))[0]


def test_unknown_event_type_is_not_scored_and_moves_nothing():
    columns = as_transactions([purchase(0)])
    columns["event_type"][:] = -1
    states = CardStates()
    compute_features(columns, states, **TOKYO)
    assert not is_scored(columns).any()
    assert states.records["history_count"].tolist() == [0]


def test_missing_inputs_are_nan_and_never_an_error():
    features = named([{"number": 0, "card": 1, "type": "authorization", "at": START}])
    known = {name for name in FEATURE_NAMES if not np.isnan(features[name][0])}
    assert known == {feature.name for feature in FEATURES if feature.missing == "never"}


def test_window_borders():
    """An event exactly one window before is outside; one at the same time, earlier in the log, is inside."""
    features = named([purchase(0), purchase(HOUR), purchase(HOUR), purchase(DAY), purchase(DAY + HOUR)])
    assert features["count_1h"].tolist() == [0, 0, 1, 0, 0]
    assert features["count_24h"].tolist() == [0, 1, 2, 2, 1]


def test_a_late_event_does_not_see_what_came_after_it():
    features = named([purchase(0), purchase(5 * HOUR), purchase(HOUR), purchase(6 * HOUR)])
    assert features["count_24h"].tolist() == [0, 1, 1, 3]
    assert features["seconds_since_last"].tolist()[2:] == [3_600, 3_600]
    assert features["history_count"].tolist() == [0, 1, 2, 3]


def test_a_full_ring_says_so():
    features = named([purchase(minute * 60_000) for minute in range(RING_SIZE + 3)])
    assert features["count_24h"].tolist() == [*range(RING_SIZE), RING_SIZE, RING_SIZE, RING_SIZE]
    assert features["window_saturated"].tolist() == [0] * RING_SIZE + [1] * 3
    assert features["count_7d"].tolist() == list(range(RING_SIZE + 3))


def test_testing_makes_nothing_familiar():
    """A declined purchase and an account verification leave merchant, country and amounts as new as they were."""
    fields = {"merchant": 7, "country": 840, "mcc_group": 3, "amount": 100.0, "channel": "ecommerce"}
    features = named(
        [
            purchase(0, **fields | {"approved": False}),
            purchase(1, **fields | {"type": "account_verification"}),
            purchase(2, **fields),
            purchase(3, **fields),
        ]
    )
    assert features["merchant_new"].tolist() == [1, 1, 1, 0]
    assert features["country_new"].tolist() == [1, 1, 1, 0]
    assert features["small_24h"].tolist() == [0, 1, 2, 3]
    assert features["declines_24h"].tolist() == [0, 1, 1, 1]
    assert features["merchants_24h"].tolist() == features["new_merchants_24h"].tolist() == [0, 1, 1, 1]
    assert np.isnan(features["amount_to_mean"]).tolist() == [True, True, True, False]


def test_jump_between_countries():
    here = {"channel": "card_present", "country": 392}
    there = {"channel": "atm", "country": 840}
    features = named(
        [
            purchase(0, **here),
            purchase(HOUR, channel="ecommerce", country=840),
            purchase(6 * HOUR, **there),
            purchase(12 * HOUR + 1, **here),
            purchase(13 * HOUR, channel="card_present"),
        ]
    )
    np.testing.assert_array_equal(features["country_jump"], [0, 0, 1, 0, np.nan])


def test_digest_is_fnv_1a_over_the_served_words():
    features = features_of(random_events(3, 20))

    def fnv(row):
        digest = 0xCBF29CE484222325
        for word in row.astype("<f4").view("<u4").tolist():
            digest = ((digest ^ word) * 0x100000001B3) % 2**64
        return digest

    assert feature_digest(features).tolist() == [fnv(row) for row in features]
    changed = features.copy()
    changed[4, 2] = np.nextafter(changed[4, 0], np.float32(9))
    assert (feature_digest(changed) != feature_digest(features)).tolist() == [row == 4 for row in range(20)]
    features.flags.writeable = False
    assert feature_digest(features)[0] == fnv(features[0])


def test_recent_events_are_the_kept_ones_oldest_first():
    events = [
        purchase(minute, amount=1_000.0 + minute, merchant=3, mcc_group=9, country=392, channel="ecommerce")
        for minute in range(30)
    ]
    events.append(purchase(40, approved=False, amount=5.0))
    events.append({"number": 0, "card": 1, "type": "account_verification", "at": START + 50})
    states = CardStates()
    features_of(events, states)
    recent = recent_events(states.records[0])
    assert len(recent) == RING_SIZE
    assert [event["occurred_at"] - START for event in recent] == [*range(8, 30), 40, 50]
    assert recent[0] == {
        "occurred_at": START + 8,
        "amount_minor": 1_008,
        "mcc_group": "electronics",
        "country": "JP",
        "channel": "ecommerce",
        "approved": True,
    }
    assert recent[-2]["approved"] is False
    assert recent[-1] == {
        "occurred_at": START + 50,
        "amount_minor": None,
        "mcc_group": None,
        "country": None,
        "channel": None,
        "approved": None,
    }
    assert [event["occurred_at"] - START for event in recent_events(states.records[0], until_at=START + 9)] == [8, 9]
    json.dumps(recent)


def test_kernel_is_compiled_anew_when_any_of_its_sources_changes(tmp_path):
    """The compiler's cache looks at one file; ours must notice the others."""
    for package in (fraud, models):
        source = Path(package.__path__[0])
        for file in [*source.glob("*.py"), *source.glob("reference_data/*.csv")]:
            target = tmp_path / package.__name__ / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    program = (
        "import numpy as np; from fraud.transactions import Columns\n"
        "from models.features import as_columns, compute_features; from models.state import CardStates\n"
        "columns = Columns({'occurred_at': np.zeros(1, np.int64)}, 1)\n"
        "print(as_columns(compute_features(columns, CardStates(), home_country=1, timezone='UTC'))['hour_unusual'][0])"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def run():
        return subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert run() == "0.875"
    kernel = tmp_path / "models" / "feature_kernel.py"
    kernel.write_text(kernel.read_text().replace("row.hour_unusual = 1.0 -", "row.hour_unusual = 2.0 -"))
    assert run() == "1.875"


def test_names_and_digest_of_the_table():
    from models.feature_table import FEATURE_SCHEMA_DIGEST

    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert len(FEATURE_SCHEMA_DIGEST) == hashlib.sha256().digest_size * 2


@pytest.mark.parametrize("days_late", [29, 30, 31, 400])
def test_a_very_late_event_enters_only_a_day_that_is_still_kept(days_late):
    days = (500, 500 - days_late, 500)
    events = [purchase(day * DAY, amount=900.0 - number) for number, day in enumerate(days)]
    assert_same(events)
    assert named(events)["count_30d"].tolist() == [0, 0, 1 + (days_late < 30)]
