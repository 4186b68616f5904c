"""Mapped files: formats, encodings, what spreadsheets do to numbers, and columns that must not come in."""

from __future__ import annotations

import gzip
import io
import json
import traceback
import zipfile
from collections.abc import Iterator

import pytest

from fraud.alert_files import AlertFile, AlertRow, make_mapping
from fraud.cards import CardTokenizer, luhn_valid, read_pan
from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard

GUARD = PanGuard(["411111"], [16])
TOKENIZER = CardTokenizer({1: bytes(range(16))}, 1)
CODE = "987"


def card_number(serial: int, prefix: str = "411111") -> str:
    body = f"{prefix}{serial:0{15 - len(prefix)}d}"
    return next(body + digit for digit in "0123456789" if luhn_valid(body + digit))


NUMBERS = [card_number(serial) for serial in range(7_000_001, 7_000_101)]
REFERENCES = [TOKENIZER.reference(number) for number in NUMBERS]
FOREIGN = card_number(7_000_001, "555555")


def rows_of(data: str | bytes, written_in: str = "utf-8", **mapping: object) -> list[AlertRow]:
    content = data if isinstance(data, bytes) else data.encode(written_in)
    file = AlertFile(content, make_mapping(**mapping), tokenizer=TOKENIZER, guard=GUARD)  # type: ignore[arg-type]
    return list(file.rows())


def refs_of(data: str | bytes, written_in: str = "utf-8", **mapping: object) -> list[str | None]:
    return [row.card_ref for row in rows_of(data, written_in, **mapping)]


def refusal(data: str | bytes, written_in: str = "utf-8", **mapping: object) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        rows_of(data, written_in, **mapping)
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert not any(canary in shown for canary in (*NUMBERS, FOREIGN, CODE))
    return caught.value


def test_columns_named_by_name_and_by_place() -> None:
    text = f"shop,number,when\nS,{NUMBERS[0]},1225\n"
    (row,) = rows_of(text, columns="card_number=number, expiry=#3")
    assert (row.card_ref, row.expiry) == (REFERENCES[0], "2025-12")
    (row,) = rows_of(f"{NUMBERS[0]},1225\n", columns="card_number=#1,expiry=#2", header=False)
    assert (row.line, row.card_ref, row.expiry) == (1, REFERENCES[0], "2025-12")


def test_a_named_column_goes_before_one_that_is_recognised() -> None:
    text = f"pan,real number\nx,{NUMBERS[0]}\n"
    assert refs_of(text, columns="card_number=real number") == [REFERENCES[0]]


@pytest.mark.parametrize(
    ("mapping", "field"),
    [
        ({"columns": "card_number=missing"}, "columns"),
        ({"columns": "card_number=#9"}, "columns"),
        ({"columns": "cvv2=#1"}, "columns"),
        ({"columns": "card_number"}, "columns"),
        ({"columns": "card_number=a,card_number=b"}, "columns"),
        ({"drop_columns": ["missing"]}, "drop_columns"),
        ({"file_format": "xml"}, "format"),
        ({"encoding": "latin-1"}, "encoding"),
        ({"expiry_form": "DDMM"}, "expiry_form"),
        ({"file_format": "fixed"}, "columns"),
        ({"file_format": "fixed", "columns": "card_number=16-1"}, "columns"),
        ({"file_format": "fixed", "columns": "card_number=1-16", "drop_columns": ["#1"]}, "drop_columns"),
    ],
)
def test_a_wrong_mapping_names_the_option(mapping: dict[str, object], field: str) -> None:
    assert refusal(f"pan,shop\n{NUMBERS[0]},s\n", **mapping).field == field


