"""Cards that paid at a merchant in a window, from the archive, beside what a walk over the same rows finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_samples import TOPIC, make_columns, make_rows

from fraud.cards import merchant_keys
from fraud.compromise import CompromisedEntity, EntityRole
from fraud.errors import InvalidInputError, NotFoundError
from fraud.transactions import EVENT_TYPES, Columns
from streams.archive import ArchiveReader, ArchiveTable, ArchiveWriter
from streams.merchant_cards import cards_at_merchants

DAY = 86_400_000
START = 1_658_156_400_000  # 2022-07-19, midnight in Tokyo
END = START + 8 * DAY
HOUR = 3_600_000


def shop(merchant_id: str | None, acquirer_id: str | None = "A1") -> CompromisedEntity:
    return CompromisedEntity("Shop", EntityRole.MERCHANT, acquirer_id, merchant_id)


def columns_of(rng: np.random.Generator, n: int) -> Columns:
    """n transactions of all types around the window, at three merchants of two acquirers."""
    columns = make_columns(n, occurred_at=rng.integers(START - 3 * DAY, END + 3 * DAY, n), cards=200)
    merchants = np.array([f"M{number}" for number in rng.integers(0, 3, n).tolist()], object)
    acquirers = np.array([f"A{number}" for number in rng.integers(1, 3, n).tolist()], object)
    refs = columns["card_ref"].copy()
    refs[::17] = [f"x:C-{number % 9}" for number in range(len(refs[::17]))]
    found = {name: columns[name] for name in columns}
    found |= {
        "event_type": rng.integers(0, len(EVENT_TYPES), n).astype(np.int8),
        "acquirer_id": acquirers,
        "merchant_id": merchants,
        "merchant_key": merchant_keys(acquirers, merchants),
        "card_ref": refs,
        "pan_last4": np.array([f"{index % 10_000:04}" if index % 3 else None for index in range(n)], object),
    }
    return Columns(found, n)


def archive(tmp_path: Path, columns: Columns) -> ArchiveReader:
    table = ArchiveTable(tmp_path / "archive")
    writer = ArchiveWriter(table)
    writer.begin(TOPIC, 0, 0)
    writer.add(TOPIC, 0, make_rows(len(columns), columns=columns, logged_at=columns["occurred_at"]))
    writer.commit(TOPIC, 0, len(columns))
    return ArchiveReader(table)


@pytest.mark.parametrize(
    ("entities", "merchants"),
    [
        ([shop("M1")], {("A1", "M1")}),
        ([shop("M1", None)], {("A1", "M1"), ("A2", "M1")}),
        ([shop("M1", "A2"), shop("M2"), shop(None)], {("A2", "M1"), ("A1", "M2")}),
        ([shop("M9")], set()),
    ],
)
def test_every_card_that_was_seen_there_in_the_window_and_no_other(
    tmp_path: Path, entities: list[CompromisedEntity], merchants: set[tuple[str, str]]
) -> None:
    columns = columns_of(np.random.default_rng(5), 3_000)
    counted = {EVENT_TYPES.index(name) for name in ("authorization", "advice", "financial", "clearing")}
    counted.add(EVENT_TYPES.index("account_verification"))
    expected: dict[str, set[Any]] = {}
    transactions = 0
    for row in range(len(columns)):
        pair = (columns["acquirer_id"][row], columns["merchant_id"][row])
        if pair in merchants and START <= columns["occurred_at"][row] < END and columns["event_type"][row] in counted:
            expected.setdefault(columns["card_ref"][row], set()).add(columns["pan_last4"][row])
            transactions += 1
    found = cards_at_merchants(archive(tmp_path, columns), entities, START, END)
    assert [card for card, _ in found.cards] == sorted(expected)
    assert all(last4 in expected[card] for card, last4 in found.cards)
    assert found.transactions == transactions
    assert (found.days, found.days_held) == (9, 9)  # eight days in Tokyo touch nine days of UTC
    assert [row.line for row in found.rows()] == list(range(1, len(expected) + 1))
    assert found.lines == len(expected)


def test_what_the_archive_does_not_hold_is_told(tmp_path: Path) -> None:
    columns = make_columns(50, occurred_at=np.linspace(START, START + 2 * DAY - 1, 50).astype(np.int64))
    found = cards_at_merchants(archive(tmp_path, columns), [shop("M1")], START, END)
    assert found.cards
    assert (found.days, found.days_held) == (9, 3)


def test_the_same_cards_have_the_same_digest_and_others_another(tmp_path: Path) -> None:
    reader = archive(tmp_path, columns_of(np.random.default_rng(5), 500))
    first = cards_at_merchants(reader, [shop("M1")], START, END)
    assert cards_at_merchants(reader, [shop("M1")], START, END).digest == first.digest
    assert cards_at_merchants(reader, [shop("M1")], START, END - DAY).digest != first.digest
    assert cards_at_merchants(reader, [shop("M2")], START, END).digest != first.digest


def test_without_a_merchant_or_an_archive_there_is_nothing_to_look_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        cards_at_merchants(ArchiveReader(tmp_path / "archive"), [shop(None)], START, END)
    assert caught.value.field == "entities"
    with pytest.raises(NotFoundError):
        cards_at_merchants(ArchiveReader(tmp_path / "archive"), [shop("M1")], START, END)
