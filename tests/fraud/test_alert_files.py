"""Exposed-card files: what is read, what is refused whole, and that nothing of a number or a code is left anywhere."""

from __future__ import annotations

import hashlib
import io
import traceback
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.alert_files import LineError, ParsedAlertFile, ParsedCard, parse_alert_file, tokenize_lines
from fraud.cards import CardTokenizer, luhn_valid
from fraud.errors import ConfigurationError, InvalidInputError
from fraud.pan_guard import PanGuard

GUARD = PanGuard(["411111"], [16])
TOKENIZER = CardTokenizer({1: bytes(range(16))}, 1)


def card_number(serial: int, prefix: str = "411111") -> str:
    body = f"{prefix}{serial:0{15 - len(prefix)}d}"
    return next(body + digit for digit in "0123456789" if luhn_valid(body + digit))


def wide(text: str) -> str:
    """ASCII as Japanese keyboards give it."""
    return "".join(chr(ord(sign) + 0xFEE0) for sign in text)


NUMBERS = [card_number(serial) for serial in range(7_000_001, 7_000_041)]
FOREIGN = card_number(7_000_001, prefix="555555")
CANARIES = (*NUMBERS, FOREIGN, "987")


def parse(text: str | bytes, encoding: str = "utf-8") -> ParsedAlertFile:
    data = text if isinstance(text, bytes) else text.encode(encoding)
    return parse_alert_file(data, tokenizer=TOKENIZER, guard=GUARD)


def refusal(text: str | bytes) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    error: InvalidInputError = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert not any(canary in shown for canary in CANARIES)
    return error


def test_a_file_as_networks_send_it() -> None:
    text = f"card_number,expiry,exposed_on,shop\n{NUMBERS[0]},12/25,2022-07-19,S1\n{NUMBERS[1]},,,\n"
    parsed = parse(text)
    assert parsed.cards == [
        ParsedCard(TOKENIZER.reference(NUMBERS[0]), NUMBERS[0][-4:], "411111", "2025-12", date(2022, 7, 19)),
        ParsedCard(TOKENIZER.reference(NUMBERS[1]), NUMBERS[1][-4:], "411111", None, None),
    ]
    assert parsed.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (parsed.rows, parsed.malformed, parsed.duplicates, parsed.unknown) == (2, [], 0, 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "shift_jis"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_encodings_and_line_ends(encoding: str, delimiter: str, newline: str) -> None:
    rows = [
        ["加盟店", "カード番号", "有効期限"],
        ["カバー,マーク; 店", NUMBERS[0], "2025/12"],
        ["店", NUMBERS[1], "1225"],
    ]
    rows[1][0] = f'"{rows[1][0]}"'
    parsed = parse(newline.join(delimiter.join(row) for row in rows), encoding)
    assert [card.card_ref for card in parsed.cards] == [TOKENIZER.reference(number) for number in NUMBERS[:2]]
    assert [card.expiry for card in parsed.cards] == ["2025-12", "2025-12"]


@pytest.mark.parametrize(
    "header", ["PAN", "Card Number", "card-no", " Account_Number ", "ｶｰﾄﾞ番号", wide("PAN"), "会員番号", '"pan"']
)
def test_names_of_the_number_column(header: str) -> None:
    assert len(parse(f"{header}\n{NUMBERS[0]}\n").cards) == 1


def test_references_are_taken_as_they_are() -> None:
    reference = TOKENIZER.reference(NUMBERS[0])
    text = f"card_ref\n{reference}\nx:C-1\nx:{NUMBERS[1]}\n{NUMBERS[2]}\nv1:12\n{reference}\n"
    parsed = parse(text)
    assert parsed.cards == [ParsedCard(reference), ParsedCard("x:C-1")]
    assert parsed.malformed == [(4, "REFERENCE"), (5, "REFERENCE"), (6, "REFERENCE")]
    assert parsed.duplicates == 1


def test_a_reference_goes_before_a_number_and_both_name_one_card() -> None:
    reference = TOKENIZER.reference(NUMBERS[0])
    parsed = parse(f"pan,card_ref\n{NUMBERS[0]},\n,{reference}\n{NUMBERS[1]},x:1\n")
    assert [card.card_ref for card in parsed.cards] == [reference, "x:1"]
    assert parsed.duplicates == 1


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("", "EMPTY"),
        ("4.11111E+15", "SCIENTIFIC"),
        ("411111******1111", "MASKED"),
        ("n/a", "NOT_DIGITS"),
        (NUMBERS[0][:11], "WRONG_LENGTH"),
        (NUMBERS[0] + "0000", "WRONG_LENGTH"),
        (NUMBERS[0][:-1] + str((int(NUMBERS[0][-1]) + 1) % 10), "CHECK_DIGIT"),
        (f"{NUMBERS[0]} {NUMBERS[1]}", "WRONG_LENGTH"),
    ],
)
def test_malformed_numbers_have_a_line_and_a_reason(cell: str, reason: str) -> None:
    parsed = parse(f"shop,pan\na,{NUMBERS[1]}\nb,{cell}\n")
    assert parsed.malformed == [(3, reason)]
    assert len(parsed.cards) == 1


