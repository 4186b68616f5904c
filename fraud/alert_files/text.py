"""From the bytes of a file to text: nothing is unpacked, and what the bytes are is found out or refused by name."""

from __future__ import annotations

import codecs
from typing import BinaryIO, Final

from fraud.alert_columns import refused
from fraud.alert_files.mapping import Encoding

MAX_FILE_BYTES: Final = 256 << 20
_CHUNK: Final = 1 << 20
# Whatever is packed is refused, so that nothing small can become something huge.
_PACKED: Final = {
    b"PK\x03\x04": "a zip archive or a spreadsheet workbook",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old spreadsheet workbook",
    b"%PDF-": "a PDF document",
}
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_NAMES: Final = {Encoding.UTF_8: "UTF-8", Encoding.CP932: "Shift_JIS"}


def read_whole(source: bytes | BinaryIO, limit: int = MAX_FILE_BYTES) -> bytes:
    """All bytes of a file, at most `limit`, in memory and nowhere else."""
    chunks: list[bytes] = [source] if isinstance(source, bytes) else []
    size = sum(map(len, chunks))
    while not isinstance(source, bytes) and size <= limit and (chunk := source.read(_CHUNK)):
        chunks.append(chunk)
        size += len(chunk)
    if size > limit:
        raise refused(f"the file is larger than {limit >> 20} MiB; split it")
    return b"".join(chunks)


def find_encoding(data: bytes, wanted: Encoding = Encoding.AUTO) -> str:
    """The Python codec of a text file; `InvalidInputError` on `file` that says what the file is instead."""
    for start, kind in _PACKED.items():
        if data.startswith(start):
            raise refused(f"the file is {kind}; unpack it, and export it as CSV")
    if data.startswith(_WIDE):
        raise refused("the file is in UTF-16 or UTF-32; save it as CSV in UTF-8")
    if b"\0" in data:
        raise refused("the file is no text in UTF-8 or Shift_JIS; export it as CSV")
    faults = {}
    for encoding, codec in ((Encoding.UTF_8, "utf-8-sig"), (Encoding.CP932, "cp932")):
        if wanted in (Encoding.AUTO, encoding):
            fault = _first_fault(data, codec)
            if fault is None:
                return codec
            faults[encoding] = data.count(b"\n", 0, fault) + 1
    lines = ", ".join(f"{_NAMES[encoding]} from line {line} on" for encoding, line in faults.items())
    raise refused(f"the file is no text in {' or '.join(_NAMES[name] for name in faults)} (not {lines})")


def _first_fault(data: bytes, codec: str) -> int | None:
    """Where the bytes stop being this codec's; None when all of them are."""
    decoder = codecs.getincrementaldecoder(codec)()
    start = 0
    try:
        for start in range(0, len(data), _CHUNK):
            decoder.decode(data[start : start + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:  # it carries the data, so it must not travel further
        return start + min(error.start, _CHUNK)
    return None
