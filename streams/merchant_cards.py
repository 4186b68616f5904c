"""The cards that paid at the compromised merchants in the exposure window, from our own archive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import polars as pl

from fraud.alert_files import AlertRow
from fraud.cards import merchant_keys
from fraud.compromise import DAY_MS, CompromisedEntity
from fraud.errors import InvalidInputError
from streams.archive import ArchiveReader, card_ref_text, key_bits

# What a payment page or a terminal sees of a card: also what was declined there, and what was only checked.
_AT_THE_MERCHANT: Final = ("authorization", "advice", "financial", "clearing", "account_verification")
_DAYS_AROUND: Final = 1  # the archive's days are UTC, and clearing comes under its own day


@dataclass(frozen=True, slots=True)
class MerchantCards:
    """Cards that were seen at the merchants in the window, and how many of the window's days the archive holds.

    `days` are the UTC days that the window touches; `days_held` those of them with any transaction in the archive.
    """

    cards: tuple[tuple[str, str | None], ...]  # card reference, last four digits
    transactions: int
    days: int
    days_held: int
    digest: str

    @property
    def lines(self) -> int:
        """How many rows it gives."""
        return len(self.cards)

    def rows(self) -> Iterator[AlertRow]:
        """The cards as rows of an import, numbered from 1."""
        for line, (card_ref, last4) in enumerate(self.cards, start=1):
            yield AlertRow(line, None, card_ref, last4)


def cards_at_merchants(
    archive: ArchiveReader, entities: Sequence[CompromisedEntity], window_start_at: int, window_end_at: int
) -> MerchantCards:
    """Every card that was used, or tried, at these merchants from `window_start_at` to before `window_end_at`.

    Times are epoch milliseconds. `InvalidInputError` when no entity has a merchant id; `NotFoundError` when there is
    no archive yet.
    """
    merchants = sorted({(item.acquirer_id, item.merchant_id) for item in entities if item.merchant_id}, key=str)
    if not merchants:
        message = "the compromise event names no merchant with a merchant_id: nothing to look for"
        raise InvalidInputError(message, field="entities")
    first = date(1970, 1, 1) + timedelta(days=window_start_at // DAY_MS)
    last = date(1970, 1, 1) + timedelta(days=(window_end_at - 1) // DAY_MS)
    around = timedelta(days=_DAYS_AROUND)
    rows = archive.scan(first - around, last + around).filter(
        pl.col("occurred_at").is_between(window_start_at, window_end_at, closed="left")
    )
    held = rows.select(pl.col("occurred_at") // DAY_MS).unique().collect().height
    # An acquirer that the event does not name may be any: then the merchant's id alone decides.
    exact = [pair for pair in merchants if pair[0]]
    acquirers = np.array([pair[0] for pair in exact], dtype=np.object_)
    ids = np.array([pair[1] for pair in exact], dtype=np.object_)
    keys = pl.Series(key_bits(merchant_keys(acquirers, ids)) if exact else np.zeros(0, np.int64), dtype=pl.Int64)
    anywhere = pl.Series([merchant for acquirer, merchant in merchants if not acquirer], dtype=pl.String)
    found = (
        rows.filter(
            pl.col("merchant_key").is_in(keys.implode()) | pl.col("merchant_id").is_in(anywhere.implode()),
            pl.col("event_type").is_in(_AT_THE_MERCHANT),
        )
        .group_by(card_ref_text().alias("card"))
        .agg(pl.len().alias("transactions"), pl.col("pan_last4").drop_nulls().first())
        .sort("card")
        .collect()
    )
    cards = tuple((card, last4) for card, _, last4 in found.iter_rows())
    content = f"{merchants}|{window_start_at}|{window_end_at}|" + "|".join(card for card, _ in cards)
    return MerchantCards(
        cards=cards,
        transactions=int(found["transactions"].sum()),
        days=(last - first).days + 1,
        days_held=held,
        digest=hashlib.sha256(content.encode()).hexdigest(),
    )
