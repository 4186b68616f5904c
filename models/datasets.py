"""Public transaction data in the product's own columns, for measuring models."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from fraud.cards import card_keys, merchant_keys
from fraud.codes import currency_numbers
from fraud.transactions import Columns, enum_code
from models.sample import Labels, Times

# The handbook's own protocol: labels of a day are known a week later.
HANDBOOK_LABEL_DELAY: Final = timedelta(days=7)

_ACQUIRER: Final = "handbook"


def read_handbook(data_dir: Path, from_date: date, to_date: date) -> tuple[Columns, Labels, Times]:
    """Simulated transactions published with *Reproducible Machine Learning for Credit Card Fraud Detection*.

    That is a handbook by Le Borgne, Siblini, Lebichot and Bontempi (2022). A customer becomes a card, a
    terminal a merchant, an amount US dollars in cents; each is an approved authorization. Times are taken as UTC.
    Channel, MCC and country do not exist there and stay missing.

    Args:
        data_dir: folder with the published table as `*.parquet`, columns named as published.
        from_date: first day, included.
        to_date: last day, included.

    Returns:
        The transactions in the order of time, (n,) labels 0 or 1, and (n,) when each label became known: a week after
        the transaction.
    """
    table = (
        pl.scan_parquet(data_dir / "*.parquet")
        .filter(pl.col("TX_DATETIME").dt.date().is_between(from_date, to_date))
        .sort("TX_DATETIME", "TRANSACTION_ID")
        .select(
            event_id=pl.format("hb-{}", "TRANSACTION_ID"),
            occurred_at=pl.col("TX_DATETIME").dt.epoch("ms"),
            card_ref=pl.format("x:handbook-{}", "CUSTOMER_ID"),
            merchant_id=pl.format("T{}", "TERMINAL_ID"),
            amount_minor=(pl.col("TX_AMOUNT") * 100).round().cast(pl.Int64),
            label=pl.col("TX_FRAUD").cast(pl.Int8),
        )
        .collect()
    )
    n = len(table)
    given = {name: table[name].to_numpy() for name in table.columns if name != "label"}
    acquirer_id = np.full(n, _ACQUIRER, np.object_)
    usd = np.full(n, currency_numbers()["USD"], np.int16)
    columns = Columns(
        given
        | {
            "event_type": np.full(n, enum_code("event_type", "authorization"), np.int8),
            "currency": usd,
            "billing_amount_minor": given["amount_minor"],
            "billing_currency": usd,
            "acquirer_id": acquirer_id,
            "approved": np.ones(n, np.int8),
            "card_key": card_keys(given["card_ref"]),
            "merchant_key": merchant_keys(acquirer_id, given["merchant_id"]),
            "amount": given["amount_minor"].astype(np.float64),
        },
        n,
    )
    delay_ms = int(HANDBOOK_LABEL_DELAY.total_seconds() * 1000)
    return columns, table["label"].to_numpy(), columns["occurred_at"] + delay_ms