@pytest.mark.parametrize(
    ("cell", "expiry"),
    [
        *(("12/25", "2025-12"), ("1/25", "2025-01"), ("0125", "2025-01"), ("01/2025", "2025-01"), ("", None)),
        *(("2025-01", "2025-01"), ("2025/1", "2025-01"), (wide("12/25"), "2025-12")),
        *(('="0125"', "2025-01"), ("'0125", "2025-01")),
    ],
)
def test_expiry_dates(cell: str, expiry: str | None) -> None:
    quoted = cell.replace('"', '""')
    assert [card.expiry for card in parse(f'pan,expiry\n{NUMBERS[0]},"{quoted}"\n').cards] == [expiry]


@pytest.mark.parametrize("cell", ["13/25", "00/25", "1325", "125", "2025-13", "12-25", "987", "12/1925", "never"])
def test_bad_expiry_dates(cell: str) -> None:
    parsed = parse(f"pan,expiry\n{NUMBERS[0]},{cell}\n")
    assert (parsed.cards, parsed.malformed) == ([], [(2, "EXPIRY")])


@pytest.mark.parametrize("cell", ["2022-02-30", "19.07.2022", "20220700", "0000-01-01"])
def test_bad_exposure_dates(cell: str) -> None:
    assert parse(f"pan,exposed_on\n{NUMBERS[0]},{cell}\n").malformed == [(2, "EXPOSED_ON")]


def test_foreign_numbers_are_counted_and_not_kept() -> None:
    parsed = parse(f"pan,expiry\n{FOREIGN},99/99\n{NUMBERS[0]},\n{FOREIGN},\n")
    assert (parsed.unknown, len(parsed.cards), parsed.malformed) == (2, 1, [])
    assert TOKENIZER.reference(FOREIGN) not in repr(parsed.cards)


def test_spreadsheet_text_cells_and_spaced_numbers() -> None:
    spaced = f"{NUMBERS[0][:4]} {NUMBERS[0][4:8]} {NUMBERS[0][8:12]} {NUMBERS[0][12:]}"
    parsed = parse(f'pan\n"=""{NUMBERS[0]}"""\n\'{NUMBERS[0]}\n{spaced}\n')
    assert (len(parsed.cards), parsed.duplicates) == (1, 2)


def test_blank_lines_and_quoted_line_breaks_keep_line_numbers_right() -> None:
    text = f'\n\npan,memo\n\n{NUMBERS[0]},"two\nlines"\n,,\n  \nbad,"x\ny"\n{NUMBERS[1]},a,b\n{NUMBERS[2]}\n'
    parsed = parse(text)
    assert parsed.malformed == [(9, "NOT_DIGITS"), (11, "COLUMN_COUNT")]
    assert (parsed.rows, len(parsed.cards)) == (4, 2)


rows = st.lists(
    st.one_of(
        st.sampled_from([*NUMBERS[:5], FOREIGN, "", "junk", "4111*1111"]),
        st.text("0123456789- ", max_size=20),
    ),
    max_size=30,
)


@given(rows)
def test_every_row_is_counted_once(cells: list[str]) -> None:
    parsed = parse("\n".join(["pan,shop", *(f"{cell},s" for cell in cells)]))
    assert parsed.rows == len(cells)
    assert parsed.rows == len(parsed.cards) + len(parsed.malformed) + parsed.duplicates + parsed.unknown
    assert len({card.card_ref for card in parsed.cards}) == len(parsed.cards)


@pytest.mark.parametrize(
    "header",
    [
        *("cvv", "CVV2", "card cvv", "CVC2", "cid", "Card-CID", "CAV2", "csc", "security_code", wide("CVV2")),
        *("Card Verification Value", "track2", "Track 1 data", "PIN", "pin block"),
        *("セキュリティコード", "ｾｷｭﾘﾃｨｺｰﾄﾞ", "暗証番号", "カード確認番号"),
    ],
)
def test_security_codes_by_name_refuse_the_file(header: str) -> None:
    error = refusal(f"pan,expiry,{header}\n{NUMBERS[0]},12/25,\n")
    assert error.field == "column 3"
    assert header in str(error)


@pytest.mark.parametrize("header", ["incident", "tracking number", "spinner", "decided", "shop"])
def test_names_that_only_resemble_security_codes(header: str) -> None:
    assert len(parse(f"pan,{header}\n{NUMBERS[0]},abc\n").cards) == 1


@pytest.mark.parametrize(
    "codes",
    [
        ["987"],
        ["987", "", " 123 ", "'012", '"=""044"""', "9876"],
        [wide("987")],
        ["987"] * 9 + ["12"],  # a spreadsheet has dropped the leading zero of one
        [""] * 30 + ["987"],
    ],
)
def test_security_codes_by_content_refuse_the_file(codes: list[str]) -> None:
    rows = [f"{NUMBERS[index]},{code},note {index}" for index, code in enumerate(codes)]
    error = refusal("\n".join(["pan,c3,memo", *rows]))
    assert error.field == "column 2"
    assert "column 2 (c3)" in str(error)


