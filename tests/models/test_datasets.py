from __future__ import annotations

from datetime import date, datetime

import polars as pl

from fraud.cards import card_keys, merchant_keys
from models.datasets import read_handbook


def table(days):
    rows = [
        {
            "TRANSACTION_ID": number,
            "TX_DATETIME": datetime(2018, 4, day, 12, 0, second),  # noqa: DTZ001 - as published: without a zone
            "CUSTOMER_ID": 596 + number % 2,
            "TERMINAL_ID": 3156,
            "TX_AMOUNT": 57.16 + number,
            "TX_FRAUD": number % 2,
        }
        for number, (day, second) in enumerate(days)
    ]
    return pl.DataFrame(rows).cast({"TX_DATETIME": pl.Datetime("ms"), "CUSTOMER_ID": pl.Int32})


def test_read_handbook(tmp_path):
    table([(3, 0), (1, 30)]).write_parquet(tmp_path / "b.parquet")
    table([(1, 10), (2, 59), (9, 0)]).write_parquet(tmp_path / "a.parquet")
    columns, labels, known_at = read_handbook(tmp_path, date(2018, 4, 1), date(2018, 4, 3))

    assert columns["occurred_at"].tolist() == sorted(columns["occurred_at"].tolist())
    assert columns["event_id"].tolist() == ["hb-0", "hb-1", "hb-1", "hb-0"]
    assert labels.tolist() == [0, 1, 1, 0]
    assert (known_at - columns["occurred_at"] == 7 * 86_400_000).all()
    assert columns.row(0) == {
        "event_id": "hb-0",
        "event_type": "authorization",
        "occurred_at": 1_522_584_010_000,
        "card_ref": "x:handbook-596",
        "amount_minor": 5_716,
        "currency": "USD",
        "billing_amount_minor": 5_716,
        "billing_currency": "USD",
        "acquirer_id": "handbook",
        "merchant_id": "T3156",
        "approved": True,
    }
    assert columns["amount"].tolist() == [5_716.0, 5_816.0, 5_816.0, 5_716.0]
    assert (columns["card_key"] == card_keys(columns["card_ref"])).all()
    assert (columns["merchant_key"] == merchant_keys(columns["acquirer_id"], columns["merchant_id"])).all()
    assert (columns["channel"] == -1).all()
