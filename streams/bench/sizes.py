"""What a bench is asked for. Imports nothing: the command line reads it before it needs anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Broker = Literal["tansu", "kafka"]
Database = Literal["sqlite", "postgresql"]


@dataclass(frozen=True, slots=True)
class BenchSize:
    """What was asked for on the command line, the same for each bench."""

    broker: Broker
    database: Database
    records: int
    cards: int
    exposed: int
    exposed_share: float
    detection_share: float
    seed: int
    stream: Mapping[str, Any] = field(default_factory=dict)  # settings of the worker that differ from their defaults

    def with_stream(self, settings: Mapping[str, Any]) -> BenchSize:
        """The same with other settings of the worker."""
        return replace(self, stream={**self.stream, **settings})