def test_tabs() -> None:
    assert refs_of(f"shop, a\tpan\ns,1\t{NUMBERS[0]}\n", file_format="tsv") == [REFERENCES[0]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_fixed_width_counts_bytes(encoding: str) -> None:
    shop = "カバーマーク"
    width = len(shop.encode(encoding.removesuffix("-sig")))
    start = width + 1
    lines = "".join(f"{shop}{number}2512\n" for number in NUMBERS[:3]) + "\nshort\n"
    columns = f"card_number={start}-{start + 15},expiry={start + 16}-{start + 19}"
    rows = rows_of(lines, encoding, file_format="fixed", columns=columns, expiry_form="YYMM")
    assert [row.card_ref for row in rows] == [*REFERENCES[:3], None]
    assert [(row.line, row.problem, row.expiry) for row in rows[2:]] == [(3, None, "2025-12"), (5, "EMPTY", None)]


@pytest.mark.parametrize("lines", [False, True])
def test_json_as_an_array_and_as_lines(lines: bool) -> None:
    records = [
        {"card": {"number": NUMBERS[0]}, "expiry": "2025-12", "shop": ["x"]},
        {"card": {"number": int(NUMBERS[1])}, "expiry": None},
        {"card": {"number": FOREIGN}, "note": "late name"},
        {"card": {}},
    ]
    text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records, indent=1)
    rows = rows_of(text, file_format="json")
    assert [(row.line, row.problem, row.card_ref, row.expiry) for row in rows] == [
        (1, None, REFERENCES[0], "2025-12"),
        (2, None, REFERENCES[1], None),
        (3, "NOT_OURS", None, None),
        (4, "EMPTY", None, None),
    ]


def test_json_numbers_lose_no_digit_and_floats_are_named() -> None:
    text = f'[{{"pan": {NUMBERS[0]}}}, {{"pan": 4.11111E+15}}]'
    assert [(row.problem, row.card_ref) for row in rows_of(text, file_format="json")] == [
        (None, REFERENCES[0]),
        ("SCIENTIFIC", None),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "no JSON objects"),
        ("", "no JSON objects"),
        ('[{"pan": "1"}', "after object 1"),
        ('[{"pan": "1"} {"pan": "2"}]', "after object 1"),
        ('{"pan": "1"}\n{"pan"', "from object 2"),
        ("[1, 2]", "object 1 of the file is none"),
        ('[{"pan": "1"}, ' + '{"a":' * 100_000, "from object 2"),
        ('{"shop": "1"}', "name the columns"),
    ],
)
def test_json_that_cannot_be_read_is_refused_whole(text: str, words: str) -> None:
    assert words in str(refusal(text, file_format="json"))


def test_security_codes_in_json_refuse_the_file_wherever_they_begin() -> None:
    late = [{"pan": number} for number in NUMBERS] + [{"pan": NUMBERS[0], "card": {"cvv2": CODE}}]
    error = refusal(json.dumps(late), file_format="json")
    assert "card.cvv2" in str(error)
    rows = rows_of(json.dumps(late), file_format="json", drop_columns=["card.cvv2"])
    assert len(rows) == len(late)


@pytest.mark.parametrize("name", ["cvv2", "セキュリティコード", "#3"])
def test_a_security_code_column_that_is_named_is_discarded_unread(name: str) -> None:
    header = "cvv2" if name == "#3" else name
    lines = "".join(f"{number},1225,{CODE}\n" for number in NUMBERS)
    rows = rows_of(f"pan,expiry,{header}\n{lines}", drop_columns=[name])
    assert [row.card_ref for row in rows] == REFERENCES
    assert CODE not in repr([row[3:] for row in rows]).replace(NUMBERS[0][-4:], "")
    assert refusal(f"pan,expiry,{header}\n{lines}").field == "column 3"


def test_a_file_without_header_is_judged_by_what_is_in_it() -> None:
    lines = "".join(f"{number},{CODE}\n" for number in NUMBERS)
    assert refusal(lines, columns="card_number=#1", header=False).field == "column 2"
    assert refs_of(lines, columns="card_number=#1", header=False, drop_columns=["#2"]) == REFERENCES


def test_packed_files_are_refused_by_name_and_never_unpacked() -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cards.csv", "pan\n" + "0" * 50_000_000)
    for data, words in (
        (bomb.getvalue(), "zip archive"),
        (gzip.compress(b"pan\n" + b"0" * 50_000_000), "gzip"),
        (b"%PDF-1.7\n", "PDF"),
        (f"pan\n{NUMBERS[0]}\n".encode("utf-16"), "UTF-16"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "workbook"),
    ):
        assert words in str(refusal(data))


def test_a_wrong_encoding_is_named_with_its_line() -> None:
    data = f"pan,店\n{NUMBERS[0]},a\n".encode() + "店".encode("cp932") + b"\n"
    assert "line 3" in str(refusal(data, encoding="utf-8"))
    data = f"pan,shop\n{NUMBERS[0]},".encode() + b"\x81\xff\n"
    error = refusal(data)
    assert "UTF-8 from line 2" in str(error)
    assert "Shift_JIS from line 2" in str(error)
    assert refs_of(f"カード番号,店\n{NUMBERS[0]},店\n", "cp932", encoding="shift_jis") == [REFERENCES[0]]


