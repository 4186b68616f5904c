"""Columns of transactions, and how one of them reads as plain data."""

from __future__ import annotations

import numpy as np

from fraud.codes import MISSING
from fraud.transactions import Columns, enum_code


def test_rows_are_what_row_gives_one_by_one() -> None:
    values = {
        "event_id": np.array(["a", "b", "c"], dtype=np.object_),
        "channel": np.array([enum_code("channel", "ecommerce"), MISSING, enum_code("channel", "atm")]),
        "network_score": np.array([np.nan, 0.5, 0.0]),
        "amount_minor": np.array([0, MISSING, 12]),
        "mcc": np.array([5411, MISSING, 1]),
        "merchant_country": np.array([392, MISSING, 840]),
        "billing_currency": np.array([392, MISSING, 840]),
        "approved": np.array([1, MISSING, 0]),
    }
    columns = Columns(values, 3)
    assert columns.rows([2, 0, 1]) == [columns.row(2), columns.row(0), columns.row(1)]
    assert columns.rows([]) == []
    assert columns.rows([1, 2]) == [
        {"event_id": "b", "network_score": 0.5},
        {
            "event_id": "c",
            "channel": "atm",
            "network_score": 0.0,
            "amount_minor": 12,
            "mcc": "0001",
            "merchant_country": "US",
            "billing_currency": "USD",
            "approved": False,
        },
    ]
    assert columns.row(0)["channel"] == "ecommerce"
