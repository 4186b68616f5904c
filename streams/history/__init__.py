"""History in: the issuer's own files become the archive and the state that the stream starts from."""

from streams.history.checking import CheckReport, check
from streams.history.importing import ImportReport, run_import
from streams.history.mapping import FieldMapping, HistoryMapping, load_mapping

__all__ = [
    "CheckReport",
    "FieldMapping",
    "HistoryMapping",
    "ImportReport",
    "check",
    "load_mapping",
    "run_import",
]