def test_a_header_that_could_be_a_value_is_not_shown() -> None:
    error = refusal(f"pan,{FOREIGN} cvv\n{NUMBERS[0]},\n")
    assert "column 2 looks like" in str(error)


def test_short_numbers_under_known_names_or_among_others_are_fine() -> None:
    rows = [f"{number},1234,5732,980,{index * 999}" for index, number in enumerate(NUMBERS)]
    text = "\n".join(["pan,last4,mcc,amount,points", *rows])
    assert len(parse(text).cards) == len(NUMBERS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "name the columns"),
        ("\n\n", "name the columns"),
        (f"{NUMBERS[0]},12/25,987\n{NUMBERS[1]},12/25,987\n", "name the columns"),
        (f"shop,amount\n{NUMBERS[0]},1\n", "name the columns"),
        (f"pan,card_number\n{NUMBERS[0]},\n", "more than one column"),
        (f"pan,expiry,exp\n{NUMBERS[0]},,\n", "more than one column"),
        (f'pan,memo\n{NUMBERS[0]},a\n{NUMBERS[1]},"open\n{NUMBERS[2]},b\n', "no CSV from line 3"),
        (f'pan\n{NUMBERS[0]}\n"{NUMBERS[1]}"1\n', "no CSV from line 3"),
        (f"pan\n{NUMBERS[0]}\n".encode("utf-16"), "UTF-16"),
        (f"pan\n{NUMBERS[0]}\n".encode() + b"\x81\xff\xa0\n", "no text"),
        (f"pan,memo\n{NUMBERS[0]},".encode() + b"x" * 200_000, "no CSV from line 2"),
    ],
)
def test_structural_errors_refuse_the_whole_file(text: str | bytes, words: str) -> None:
    error = refusal(text)
    assert error.field == "file"
    assert words in str(error)


def test_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "pan\n" + "\n".join(NUMBERS)
    monkeypatch.setattr("fraud.alert_files.MAX_ROWS", len(NUMBERS))
    assert parse(text).rows == len(NUMBERS)
    monkeypatch.setattr("fraud.alert_files.MAX_ROWS", len(NUMBERS) - 1)
    assert "rows" in str(refusal(text))
    monkeypatch.setattr("fraud.alert_files.MAX_FILE_BYTES", len(text) - 1)
    assert "larger" in str(refusal(text))


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._data.read(min(7, len(buffer)))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def test_a_stream_gives_what_its_bytes_give() -> None:
    data = ("pan\n" + "\n".join(NUMBERS)).encode()
    assert parse_alert_file(Trickle(data), tokenizer=TOKENIZER, guard=GUARD) == parse(data)  # type: ignore[arg-type]


def test_without_a_key_only_files_of_references_are_read() -> None:
    assert len(parse_alert_file(b"card_ref\nx:1\n", tokenizer=None, guard=GUARD).cards) == 1
    with pytest.raises(ConfigurationError, match=r"cards\.keys"):
        parse_alert_file(f"pan\n{NUMBERS[0]}\n".encode(), tokenizer=None, guard=GUARD)


def test_no_number_is_left_in_a_result() -> None:
    rows = [f"{number},12/25,{FOREIGN} 987" for number in NUMBERS]
    rows += [f"{NUMBERS[0]}1,,", f"{NUMBERS[0]},13/25,", f"{NUMBERS[1]},{NUMBERS[1]},", f"{FOREIGN},,987"]
    parsed = parse("\n".join(["pan,expiry,memo", *rows]))
    everything = repr(parsed) + repr(parsed.cards) + repr(parsed.malformed)
    assert len(parsed.cards) == len(NUMBERS)
    assert not any(number in everything for number in (*NUMBERS, FOREIGN))
    assert not any(number[6:12] + number[-4:] in everything for number in NUMBERS)


def test_tokenize_lines() -> None:
    lines = [
        f"{NUMBERS[0]}\n",
        "\n",
        f"{NUMBERS[1][:4]} {NUMBERS[1][4:]}\r\n",
        FOREIGN,
        "4111****1111",
        NUMBERS[0][:-1] + str((int(NUMBERS[0][-1]) + 1) % 10),
    ]
    results = list(tokenize_lines(iter(lines), TOKENIZER, GUARD))
    assert results == [
        TOKENIZER.reference(NUMBERS[0]),
        LineError(2, "EMPTY"),
        TOKENIZER.reference(NUMBERS[1]),
        LineError(4, "NOT_OURS"),
        LineError(5, "MASKED"),
        LineError(6, "CHECK_DIGIT"),
    ]
    assert not any(canary in repr(results) for canary in CANARIES[:-1])
