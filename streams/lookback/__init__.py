"""Look-back: what was spent on exposed cards before the stream knew them, searched in the archive."""

from streams.lookback.deciding import Judge
from streams.lookback.job import run_lookbacks
from streams.lookback.running import Lookbacks
from streams.lookback.scanning import ArchiveSearch

__all__ = ["ArchiveSearch", "Judge", "Lookbacks", "run_lookbacks"]
