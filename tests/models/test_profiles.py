"""Lines of reissues, and whose profile a transaction belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.cards import card_keys
from fraud.errors import InvalidInputError
from fraud.transactions import Columns
from models.profiles import Lineage, profile_keys, with_profiles


def keys(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint64)


def lineage(*pairs: tuple[int, int]) -> Lineage:
    old, new = zip(*pairs, strict=True)
    return Lineage.from_pairs(keys(*old), keys(*new), np.arange(len(pairs), dtype=np.int64))


@given(st.permutations([(1, 2), (2, 3), (3, 4), (10, 11), (11, 12), (20, 21)]))
def test_every_card_of_a_line_has_its_first_card_in_whatever_order_the_pairs_come(pairs: list[tuple[int, int]]) -> None:
    roots = lineage(*pairs).roots(keys(1, 2, 3, 4, 10, 11, 12, 20, 21, 99))
    assert roots.tolist() == [1, 1, 1, 1, 10, 10, 10, 20, 20, 99]


def test_a_long_line_is_followed_without_recursion() -> None:
    made = lineage(*((number, number + 1) for number in range(1, 5_000)))
    assert made.roots(keys(5_000, 2_500, 1)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("pairs", [[(1, 2), (2, 1)], [(1, 3), (2, 3)], [(5, 1), (1, 2), (2, 3), (3, 1)]])
def test_rings_and_mergers_are_refused(pairs: list[tuple[int, int]]) -> None:
    with pytest.raises(InvalidInputError):
        lineage(*pairs)


def test_a_later_table_of_reissues_goes_on_where_an_earlier_one_ended(tmp_path: Path) -> None:
    first = lineage((1, 2), (7, 8))
    both = first.joined(lineage((2, 3), (7, 8)))
    assert both.roots(keys(2, 3, 8)).tolist() == [1, 1, 7]
    both.save(tmp_path / "lineage.npz")
    again = Lineage.load(tmp_path / "lineage.npz")
    assert again.roots(keys(2, 3, 8)).tolist() == [1, 1, 7]
    assert again.hashes.tolist() == both.hashes.tolist()
    assert len(Lineage.load(tmp_path / "none.npz")) == 0
    assert Lineage().joined(first).roots(keys(2)).tolist() == [1]


def test_by_account_the_card_stands_in_where_there_is_no_account() -> None:
    refs = np.array(["x:a", "x:b", "x:c"], object)
    columns = Columns(
        {"card_ref": refs, "card_key": card_keys(refs), "account_ref": np.array(["k", "k", None], object)}, 3
    )
    by_account = profile_keys(columns, "account")
    assert by_account[0] == by_account[1] != columns["card_key"][0]
    assert by_account[2] == columns["card_key"][2]
    assert profile_keys(columns).tolist() == columns["card_key"].tolist()
    replaced = with_profiles(columns, "account")
    assert replaced["card_key"].tolist() == by_account.tolist()
    assert replaced["card_ref"] is columns["card_ref"]
    assert with_profiles(columns) is columns
