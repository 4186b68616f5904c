"""The compiled reader and the reference decoder accept the same language: for any input all of the output is equal."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraud.cards import CardTokenizer, luhn_valid
from fraud.codes import country_numbers, currency_numbers
from fraud.pan_guard import PanGuard
from fraud.transactions import FIELD_BY_NAME, FIELDS, Column, Field, Kind
from streams.simulator.parameters import SimulationParameters
from streams.simulator.simulation import simulate
from streams.wire import DecodedBatch, Decoder, RawRecord, encode, keys
from streams.wire_derived import Derivation
from streams.wire_reference import ReferenceDecoder
from streams.wire_rows import read_ordinary
from streams.wire_tables import contract_tables

NOW = 1_658_880_000_000
DAY = 86_400_000
MAX_BYTES = 3_000
DIGEST_KEY = b"k" * 16
HASH = "v1:" + "ab" * 32
CARDS = (HASH, "v1234:" + "0123456789abcdef" * 4, "x:card-17", "x:!~" + "z" * 76)
ACCOUNT = "account-1"


def with_check_digit(body: str) -> str:
    return next(body + digit for digit in "0123456789" if luhn_valid(body + digit))


OURS = with_check_digit("411111000012345")
OTHERS = with_check_digit("555555000012345")
TWELVE = with_check_digit("90005012345")
NINETEEN = with_check_digit("411111000012345678")
GUARDS = (PanGuard(["411111"], [16]), PanGuard(["411111", "9"], [12, 14, 19]))


def assert_same(fast: Column, slow: Column, name: str) -> None:
    assert fast.dtype == slow.dtype, name
    if slow.dtype == np.object_:
        assert fast.tolist() == slow.tolist(), name
        assert set(map(type, fast.tolist())) <= {str, type(None)}, name
    else:
        assert fast.tobytes() == slow.tobytes(), name  # so that NaN equals itself


class Pair:
    """The decoder and its reference under the same settings."""

    def __init__(self, guard: PanGuard, max_past_ms: int | None = None) -> None:
        self.fast = Decoder(guard, DIGEST_KEY, MAX_BYTES, "JPY", DAY, max_past_ms)
        self.slow = ReferenceDecoder(guard, DIGEST_KEY, MAX_BYTES, Derivation("JPY", DAY, max_past_ms))

    def decode(self, records: list[RawRecord]) -> DecodedBatch:
        """What both give; fails where they differ."""
        fast, slow = self.fast.decode(records, NOW), self.slow.decode(records, NOW)
        assert list(fast.columns) == list(slow.columns)
        for name in slow.columns:
            assert_same(fast.columns[name], slow.columns[name], name)
        assert_same(fast.offsets, slow.offsets, "offsets")
        assert_same(fast.logged_at, slow.logged_at, "logged_at")
        assert fast.dead_letters == slow.dead_letters
        assert fast.missing == slow.missing
        assert fast.security_findings == slow.security_findings
        assert len(fast.columns) + len(fast.dead_letters) == len(records)
        return fast


PAIRS = tuple(Pair(guard, max_past) for guard, max_past in zip(GUARDS, (None, 7 * DAY), strict=True))
CONTRACT = contract_tables(GUARDS[0].shape, MAX_BYTES)


def ordinary(value: bytes, key: bytes = HASH.encode()) -> bool:
    """Whether the compiled reader reads a record by itself."""
    return bool(read_ordinary([value], [key], CONTRACT).read[0])


# One field's value as JSON text: what is right, what is nearly right, and what tries to slip a card number through.
BLANKS = ("", " ", "  ", "\u3000", "\u00a0 ", "\u2028")
CHARACTERS = st.text(
    st.sampled_from("aZ09 -./:é\u00a0\u2010\u3000\u30b7\u30e7\uff10\uff19\uff0d\U0001f4b3\x7f\x85\u2028xv"), max_size=12
)
DIGIT_RUNS = st.lists(
    st.sampled_from(
        [
            OURS,
            OTHERS,
            TWELVE,
            NINETEEN,
            OURS[:8],
            OURS[8:],
            OURS[:4],
            OURS[4:12],
            OURS[12:],
            "1",
            "0000",
            "999999999999",
        ]
    )
    | st.sampled_from([" ", "-", "--", ".", "e", "E15", "x", "\u30fc", "\u3000", "/", "v1:", "x:", "é"]),
    min_size=1,
    max_size=7,
).map("".join)
NUMBERS = st.sampled_from(
    [
        *("0", "1", "2", "36", "392", "999", "1000", "9999", "10000", "1000000", "1000001", "1000000000000000"),
        *("1000000000000001", "999999999999999999", "1000000000000000000", "9223372036854775807"),
        *("9223372036854775808", "18446744073709551616", "1" * 301, "-0", "-1", "00", "01", "+1", "0x10", "1_000"),
        *(
            "1.0",
            "0.5",
            "1.",
            ".5",
            "-0.5",
            "1e3",
            "1E-5",
            "1e+400",
            "1e",
            "1e+",
            "0.12345678901234567",
            "1" * 41 + ".5",
        ),
        *("NaN", "Infinity", "-Infinity", str(NOW), f"{NOW}.0", OURS, f"{OURS}.0", OTHERS, TWELVE, NINETEEN),
        *(f"{OURS[0]}.{OURS[1:]}E15", f"{OURS}0e-1", f"{OURS} ", f" {OURS}"),
    ]
)
OTHER_TOKENS = st.sampled_from(
    [
        *("null", "true", "false", "nul", "True", "nulls", "[]", "{}", "[1]", '{"a":1}', f'["{OURS}"]', '"', "'a'"),
        *(r'"\u30b7"', r'"\ud83d"', r'"a\"b"', r'"\\"', r'"\n"', '"a\nb"', '"a\tb"', r'"\u0034111"', '""', "", "1 2"),
    ]
)


def in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def in_plain_json(text: str) -> str:
    """With escapes, as producers write that keep to ASCII or to HTML."""
    return json.dumps(text).replace("/", r"\/")


def strings(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return texts.map(in_json) | texts.map(in_plain_json)


def usable(field: Field) -> st.SearchStrategy[str]:  # noqa: PLR0911 - one case a kind
    """JSON texts at the edges of what a field takes."""
    match field.kind:
        case Kind.ENUM:
            return st.sampled_from([*field.values, "unknown", field.values[0].upper()]).map(in_json)
        case Kind.COUNTRY:
            return st.sampled_from([*country_numbers(), "XX", "jp", "39"]).map(in_json)
        case Kind.CURRENCY:
            return st.sampled_from([*currency_numbers(), "XXXX", "yen", "036 "]).map(in_json)
        case Kind.DIGITS:
            return st.sampled_from(["5", "05", "051", "0510", "05100", "5411", "\uff15", "5a", "-5", " 5"]).map(in_json)
        case Kind.IDENTIFIER | Kind.TEXT:
            limit = field.limit or 80
            longest = [character * size for character in "aé\u30b7\U0001f4b3" for size in (limit, limit + 1)]
            return strings(st.sampled_from([*longest, *BLANKS, "a b", "M0000123"]) | CHARACTERS | DIGIT_RUNS)
        case Kind.BOOLEAN:
            return st.sampled_from(["true", "false"])
        case _:
            return NUMBERS


@cache
def tokens(name: str) -> st.SearchStrategy[str]:
    anything = NUMBERS | OTHER_TOKENS | strings(CHARACTERS | DIGIT_RUNS)
    return usable(FIELD_BY_NAME[name]) | usable(FIELD_BY_NAME[name]) | anything if name in FIELD_BY_NAME else anything


NAMES = st.sampled_from([field.name for field in FIELDS])
STRANGE_NAMES = st.sampled_from(
    ["other", "", "event_i", "event_idx", "EVENT_ID", "シ", OURS, f"card {OTHERS}", "card_ref ", "a" * 70]
)
FIELD_TOKENS = (NAMES | NAMES | NAMES | STRANGE_NAMES).flatmap(lambda name: st.tuples(st.just(name), tokens(name)))
SPACE = st.sampled_from(["", "", "", " ", "\t", "\n", "  "])
DAMAGE = st.sampled_from(
    [b"", b"", b"", b" ", b"\t ", b"}", b",", b"x", b"\n", b"\r", b"\xff", b"\x00", b" " * MAX_BYTES]
)


@st.composite
def raw_records(draw: st.DrawFn) -> RawRecord:
    """A record that is right but for some fields, in any order and spelling."""
    card = draw(st.sampled_from(CARDS))
    fields = [
        ("event_id", '"event-1"'),
        ("event_type", '"authorization"'),
        ("occurred_at", str(NOW)),
        ("card_ref", in_json(card)),
        ("account_ref", in_json(ACCOUNT)),
        *draw(st.lists(FIELD_TOKENS, max_size=6)),
    ]
    if draw(st.booleans()):
        left_out = draw(st.integers(0, len(fields) - 1))
        fields = fields[:left_out] + fields[left_out + 1 :]
    if draw(st.booleans()):  # of a name that comes twice the last one counts
        fields = list(dict(fields).items())
    before, after = draw(SPACE), draw(SPACE)
    text = ",".join(f"{before}{in_json(name)}{after}:{before}{token}{after}" for name, token in fields)
    value = draw(st.sampled_from([b"", b"", b"", b" ", b"\xef\xbb\xbf", b"["])) + f"{{{text}}}".encode() + draw(DAMAGE)
    key = draw(
        st.sampled_from([card.encode()] * 4 + [ACCOUNT.encode(), OURS.encode(), b"", None, b"\xff", card[:-1].encode()])
    )
    return RawRecord(
        draw(st.integers(0, 2**40)),
        key,
        draw(st.sampled_from([value] * 12 + [None, b""])),
        draw(st.sampled_from([NOW, -1, 0])),
    )


@given(st.lists(raw_records(), max_size=6), st.sampled_from(PAIRS))
@settings(max_examples=100, deadline=None)
def test_odd_and_hostile_records_come_out_as_in_the_reference(records: list[RawRecord], pair: Pair) -> None:
    pair.decode(records)


@given(st.lists(FIELD_TOKENS, min_size=1, max_size=20), st.sampled_from(PAIRS))
@settings(max_examples=150, deadline=None)
@example([("card_ref", in_json(OURS)), ("network_score", f"{OURS[0]}.{OURS[1:]}E15")], PAIRS[0])
@example([("merchant_name", in_json(f"a {OURS[:8]}-{OURS[8:]} b")), ("event_id", in_json("\u3000"))], PAIRS[0])
def test_records_with_one_odd_field_come_out_as_in_the_reference(fields: list[tuple[str, str]], pair: Pair) -> None:
    right = {"event_id": '"e"', "event_type": '"clearing"', "occurred_at": "1", "card_ref": in_json(HASH)}
    records = []
    for offset, (name, token) in enumerate(fields):
        text = ",".join(f"{in_json(key)}:{value}" for key, value in (right | {name: token}).items())
        records.append(RawRecord(offset, HASH.encode(), f"{{{text}}}".encode(), NOW))
    pair.decode(records)


@pytest.fixture(scope="module")
def simulated() -> list[RawRecord]:
    parameters = SimulationParameters(cards=1_000, exposed_records=100, history_days=10, story_days=20)
    columns = simulate(parameters, CardTokenizer({1: b"k" * 32}, 1)).between(0, 2_000)
    pairs = zip(keys(columns), encode(columns), columns["occurred_at"].tolist(), strict=True)
    return [RawRecord(offset, key, value, at + 50) for offset, (key, value, at) in enumerate(pairs)]


def test_simulated_records_come_out_as_in_the_reference_and_nearly_all_the_fast_way(simulated: list[RawRecord]) -> None:
    batch = PAIRS[0].decode(simulated)
    assert len(batch.columns) == len(simulated)
    read = read_ordinary([record.value for record in simulated], [record.key for record in simulated], CONTRACT).read
    assert read.mean() > 0.99  # the rest have a hash with digits that could be a card number


@given(st.integers(0, 2**32), st.sampled_from(PAIRS))
@settings(max_examples=20, deadline=None)
def test_damaged_records_come_out_as_in_the_reference(simulated: list[RawRecord], seed: int, pair: Pair) -> None:
    random = np.random.default_rng(seed)
    signs = (
        b'"\\{}[]:,0123456789 -.eE+ntfu\\u30b7\\uff11\\u0031\\/\t\n\x00\x1f\x7f\x80\xe3\x83\xef\xbc\x90\xff'
        + OURS.encode()
    )
    records = []
    for record in random.choice(len(simulated), 200).tolist():
        value = bytearray(simulated[record].value or b"")
        for _ in range(random.integers(1, 3)):
            at, cut = int(random.integers(len(value))), int(random.integers(0, 3))
            picked = int(random.integers(len(signs)))
            value[at : at + cut] = signs[picked : picked + int(random.choice([0, 1, 2, 6]))]
        records.append(simulated[record]._replace(value=bytes(value)))
    pair.decode(records)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_chance_values_come_out_as_in_the_reference(simulated: list[RawRecord], seed: int) -> None:
    """One value of each record becomes that of another field, so that every type meets every field."""
    random = np.random.default_rng(seed)
    decoded = [json.loads(record.value or b"") for record in simulated[:400]]
    values: list[Any] = [value for fields in decoded for value in fields.values()]
    values += [None, "", " ", 1.5, -1, True, False, "東京", 10**17, 10**20]
    records = []
    for fields, record in zip(decoded, simulated, strict=False):
        field = FIELDS[int(random.integers(len(FIELDS)))].name
        mixed = fields | {field: values[int(random.integers(len(values)))]}
        text = json.dumps(mixed, ensure_ascii=bool(random.integers(2)))
        records.append(record._replace(value=text.encode()))
    PAIRS[0].decode(records)


def test_an_empty_batch_is_a_batch() -> None:
    batch = PAIRS[0].decode([])
    assert len(batch.columns) == 0
    assert batch.offsets.dtype == np.int64


def minimal(**more: Any) -> bytes:
    fields = {"event_id": "e", "event_type": "authorization", "occurred_at": NOW, "card_ref": HASH}
    return json.dumps(fields | more, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"event_type": "balance_inquiry"},
        {"channel": None, "mcc": "", "amount_minor": "12", "approved": "yes"},
        {"currency": 392, "merchant_country": "JPN", "mcc": 5411, "pos_entry_mode": "0510"},
        {"merchant_name": "東京ストア 2", "network_score": 0.25},
        {"unknown": "値", "another": 1.5e-3, "third": None},
        {"schema_version": 1},
        {"merchant_name": 'Joe\'s "Shop" 1/2'},
    ],
)
def test_what_is_common_goes_the_fast_way(more: dict[str, Any]) -> None:
    value = minimal(**more)
    assert ordinary(value)
    assert ordinary(json.dumps(json.loads(value)).encode())
    assert ordinary(value.replace(b"/", b"\\/"))


@pytest.mark.parametrize(
    "value",
    [
        minimal(event_id=""),
        minimal(occurred_at=1.0),
        minimal(card_ref=OURS),
        minimal(schema_version=2),
        minimal(merchant_name="a\\b"),
        minimal(channel='cafe"').replace(b"cafe", b"\\u0063"),
        minimal(memo="?").replace(b"?", b"\\u0034"),
        minimal(memo="?").replace(b"?", b"\\uFF14"),
        minimal(memo="?").replace(b"?", b"\\u00e91"),
        minimal(memo="?").replace(b"?", b"\\ud83d\\udcb3"),
        minimal(memo="?").replace(b"?", b"\\u00g0"),
        minimal(nested={}),
        minimal(memo=OURS),
        minimal(memo=f"{OURS[:8]} {OURS[8:]}"),
        minimal(memo=f"{OURS[:8]}ー{OURS[8:]}"),
        minimal(memo="\uff10"),
        minimal(memo="\uff19"),
        minimal(card_ref="v12345:" + "ab" * 32),
        minimal(card_ref="v:" + "ab" * 32),
        minimal(card_ref="x:" + "a" * 79),
        minimal(card_ref="x:"),
        minimal().ljust(MAX_BYTES + 1),
        minimal(amount_minor=10**18),
        minimal()[:-1] + b',"mcc":"1","mcc":"2"}',
        minimal().replace(b"e", b"\xff", 1),
        minimal() + b"}",
        minimal()[:-1],
        b"",
    ],
)
def test_what_is_unusual_is_left_to_the_reference(value: bytes) -> None:
    for key in (HASH, *CARDS, "v12345:" + "ab" * 32, "v:" + "ab" * 32, "x:" + "a" * 79, "x:"):
        assert not ordinary(value, key.encode())


@pytest.mark.parametrize("card", CARDS)
def test_every_form_of_a_card_reference_is_ordinary(card: str) -> None:
    value = minimal(card_ref=card)
    assert ordinary(value, card.encode())
    assert ordinary(value.ljust(MAX_BYTES), card.encode())
    assert PAIRS[0].decode([RawRecord(0, card.encode(), value, NOW)]).columns["card_ref"].tolist() == [card]


def test_a_key_that_is_not_the_card_is_left_to_the_reference() -> None:
    assert not ordinary(minimal(), b"another")
    assert ordinary(minimal(account_ref=ACCOUNT), ACCOUNT.encode())
    assert not ordinary(minimal(account_ref="口座"), "口座".encode())


def test_strings_that_repeat_are_one_object() -> None:
    records = [
        RawRecord(at, HASH.encode(), minimal(merchant_id=f"M{at % 3}", merchant_name=f"店{at}"), NOW)
        for at in range(600)
    ]
    columns = PAIRS[0].decode(records).columns
    assert len(set(map(id, columns["merchant_id"]))) == 3
    assert columns["merchant_name"].tolist() == [f"店{at}" for at in range(600)]
