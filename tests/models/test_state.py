from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_samples import HOME, as_transactions, random_events

from models.card_state import CARD_STATE
from models.features import compute_features
from models.key_index import KeyIndex
from models.state import CardStates, StateFileError
from models.state_file import packed, unpacked

TOKYO = {"home_country": HOME, "timezone": "Asia/Tokyo"}


def keys(*values):
    return np.array(values, dtype=np.uint64)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1))), max_size=5))
def test_index_gives_slots_in_order_of_first_sight(batches):
    index, known = KeyIndex(), {}
    for batch in batches:
        slots = index.slots(keys(*batch), create=True)
        for key in batch:
            known.setdefault(key, len(known))
        assert slots.tolist() == [known[key] for key in batch]
        absent = index.slots(keys(2**64 - 3), create=False)[0]
        assert absent == known.get(2**64 - 3, -1)
    assert len(index) == len(known)
    assert index.keys().tolist() == list(known)


def test_index_through_many_growths_and_clustered_keys():
    random = np.random.default_rng(0)
    many = np.concatenate([random.integers(0, 2**64, 40_000, dtype=np.uint64), np.arange(20_000, dtype=np.uint64)])
    many = np.unique(many)
    random.shuffle(many)
    index = KeyIndex()
    assert index.slots(many, create=True).tolist() == list(range(many.size))
    assert index.slots(many[::-1], create=False).tolist() == list(range(many.size))[::-1]
    assert (index.keys() == many).all()


def test_record_size_and_layout():
    assert CARD_STATE.itemsize <= 1_536
    assert CARD_STATE.names[0] == "version"
    for name in CARD_STATE.names:
        field, offset = CARD_STATE.fields[name][:2]
        assert offset % field.base.itemsize == 0, name
        assert field.base.byteorder in "|=<"


def test_growth_keeps_slots_and_content():
    states = CardStates()
    first = states.slots(keys(0, 7))
    states.records["history_count"][first] = (11, 12)
    states.slots(np.arange(100, 5_000, dtype=np.uint64))
    again = states.slots(keys(0, 7), create=False)
    assert again.tolist() == first.tolist()
    assert states.records["history_count"][again].tolist() == [11, 12]
    assert (states.records["version"] == 1).all()
    assert len(states) == len(states.records) == 4_902
    assert states.slots(keys(99_999), create=False).tolist() == [-1]


def filled():
    states = CardStates()
    compute_features(as_transactions(random_events(2, 400, cards=40)), states, **TOKYO)
    return states


def assert_equal(left, right):
    assert left.keys.tolist() == right.keys.tolist()
    assert left.records.tobytes() == right.records.tobytes()


def test_copy_is_independent():
    states = filled()
    copy = states.copy()
    assert_equal(states, copy)
    copy.records["history_count"] = 0
    assert states.records["history_count"].sum() > 0


def test_select_keeps_the_wanted_cards():
    states = filled()
    odd = states.select(lambda card_keys: card_keys % np.uint64(2) == 1)
    assert sorted(odd.keys.tolist()) == [key for key in range(40) if key % 2]
    for key in odd.keys:
        one = keys(key)
        assert odd.records[odd.slots(one)[0]].tobytes() == states.records[states.slots(one)[0]].tobytes()


def test_save_and_load_continue_bit_for_bit(tmp_path):
    states, more = filled(), as_transactions(random_events(3, 200, cards=60))
    states.save(tmp_path / "deep" / "state.cards")
    loaded = CardStates.load(tmp_path / "deep" / "state.cards")
    assert_equal(states, loaded)
    assert compute_features(more, states, **TOKYO).tobytes() == compute_features(more, loaded, **TOKYO).tobytes()
    assert_equal(states, loaded)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["state.cards"]


def test_empty_states_can_be_saved(tmp_path):
    CardStates().save(tmp_path / "state.cards")
    assert len(CardStates.load(tmp_path / "state.cards")) == 0


def changed_byte(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [300, 5_000, -40, -1], ids=["a key", "a record", "the last record", "the digest"])
def test_a_changed_byte_is_noticed(tmp_path, at):
    path = tmp_path / "state.cards"
    filled().save(path)
    changed_byte(path, at)
    with pytest.raises(StateFileError, match="SHA-256"):
        CardStates.load(path)


def test_another_layout_is_refused(tmp_path):
    path = tmp_path / "state.cards"
    filled().save(path)
    content = path.read_bytes()
    header = json.loads(content[:256]) | {"state_schema": "0" * 64}
    path.write_bytes(json.dumps(header).encode().ljust(256) + content[256:])
    with pytest.raises(StateFileError, match="another layout"):
        CardStates.load(path)


@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "empty", "another file", "huge", "negative"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "state.cards"
    filled().save(path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage in ("huge", "negative"):
        header = json.loads(content[:256]) | {"cards": 1 << 50 if damage == "huge" else -1}
        path.write_bytes(json.dumps(header).encode().ljust(256) + content[256:])
    else:
        new = {"truncated": content[:-200], "longer": content + b"x", "empty": b"", "another file": b"\x93NUMPY" * 99}
        path.write_bytes(new[damage])
    with pytest.raises(StateFileError, match=r"state\.cards"):
        CardStates.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state.cards"
    filled().save(path)
    before = path.read_bytes()

    def full_disk(keys, records):
        yield b"half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.state.packed", full_disk)
    with pytest.raises(OSError, match="space"):
        CardStates().save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.cards"]


@pytest.mark.parametrize("size", [1, 255, 100_000])
def test_a_file_is_read_however_it_is_cut(size):
    states = filled()
    content = b"".join(packed(states.keys, states.records))
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    keys_read, records, digest = unpacked(iter(pieces), "state")
    assert keys_read.tolist() == states.keys.tolist()
    assert records.tobytes() == states.records.tobytes()
    assert digest == hashlib.sha256(content).hexdigest()


def test_changed_records_alone_bring_an_older_copy_up_to_date():
    states = filled()
    states.take_changed()
    older = states.copy()
    compute_features(as_transactions(random_events(4, 30, cards=60)), states, **TOKYO)
    changed, records = states.take_changed()
    assert 0 < len(changed) <= 30
    assert states.changed == 0
    assert older.keys.tolist() != states.keys.tolist()
    older.put(changed, records)
    assert_equal(states, older)
    assert older.changed == 0
