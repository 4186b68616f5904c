"""Drawn events as the contract's columns: what the wire would carry, and no column that the wire would not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud.cards import card_keys, merchant_keys
from fraud.codes import MISSING, country_numbers, currency_numbers, mcc_group
from fraud.transactions import FIELD_BY_NAME, Column, Columns, enum_code
from streams.simulator.acceptance import local_amounts
from streams.simulator.catalogue import CATEGORIES, COUNTRIES
from streams.simulator.events import APPROVED, AUTHORIZATION, DECISIONS, Events, Mask
from streams.simulator.merchants import Merchants
from streams.simulator.portfolio import WALLETS, Portfolio
from streams.simulator.recurring import CLEARING, PROVISION, REFUND, REVERSAL

# One acquirer leaves out what it may leave out, as some do.
TERSE_ACQUIRER = "490107"
_LEFT_OUT = ("three_ds", "eci", "liability_shift", "cvv2_result", "expiry_result", "authorization_kind")

# Electronic commerce indicators of (authenticated, attempted, neither), by network.
_ECI = {"mastercard": (2, 1, 0), "visa": (5, 6, 7), "jcb": (5, 6, 7)}
_NETWORK_OF_FIRST_DIGIT = {"3": "jcb", "4": "visa", "5": "mastercard"}


def to_columns(events: Events, portfolio: Portfolio, merchants: Merchants, prefix: str) -> Columns:
    """The events in their order; ids are `prefix` and the row number, so they say nothing about the event."""
    n = len(events)
    card, merchant = events["card"], events["merchant"]
    event_ids = np.array([f"{prefix}{row:09d}" for row in range(n)], dtype=np.object_)
    columns: dict[str, Column] = {
        "event_id": event_ids,
        "event_type": events["event_type"],
        "occurred_at": events["at"],
        "original_event_id": _or_none(event_ids, events["original"]),
        "transaction_type": events["transaction_type"],
        "authorization_kind": _where(events["event_type"] == AUTHORIZATION, _initial()),
        "pos_entry_mode": events["entry_mode"],
        "channel": events["channel"],
        "cvv2_result": events["cvv2"],
        "expiry_result": events["expiry"],
        "initiator": events["initiator"],
        "stored_credential": events["stored"],
        "clamped": np.zeros(n, dtype=np.bool_),
    }
    columns |= _card_columns(events, portfolio)
    columns |= _merchant_columns(merchant, merchants)
    columns |= _amount_columns(events, merchants)
    columns |= _three_ds_columns(events["three_ds"], _network(portfolio))
    columns |= _decision_columns(events)
    columns["card_key"] = card_keys(portfolio.card_ref)[card]
    terse = columns["acquirer_id"] == TERSE_ACQUIRER
    for name in _LEFT_OUT:
        columns[name] = np.where(terse, MISSING, columns[name])
    return Columns(columns, n)


def _initial() -> int:
    return enum_code("authorization_kind", "initial")


def _network(portfolio: Portfolio) -> str:
    return _NETWORK_OF_FIRST_DIGIT.get(portfolio.bin_prefix[0], "visa")


def _where(mask: Mask, code: int) -> Column:
    return np.where(mask, code, MISSING)


def _or_none(texts: NDArray[Any], rows: Column) -> Column:
    """`texts[rows]`, and None where a row is `MISSING`."""
    chosen: Column = np.append(texts, [None])[rows]
    return chosen


def _card_columns(events: Events, portfolio: Portfolio) -> dict[str, Column]:
    card = events["card"]
    token = np.where(events["token"], card, MISSING)
    tokens = np.array([f"tok-{account[1:]}" for account in portfolio.account_ref], dtype=np.object_)
    wallets = np.array(WALLETS, dtype=np.object_)[portfolio.wallet]
    provisioned = np.append(portfolio.token_at, MISSING)[token]
    return {
        "card_ref": portfolio.card_ref[card],
        "account_ref": portfolio.account_ref[card],
        "issuer_card_id": portfolio.issuer_card_id[card],
        "bin": np.full(len(card), portfolio.bin_prefix, dtype=np.object_),
        "pan_last4": portfolio.pan_last4[card],
        "network": np.full(len(card), _network(portfolio), dtype=np.object_),
        "token_ref": _or_none(tokens, token),
        "token_requestor": _or_none(wallets, token),
        "token_provisioned_at": provisioned,
        "provisioning_path": _or_none(
            np.array(["app"], dtype=np.object_), np.where(events["event_type"] == PROVISION, 0, MISSING)
        ),
    }


def _merchant_columns(merchant: Column, merchants: Merchants) -> dict[str, Column]:
    mccs = np.array([category.mcc for category in CATEGORIES])[merchants.category]
    groups = np.array([mcc_group(category.mcc) for category in CATEGORIES])[merchants.category]
    countries = np.array([country_numbers()[code] for code, *_ in COUNTRIES])[merchants.country]
    keys = merchant_keys(merchants.acquirer_id, merchants.merchant_id)
    return {
        "acquirer_id": _or_none(merchants.acquirer_id, merchant),
        "merchant_id": _or_none(merchants.merchant_id, merchant),
        "terminal_id": _or_none(merchants.terminal_id, merchant),
        "merchant_name": _or_none(merchants.name, merchant),
        "mcc": np.append(mccs, MISSING)[merchant],
        "mcc_group": np.append(groups, MISSING)[merchant],
        "merchant_country": np.append(countries, MISSING)[merchant],
        "merchant_key": np.append(keys, np.uint64(0))[merchant],
    }


def _amount_columns(events: Events, merchants: Merchants) -> dict[str, Column]:
    """Amounts in the merchant's currency and, as billed, in yen; a token provision has none."""
    country = np.append(merchants.country, 0)[events["merchant"]]
    known = events["yen"] != MISSING
    currencies = np.array([currency_numbers()[code] for _, code, *_ in COUNTRIES])
    return {
        "amount_minor": np.where(known, local_amounts(events["yen"], country), MISSING),
        "currency": np.where(known, currencies[country], MISSING),
        "billing_amount_minor": events["yen"],
        "billing_currency": _where(known, currency_numbers()["JPY"]),
        "amount": np.where(known, events["yen"].astype(np.float64), np.nan),
    }


def _three_ds_columns(three_ds: Column, network: str) -> dict[str, Column]:
    authenticated, attempted, neither = _ECI[network]
    eci_of = {"frictionless": authenticated, "challenge_passed": authenticated, "attempted": attempted}
    results = FIELD_BY_NAME["three_ds"].values
    eci = np.array([*(eci_of.get(result, neither) for result in results), MISSING])
    shifted = np.array([*(result in eci_of for result in results), MISSING])
    return {"three_ds": three_ds, "eci": eci[three_ds], "liability_shift": shifted[three_ds]}


def _decision_columns(events: Events) -> dict[str, Column]:
    """What the issuer answered; a clearing and a correction were not asked about."""
    asked = ~np.isin(events["event_type"], (CLEARING, REVERSAL, REFUND))
    codes = np.array([code for code, _ in DECISIONS], dtype=np.object_)
    reasons = np.array([reason for _, reason in DECISIONS], dtype=np.object_)
    decision = events["decision"]
    return {
        "approved": (decision == APPROVED).astype(np.int8),
        "response_code": _or_none(codes, np.where(asked, decision, MISSING)),
        "decline_reason": reasons[decision],
        "decision_by": _where(asked, enum_code("decision_by", "issuer")),
    }
