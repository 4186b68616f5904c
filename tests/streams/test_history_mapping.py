"""What a mapping file may say, and what comes of the issuer's formats."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from history_support import decoder_of, mapping_file

from fraud.cards import CardTokenizer
from fraud.codes import MISSING
from fraud.errors import ConfigurationError, InvalidInputError
from fraud.transactions import enum_code
from streams.history import load_mapping
from streams.history.reading import SourceFileError, read_batches

PAN = "4532015112830366"
REQUIRED = {
    "event_id": ["e1", "e2", "e3"],
    "event_type": ["authorization"] * 3,
    "occurred_at": [1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000],
    "card_ref": ["x:a", "x:b", "x:a"],
}


def write(folder: Path, name: str = "a.csv", **columns: list[object]) -> pl.DataFrame:
    frame = pl.DataFrame(REQUIRED | columns, strict=False)
    (folder / "export").mkdir(exist_ok=True)
    frame.write_csv(folder / "export" / name)
    return frame


def decoded(folder: Path, frame: pl.DataFrame, **fields: str):
    mapping = load_mapping(mapping_file(folder, frame, **fields))
    (batch,) = decoder_of(mapping, folder).read(0)
    return batch


def test_amounts_with_decimals_take_the_decimals_of_their_currency(tmp_path: Path) -> None:
    amounts = ["10.75", "1200", "0.005"]
    frame = write(tmp_path, AMT=amounts, CUR=["usd", "392", "KWD"])
    batch = decoded(
        tmp_path, frame.drop("AMT", "CUR"), amount_minor='{ column = "AMT", decimal = true }', currency='"CUR"'
    )
    assert batch.columns["amount_minor"].tolist() == [1075, 1200, 5]
    assert batch.columns["currency"].tolist() == [840, 392, 414]


@pytest.mark.parametrize(
    ("text", "currency", "options", "minor"),
    [
        ("10.7", "USD", "", 1070),
        ("10.750", "USD", "", 1075),
        ("10.755", "USD", "", MISSING),  # more decimals than the currency has
        (".5", "USD", "", 50),
        ("0.00", "USD", "", 0),
        ("-10.75", "USD", "", MISSING),
        ("-10.75", "USD", ", absolute = true", 1075),
        ("1200.0", "JPY", "", 1200),
        ("1,200", "JPY", "", MISSING),
        ("12e3", "JPY", "", MISSING),
        ("10.75", "ZZZ", "", MISSING),
        (".", "USD", "", MISSING),
    ],
)
def test_an_amount_is_exact_or_missing(tmp_path: Path, text: str, currency: str, options: str, minor: int) -> None:
    frame = write(tmp_path, AMT=[text] * 3, CUR=[currency] * 3)
    mapped = {"amount_minor": f'{{ column = "AMT", decimal = true{options} }}', "currency": '"CUR"'}
    assert decoded(tmp_path, frame.drop("AMT", "CUR"), **mapped).columns["amount_minor"].tolist() == [minor] * 3


@pytest.mark.parametrize(
    ("text", "spec", "at"),
    [
        ("20240501093000", 'format = "%Y%m%d%H%M%S", zone = "Asia/Tokyo"', 1_714_523_400_000),
        ("2024-05-01T09:30:00+09:00", 'format = "iso", zone = "UTC"', 1_714_523_400_000),
        ("2024-05-01 09:30:00.250", 'format = "iso", zone = "Asia/Tokyo"', 1_714_523_400_250),
        ("1714523400", 'format = "epoch_s"', 1_714_523_400_000),
        ("2024-05-01T00:30:00+0000", 'format = "%Y-%m-%dT%H:%M:%S%z"', 1_714_523_400_000),
        # An hour that comes twice is its first; one that is left out is no time.
        ("20241103013000", 'format = "%Y%m%d%H%M%S", zone = "America/New_York"', 1_730_611_800_000),
        ("20240310023000", 'format = "%Y%m%d%H%M%S", zone = "America/New_York"', None),
    ],
)
def test_times_are_read_in_their_zone(tmp_path: Path, text: str, spec: str, at: int | None) -> None:
    frame = write(tmp_path, AT=[text] * 3)
    batch = decoded(tmp_path, frame.drop("AT"), occurred_at=f'{{ column = "AT", {spec} }}')
    assert batch.columns["occurred_at"].tolist() == ([] if at is None else [at] * 3)
    assert batch.tally.rejected == ({"MISSING_FIELD": 3} if at is None else {})


def test_codes_constants_defaults_and_joined_columns(tmp_path: Path) -> None:
    frame = write(
        tmp_path, CH=["E", "P", "?"], RC=["00", "05", None], D=["20240501"] * 3, T=["093000"] * 3, N=["5"] * 3
    )
    batch = decoded(
        tmp_path,
        frame.select("event_id", "card_ref"),
        event_type='{ constant = "authorization" }',
        occurred_at='{ columns = ["D", "T"], format = "%Y%m%d %H%M%S", zone = "Asia/Tokyo" }',
        channel='{ column = "CH", values = { E = "ecommerce", P = "card_present" } }',
        approved='{ column = "RC", values = { "00" = true, "05" = false }, default = false }',
        pos_entry_mode='{ column = "N", pad = 3 }',
        merchant_country='{ constant = "JP" }',
    )
    ecommerce, present = enum_code("channel", "ecommerce"), enum_code("channel", "card_present")
    assert batch.columns["channel"].tolist() == [ecommerce, present, MISSING]
    assert batch.columns["approved"].tolist() == [1, 0, 0]
    assert batch.columns["occurred_at"].tolist() == [1_714_523_400_000] * 3
    assert batch.columns["pos_entry_mode"].tolist() == [0] * 3
    assert batch.columns["merchant_country"].tolist() == [392] * 3
    assert batch.tally.unusable == {"channel": 1}


def test_card_numbers_become_references_and_leave_no_trace(tmp_path: Path) -> None:
    frame = write(tmp_path, PAN_COLUMN=[PAN, "4532-0151-1283-0366", "4532015112830367"])
    batch = decoded(tmp_path, frame.drop("card_ref", "PAN_COLUMN"), card_ref='{ card_number = "PAN_COLUMN" }')
    reference = CardTokenizer({1: bytes.fromhex("5f" * 32)}, 1).reference(PAN)
    assert batch.columns["card_ref"].tolist() == [reference, reference]
    assert [(item.row, item.reason, item.field) for item in batch.rejects] == [(3, "INVALID_FIELD", "card_ref")]


def test_a_column_of_card_numbers_is_refused_where_none_belongs(tmp_path: Path) -> None:
    frame = write(tmp_path, PAN_COLUMN=[PAN] * 3)
    with pytest.raises(InvalidInputError) as as_reference:
        decoded(tmp_path, frame.drop("card_ref", "PAN_COLUMN"), card_ref='"PAN_COLUMN"')
    with pytest.raises(InvalidInputError) as prefixed:
        decoded(tmp_path, frame.drop("card_ref", "PAN_COLUMN"), card_ref='{ column = "PAN_COLUMN", prefix = "x:" }')
    with pytest.raises(InvalidInputError) as elsewhere:
        decoded(tmp_path, frame.drop("PAN_COLUMN"), terminal_id='"PAN_COLUMN"')
    assert [item.value.field for item in (as_reference, prefixed, elsewhere)] == [
        "fields.card_ref",
        "fields.card_ref",
        "fields.terminal_id",
    ]
    assert not any(PAN in str(item.value) for item in (as_reference, prefixed, elsewhere))


def test_a_stray_card_number_is_blanked_and_counted(tmp_path: Path) -> None:
    frame = write(tmp_path, NAME=["shop", f"paid with {PAN}", "shop"])
    batch = decoded(tmp_path, frame.drop("NAME"), merchant_name='"NAME"')
    assert batch.columns["merchant_name"].tolist() == ["shop", None, "shop"]
    assert batch.tally.card_numbers == {"merchant_name": 1}


def test_an_event_id_can_be_a_digest_of_what_makes_the_event_one(tmp_path: Path) -> None:
    frame = write(tmp_path, A=["1", "12", "1"], B=["23", "3", "23"])
    batch = decoded(tmp_path, frame.drop("event_id", "A", "B"), event_id='{ digest_of = ["A", "B"] }')
    first, second, third = batch.columns["event_id"].tolist()
    assert first == third != second  # "1"+"23" is not "12"+"3"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('mcc = { colum = "MCC" }', "fields.mcc.colum"),
        ('merchant = "M"', "fields.merchant"),
        ("mcc = 5411", "fields.mcc"),
        ('mcc = { column = "MCC", constant = "5411" }', "fields.mcc"),
        ('channel = { constant = "web" }', "fields.channel"),
        ('channel = { column = "C", values = { E = "web" } }', "fields.channel"),
        ('approved = { column = "A", values = { Y = "yes" } }', "fields.approved"),
        ('token_provisioned_at = { column = "T" }', "fields.token_provisioned_at.format"),
        ('token_provisioned_at = { column = "T", format = "%Y%m%d" }', "fields.token_provisioned_at.zone"),
        (
            'token_provisioned_at = { column = "T", format = "%Y%m%d", zone = "Tokyo" }',
            "fields.token_provisioned_at.zone",
        ),
        ('mcc = { column = "M", format = "iso" }', "fields.mcc"),
        ('mcc = { column = "M", decimal = true }', "fields.mcc"),
        ('merchant_id = { card_number = "M" }', "fields.merchant_id.card_number"),
        ('merchant_id = { digest_of = ["M"] }', "fields.merchant_id.digest_of"),
        ('mcc = { column = ["A", "B"] }', "fields.mcc.column"),
        ('mcc = { column = "M", pad = "3" }', "fields.mcc.pad"),
        ('[file]\npath = "x"', "file"),
        ('[lineage]\npaths = ["export/*.csv"]\nold = "A"', "lineage.new"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_named_by_its_key(tmp_path: Path, line: str, field: str) -> None:
    path = mapping_file(tmp_path, write(tmp_path))
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidInputError) as error:
        load_mapping(path)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ('paths = ["none/*.csv"]', "files.paths"),
        ('paths = ["export/*.csv"]\nformat = "xls"', "files.format"),
        ('paths = ["export/*.csv"]\ndelimiter = ";;"', "files.delimiter"),
        ('paths = ["export/*.csv"]\nencoding = "latin-99"', "files.encoding"),
        ('paths = ["export/*.csv"]\nseparator = ";"', "files.separator"),
    ],
)
def test_what_is_wrong_with_the_files_is_named_too(tmp_path: Path, files: str, field: str) -> None:
    path = mapping_file(tmp_path, write(tmp_path), more=f"[files]\n{files}\n")
    with pytest.raises(InvalidInputError) as error:
        load_mapping(path)
    assert error.value.field == field


def test_required_fields_and_decimals_without_a_currency_are_asked_for(tmp_path: Path) -> None:
    frame = write(tmp_path)
    with pytest.raises(InvalidInputError, match="event_type"):
        load_mapping(mapping_file(tmp_path, frame.drop("event_type")))
    with pytest.raises(InvalidInputError, match="needs currency"):
        decoded(tmp_path, frame, amount_minor='{ column = "event_id", decimal = true }')


def test_a_card_number_without_a_key_is_refused_before_a_row_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        CardTokenizer({}, 1)
    mapping = load_mapping(mapping_file(tmp_path, write(tmp_path), card_ref='{ card_number = "card_ref" }'))
    own = decoder_of(mapping, tmp_path)._decoder
    from streams.history.decoding import HistoryDecoder

    with pytest.raises(InvalidInputError) as error:
        HistoryDecoder(mapping, own, None, 0)
    assert error.value.field == "fields.card_ref.card_number"


def test_all_formats_of_files_say_the_same(tmp_path: Path) -> None:
    frame = write(tmp_path, name="a.csv", merchant_name=['東京 "1", 本店', None, "x\ny"], amount_minor=[1, None, 3])
    folder = tmp_path / "export"
    frame.write_csv(folder / "a.tsv", separator="\t")
    frame.write_parquet(folder / "a.parquet")
    (folder / "a.sjis").write_bytes((folder / "a.csv").read_text(encoding="utf-8").encode("shift_jis"))
    import gzip

    (folder / "a.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + (folder / "a.csv").read_bytes()))
    results = []
    for name, more in [
        ("a.csv", ""),
        ("a.tsv", ""),
        ("a.parquet", ""),
        ("a.csv.gz", ""),
        ("a.sjis", '\nencoding = "shift_jis"'),
    ]:
        path = mapping_file(tmp_path, frame, more=f'[files]\npaths = ["export/{name}"]{more}\n')
        mapping = load_mapping(path)
        (batch,) = decoder_of(mapping, tmp_path).read(0)
        results.append([batch.columns.row(row) for row in range(3)])
    assert all(result == results[0] for result in results)
    assert results[0][0]["merchant_name"] == '東京 "1", 本店'


def test_rows_of_another_width_are_left_out_by_number_and_batches_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "export" / "a.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], lines[1], "too,few", lines[2], lines[3] + ",more", "", ""]), encoding="utf-8")
    mapping = load_mapping(mapping_file(tmp_path, pl.DataFrame(REQUIRED)))
    for size in (1, 2, 10):
        batches = list(read_batches(mapping.files, path, ["event_id"], size))
        assert [value for batch in batches for value in batch.frame["event_id"]] == ["e1", "e2"]
        assert [row for batch in batches for row in batch.rows] == [1, 3]
        assert [row for batch in batches for row in batch.malformed] == [2, 4]


def test_a_damaged_file_is_named_without_what_is_in_it(tmp_path: Path) -> None:
    frame = write(tmp_path)
    path = tmp_path / "export" / "a.csv"
    path.write_bytes(path.read_bytes() + b"e9,\xff\xfe" + PAN.encode())
    with pytest.raises(SourceFileError, match=r"a\.csv") as error:
        decoded(tmp_path, frame)
    assert PAN not in str(error.value)
    (tmp_path / "export" / "a.parquet").write_bytes(b"PAR1 no parquet")
    mapping = load_mapping(mapping_file(tmp_path, frame, paths="export/a.parquet"))
    with pytest.raises(SourceFileError, match=r"a\.parquet"):
        list(decoder_of(mapping, tmp_path).read(0))


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no column MCC"):
        decoded(tmp_path, write(tmp_path), mcc='"MCC"')
