"""Columns that are worked out from the contract's fields: times in range, amounts at home, keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from fraud.cards import merchant_keys
from fraud.codes import MISSING, currency_numbers, mcc_group
from fraud.errors import ConfigurationError
from fraud.transactions import Column, Columns

# Group of every merchant category code; the extra last item answers the index -1, which is `MISSING`.
_MCC_GROUPS: Final = np.array([*(mcc_group(code) for code in range(10_000)), MISSING], dtype=np.int8)


class Derivation:
    """Completes the columns of a batch; the arguments are the decoder's own.

    Raises:
        ConfigurationError: the currency is unknown.

    """

    def __init__(self, portfolio_currency: str, max_future_ms: int, max_past_ms: int | None) -> None:
        if portfolio_currency not in currency_numbers():
            message = "portfolio.currency is not a code of ISO 4217"
            raise ConfigurationError(message)
        self._currency = currency_numbers()[portfolio_currency]
        self._max_future_ms = max_future_ms
        self._max_past_ms = max_past_ms

    def complete(self, columns: Mapping[str, Column], logged_at: Column, now_ms: int) -> Columns:
        """All columns of n rows.

        Args:
            columns: those that the records have, (n,) each, `card_key` among them.
            logged_at: (n,) timestamps of the records; `now_ms` stands in where one is negative.
            now_ms: epoch milliseconds UTC.

        """
        # Fields that no row has are filled in here, so that what is derived below finds every column.
        filled = Columns(columns, len(logged_at))
        occurred_at, clamped = self._clamped(filled["occurred_at"], np.where(logged_at >= 0, logged_at, now_ms))
        derived = {
            "occurred_at": occurred_at,
            "clamped": clamped,
            "merchant_key": merchant_keys(filled["acquirer_id"], filled["merchant_id"]),
            "amount": self._amounts(filled),
            "mcc_group": _MCC_GROUPS[filled["mcc"]],
        }
        return Columns({name: filled[name] for name in filled} | derived, len(filled))

    def _clamped(self, occurred_at: Column, logged_at: Column) -> tuple[Column, Column]:
        """(n,) event times inside the accepted range, and which of them were not."""
        too_late = occurred_at > logged_at + self._max_future_ms
        clamped = np.where(too_late, logged_at, occurred_at)
        if self._max_past_ms is None:
            return clamped, too_late
        earliest = logged_at - self._max_past_ms
        return np.maximum(clamped, earliest), too_late | (occurred_at < earliest)

    def _amounts(self, columns: Columns) -> Column:
        """(n,) amounts in minor units of the portfolio's currency; NaN where they are not known in it."""
        billed_at_home = columns["billing_currency"] == self._currency
        spent_at_home = (columns["currency"] == self._currency) & (
            billed_at_home | (columns["billing_currency"] == MISSING)
        )
        billed, spent = columns["billing_amount_minor"], columns["amount_minor"]
        return np.select(
            [billed_at_home & (billed != MISSING), spent_at_home & (spent != MISSING)],
            [billed.astype(np.float64), spent.astype(np.float64)],
            default=math.nan,
        )