def rounded(number: str) -> str:
    return number[:15] + "0"


def test_numbers_that_a_spreadsheet_rounded_are_named() -> None:
    number = next(number for number in NUMBERS if not luhn_valid(rounded(number)))
    assert read_pan(rounded(number)) == ("", "ROUNDED")
    rows = rows_of(f"pan\n{NUMBERS[0]}\n{NUMBERS[1]}\n{NUMBERS[2]}\n{rounded(number)}\n")
    assert [row.problem for row in rows] == [None, None, None, "ROUNDED"]


@pytest.mark.parametrize("count", [2, 100])
def test_a_file_of_rounded_numbers_is_refused_also_for_those_that_seem_right(count: int) -> None:
    numbers = [rounded(number) for number in NUMBERS]
    right = [number for number in numbers if luhn_valid(number)]
    wrong = [number for number in numbers if not luhn_valid(number)]
    assert right
    assert wrong
    chosen = [wrong[0], right[0]] if count == 2 else numbers
    assert "rounded by a spreadsheet" in str(refusal("pan\n" + "\n".join(chosen)))


def test_scientific_notation_full_width_digits_and_masks_are_named() -> None:
    wide = "".join(chr(ord(sign) + 0xFEE0) for sign in NUMBERS[0])
    rows = rows_of(f'pan\n{wide}\n4.11E+15\n"4,11E+15"\n411111******1111\n')
    assert [row.problem for row in rows] == [None, "SCIENTIFIC", "SCIENTIFIC", "MASKED"]
    assert rows[0].card_ref == REFERENCES[0]


def lines_of(*columns: Iterator[str] | list[str]) -> str:
    return "".join(",".join(cells) + "\n" for cells in zip(*columns, strict=True))


def test_the_wrong_column_is_told_and_nothing_is_taken() -> None:
    names = [f"customer {index}" for index in range(100)]
    text = "number,card name\n" + lines_of(NUMBERS, names)
    error = refusal(text, columns="card_number=card name")
    assert error.field == "column 2"
    assert "holds no card numbers in 100 of 100 rows" in str(error)


def test_an_expiry_in_the_wrong_form_is_told_and_can_be_said() -> None:
    text = "pan,expiry\n" + lines_of(NUMBERS, ["2512"] * 100)
    error = refusal(text)
    assert error.field == "column 2"
    assert "YYMM" in str(error)
    assert {row.expiry for row in rows_of(text, expiry_form="YYMM")} == {"2025-12"}


@pytest.mark.parametrize(
    ("cell", "expiry"),
    [("202512", "2025-12"), ("122025", "2025-12"), ("202012", "2020-12"), ("201212", "2012-12"), ("2025/1", "2025-01")],
)
def test_six_digits_are_never_in_doubt(cell: str, expiry: str) -> None:
    (row,) = rows_of(f"pan,expiry\n{NUMBERS[0]},{cell}\n")
    assert row.expiry == expiry


def test_under_several_keys_a_card_has_its_older_references_too() -> None:
    keys = {1: bytes(range(16)), 2: bytes(range(1, 17))}
    file = AlertFile(f"pan\n{NUMBERS[0]}\n".encode(), tokenizer=CardTokenizer(keys, 2), guard=GUARD)
    (row,) = file.rows()
    assert row.aliases == (REFERENCES[0],)
    assert row.card_ref == CardTokenizer(keys, 2).reference(NUMBERS[0])


def test_foreign_numbers_leave_nothing_not_even_a_reference() -> None:
    (row,) = rows_of(f"pan,expiry\n{FOREIGN},1225\n")
    assert row == AlertRow(2, "NOT_OURS")


def test_too_many_rows_are_refused() -> None:
    file = AlertFile(b"pan\n" + b"1\n" * 11, tokenizer=TOKENIZER, guard=GUARD, max_rows=10)
    with pytest.raises(InvalidInputError, match="more than 10 rows"):
        list(file.rows())
    with pytest.raises(InvalidInputError, match="larger"):
        AlertFile(b"pan\n" + b"1" * 100, tokenizer=TOKENIZER, guard=GUARD, max_bytes=50)
