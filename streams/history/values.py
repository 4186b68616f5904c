"""Source text to the contract's JSON values, a column at a time. What cannot be read becomes null, never an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from fraud.cards import CardTokenizer
from fraud.codes import currency_exponents, currency_numbers
from fraud.errors import InvalidInputError
from fraud.transactions import FIELD_BY_NAME, Kind
from streams.history.mapping import EPOCHS, ISO, FieldMapping

_CURRENCY_OF: Final = {
    "amount_minor": "currency",
    "billing_amount_minor": "billing_currency",
    "open_to_buy_minor": "billing_currency",
}
_DECIMAL: Final = r"^([+-]?)([0-9]{0,15})(?:[.]([0-9]*))?$"
_INTEGER: Final = r"^[+-]?[0-9]{1,18}$"
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}
NO_CARD_NUMBER: Final = "no card number"  # has the form of no reference, so the decoder refuses the row

Digest = Callable[[bytes], str]


class Values:
    """Turns batches of source text into the contract's values.

    Args:
        fields: the mapping of each field.
        tokenizer: makes references of card numbers; needed where the mapping has a card number.
        digest: a keyed digest in hexadecimal, for event ids that are digests.

    """

    def __init__(self, fields: Mapping[str, FieldMapping], tokenizer: CardTokenizer | None, digest: Digest) -> None:
        if tokenizer is None and any(item.card_number for item in fields.values()):
            message = "needs the keys of the card references: set cards.keys and cards.active_key"
            raise InvalidInputError(message, field="fields.card_ref.card_number")
        self._fields = fields
        self._tokenizer = tokenizer
        self._digest = digest
        for name, currency in _CURRENCY_OF.items():
            if name in fields and fields[name].decimal and currency not in fields:
                message = f"an amount with decimals needs {currency}: it says how many there are"
                raise InvalidInputError(message, field=f"fields.{name}.decimal")

    def convert(self, source: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """The (n rows) mapped fields as JSON values, and by field how many values were there but could not be read."""
        texts = {name: self._text(item, source) for name, item in self._fields.items() if item.columns}
        columns: dict[str, pl.Series] = {}
        unusable: dict[str, int] = {}
        # Currencies first: amounts look there for their decimals.
        for name, item in sorted(
            self._fields.items(), key=lambda pair: FIELD_BY_NAME[pair[0]].kind is not Kind.CURRENCY
        ):
            if item.constant is not None:
                columns[name] = pl.Series(name, [item.constant]).new_from_index(0, len(source))
                continue
            text = texts[name]
            found = self._read(item, text, columns)
            lost = int((text.is_not_null() & found.is_null()).sum())
            if lost:
                unusable[name] = lost
            columns[name] = found if item.default is None else found.fill_null(item.default)
        return pl.DataFrame([columns[name].alias(name) for name in self._fields]), unusable

    def _text(self, item: FieldMapping, source: pl.DataFrame) -> pl.Series:
        if item.digest_of:
            joined = source.select(pl.struct(item.columns).alias("all"))["all"].to_list()
            # Lengths before the parts, so that no two rows of different values have one text.
            return pl.Series([self._digest(_framed(row.values())) for row in joined], dtype=pl.String)
        parts = [source[name].str.strip_chars() if item.trim else source[name] for name in item.columns]
        parts = [part.set(part == "", None) for part in parts]
        if len(parts) == 1:
            return parts[0]
        return pl.DataFrame([part.alias(str(n)) for n, part in enumerate(parts)]).select(
            pl.concat_str(pl.all(), separator=" ").alias("text")
        )["text"]

    def _read(self, item: FieldMapping, text: pl.Series, columns: Mapping[str, pl.Series]) -> pl.Series:
        if item.card_number:
            return self._references(text)
        if item.values is not None:
            dtype: Any = pl.Boolean if FIELD_BY_NAME[item.name].kind is Kind.BOOLEAN else pl.String
            return text.replace_strict(list(item.values), list(item.values.values()), default=None, return_dtype=dtype)
        if item.pad:
            text = text.str.zfill(item.pad)
        return _BY_KIND[FIELD_BY_NAME[item.name].kind](item, text, columns)

    def _references(self, text: pl.Series) -> pl.Series:
        """References of card numbers, each number worked out once a batch. The numbers go no further than this."""
        unique = text.drop_nulls().unique().to_list()
        known = {number: self._reference(number) for number in unique}
        return pl.Series([known.get(number) for number in text.to_list()], dtype=pl.String)

    def _reference(self, number: str) -> str:
        assert self._tokenizer is not None  # noqa: S101 - seen to in the constructor
        try:
            return self._tokenizer.reference(number)
        except InvalidInputError:
            return NO_CARD_NUMBER


def _framed(parts: Sequence[str | None] | Any) -> bytes:
    texts = [b"" if part is None else part.encode() for part in parts]
    return b"".join(b"%d:%s" % (len(text), text) for text in texts)


def _plain(item: FieldMapping, text: pl.Series, _: Mapping[str, pl.Series]) -> pl.Series:
    return text if not item.prefix else (item.prefix + text)


def _time(item: FieldMapping, text: pl.Series, _: Mapping[str, pl.Series]) -> pl.Series:
    style = item.format or ISO
    if style in EPOCHS:
        number = _whole(text)
        return number * 1_000 if style == "epoch_s" else number
    if style == ISO:
        zone = ZoneInfo(item.zone) if item.zone else UTC
        return pl.Series([_iso(value, zone) for value in text.to_list()], dtype=pl.Int64)
    times = text.str.to_datetime(style, strict=False, time_unit="ms")
    if "%z" not in style:
        # An hour that comes twice in autumn is taken as the first; one that spring leaves out is no time.
        times = times.dt.replace_time_zone(item.zone, ambiguous="earliest", non_existent="null")
    return times.dt.epoch("ms")


def _iso(value: str | None, zone: Any) -> int | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    found = found if found.tzinfo is not None else found.replace(tzinfo=zone)
    whole = found.astimezone(UTC).replace(microsecond=0)
    return int(whole.timestamp()) * 1_000 + found.microsecond // 1_000


def _amount(item: FieldMapping, text: pl.Series, columns: Mapping[str, pl.Series]) -> pl.Series:
    if not item.decimal:
        number = _whole(text)
        return number.abs() if item.absolute else number
    exponents = columns[_CURRENCY_OF[item.name]].replace_strict(_exponents(), default=None, return_dtype=pl.Int64)
    parts = pl.DataFrame({"text": text, "exponent": exponents}).select(
        sign=pl.col("text").str.extract(_DECIMAL, 1),
        whole=pl.col("text").str.extract(_DECIMAL, 2),
        part=pl.col("text").str.extract(_DECIMAL, 3).fill_null("").str.strip_chars_end("0"),
        exponent=pl.col("exponent"),
    )
    fits = (pl.col("part").str.len_chars() <= pl.col("exponent")) & (pl.col("whole") + pl.col("part") != "")
    digits = pl.col("whole") + pl.col("part").str.pad_end(pl.col("exponent"), "0")
    minor = pl.when(fits).then(digits).str.to_integer(dtype=pl.Int64, strict=False)
    # A zero before the point may be left out, and zero may have been cut away altogether.
    minor = pl.when(fits & (digits == "")).then(0).otherwise(minor)
    sign = pl.when((pl.col("sign") == "-") & (not item.absolute)).then(-1).otherwise(1)
    return parts.select((minor * sign).alias("amount"))["amount"]


@cache
def _exponents() -> dict[str, int]:
    by_number = {currency_numbers()[code]: exponent for code, exponent in currency_exponents().items()}
    return {spelling: by_number[number] for spelling, number in currency_numbers().items()}


def _integer(item: FieldMapping, text: pl.Series, columns: Mapping[str, pl.Series]) -> pl.Series:
    return _amount(item, text, columns) if item.name in _CURRENCY_OF else _whole(text)


def _whole(text: pl.Series) -> pl.Series:
    numbers = text.set(~text.str.contains(_INTEGER), None)
    return numbers.cast(pl.Int64, strict=False)


def _boolean(_: FieldMapping, text: pl.Series, __: Mapping[str, pl.Series]) -> pl.Series:
    return text.str.to_lowercase().replace_strict(
        list(_BOOLEANS), list(_BOOLEANS.values()), default=None, return_dtype=pl.Boolean
    )


def _code(_: FieldMapping, text: pl.Series, __: Mapping[str, pl.Series]) -> pl.Series:
    """Countries and currencies: capitals, and three digits."""
    upper = text.str.to_uppercase()
    return upper.zip_with(~upper.str.contains("^[0-9]{1,2}$"), upper.str.zfill(3))


def _number(_: FieldMapping, text: pl.Series, __: Mapping[str, pl.Series]) -> pl.Series:
    found = text.cast(pl.Float64, strict=False)
    return found.set(~found.is_finite(), None)


_BY_KIND: Final[Mapping[Kind, Callable[[FieldMapping, pl.Series, Mapping[str, pl.Series]], pl.Series]]] = {
    Kind.IDENTIFIER: _plain,
    Kind.TEXT: _plain,
    Kind.ENUM: _plain,
    Kind.DIGITS: _plain,
    Kind.TIMESTAMP: _time,
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.COUNTRY: _code,
    Kind.CURRENCY: _code,
    Kind.NUMBER: _number,
}
