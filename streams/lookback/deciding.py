"""What archived rows on exposed cards amount to: exposure matches, and detections for the dispute path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fraud.lookback import decide_afterwards, is_scored
from fraud.policy import Decision, Policy, QuietPatterns, ScoredBatch
from fraud.store.lookback import LOOKBACK
from fraud.store.records import (
    Counters,
    DetectionRecord,
    ExposureChange,
    ExposureMatchRecord,
    PartitionEffects,
    PartitionKey,
)
from streams.archive import ArchiveRows
from streams.archive.rows import from_frame
from streams.exposure_index import ExposureIndex, RowMatch
from streams.pipeline import detection_id, finite, match_record


@dataclass(frozen=True, slots=True)
class FoundRows:
    """n archived rows that a search has found, in no particular order, and where each lies in the log."""

    rows: ArchiveRows
    topic_ids: Sequence[str]
    partitions: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def of(frame: pl.DataFrame) -> FoundRows:
        """Rows as the archive's table has them, with all its columns but the day."""
        return FoundRows(from_frame(frame), frame["topic_id"].to_list(), frame["partition"].to_list())


@dataclass(frozen=True, slots=True)
class Findings:
    """What a search adds, a partition at a time. `not_scored` of the matches had no score to judge by."""

    effects: list[PartitionEffects]
    not_scored: int


@dataclass(frozen=True, slots=True)
class Judge:
    """Turns found rows into findings.

    Args:
        group_id: the stream's consumer group.
        policy: the policy in force.
        quiet: patterns that holders have confirmed.
        case_due_ms: how long a new case may wait.

    """

    group_id: str
    policy: Policy
    quiet: QuietPatterns
    case_due_ms: int

    def findings(
        self,
        found: FoundRows,
        compromise_event_id: str,
        exposures: Sequence[ExposureChange],
        detected: Mapping[str, str],
        models: Mapping[int, str | None],
        reference_set_id: int,
        now: int,
    ) -> Findings:
        """Judge rows under the exposures of their cards.

        Args:
            found: the rows; those of cards that only share a key's 64 bits match nothing.
            compromise_event_id: matches of other events are theirs to find.
            exposures: all of them that are active on these cards.
            detected: event id to a detection that there is already; such a row is not detected again.
            models: reference set to model.
            reference_set_id: what is decided here is decided under this one.
            now: epoch milliseconds.

        """
        columns = found.rows.columns
        exposure, every = ExposureIndex().apply(exposures, 0).match(columns)
        matches = [
            match
            for match in every
            if match.exposure.compromise_event_id == compromise_event_id and match.kind != "BEFORE_WINDOW"
        ]
        batch = ScoredBatch(columns, {}, found.rows.probability, found.rows.anomaly, exposure)
        matched = dict.fromkeys(match.row for match in matches)
        transactions = dict(zip(matched, columns.rows(list(matched)), strict=True))
        event_ids = columns["event_id"]
        made = {
            decision.row: self._detection(decision, batch, transactions[decision.row], found, models, now)
            for decision in decide_afterwards(batch, self.policy, self.quiet)
            if decision.row in matched and event_ids[decision.row] not in detected
        }
        scored = is_scored(batch)
        known = {**detected, **{item.event_id: item.detection_id for item in made.values()}}
        offsets = found.rows.offsets
        records = [
            match_record(match, batch, transactions[match.row], int(offsets[match.row]), known, LOOKBACK)
            for match in matches
        ]
        effects = self._effects(zip(matches, records, strict=True), made, found, reference_set_id, now)
        return Findings(effects, sum(1 for row in matched if not scored[row]))

    def _effects(
        self,
        matches: Iterable[tuple[RowMatch, ExposureMatchRecord]],
        made: Mapping[int, DetectionRecord],
        found: FoundRows,
        reference_set_id: int,
        now: int,
    ) -> list[PartitionEffects]:
        """By partition and in log order, as the store takes them. No position moves, so they say nothing of one."""
        by_place: dict[tuple[str, int], list[tuple[RowMatch, ExposureMatchRecord]]] = {}
        for match, record in matches:
            place = found.topic_ids[match.row], found.partitions[match.row]
            by_place.setdefault(place, []).append((match, record))
        effects = []
        for (topic_id, partition), group in sorted(by_place.items()):
            group.sort(key=lambda item: item[1].offset)
            effects.append(
                PartitionEffects(
                    key=PartitionKey(self.group_id, topic_id, "", partition),
                    expected_offset=0,
                    next_offset=0,
                    owner_epoch=0,
                    reference_set_id=reference_set_id,
                    counters=Counters(),
                    reached_at=None,
                    matches=tuple(record for _, record in group),
                    detections=tuple(made[match.row] for match, _ in group if match.row in made),
                    committed_at=now,
                )
            )
        return effects

    def _detection(
        self,
        decision: Decision,
        batch: ScoredBatch,
        transaction: dict[str, Any],
        found: FoundRows,
        models: Mapping[int, str | None],
        now: int,
    ) -> DetectionRecord:
        row, columns = decision.row, batch.columns
        event_id, card_ref = columns["event_id"][row], columns["card_ref"][row]
        return DetectionRecord(
            detection_id=detection_id(event_id, LOOKBACK),
            event_id=event_id,
            origin=LOOKBACK,
            card_ref=card_ref,
            card_lineage=card_ref,
            kind="LOOKBACK",
            tier=decision.tier,
            compromise_event_ids=batch.exposure.compromise_event_ids[row],
            occurred_at=int(columns["occurred_at"][row]),
            detected_at=now,
            probability=finite(batch.probability[row]),
            anomaly=finite(batch.anomaly[row]),
            expected_loss_minor=decision.expected_loss_minor,
            priority_reason=decision.priority_reason,
            reasons=[reason.as_json() for reason in decision.reasons],
            counter_evidence=[reason.as_json() for reason in decision.counter_evidence],
            transaction=transaction,
            recent_events=[],
            features=b"",  # only their digest is archived
            features_digest=f"{int(found.rows.digests[row]):016x}",
            model_digest=models.get(int(found.rows.reference_set_ids[row])),
            offset=int(found.rows.offsets[row]),
            due_at=now + self.case_due_ms,
            fraud_probability=decision.fraud_probability,
        )
