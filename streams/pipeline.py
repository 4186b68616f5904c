"""The way of a batch on one partition: decode, dedupe, match, features, score, policy; effects come out.

No Kafka and no database in here: records in, `PartitionEffects` out, and the partition's own state moved on. Under one
reference set the effects are a function of the log alone, wherever the batches are cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fraud.codes import country_numbers
from fraud.policy import Decision, Policy, QuietPatterns, ScoredBatch, decide
from fraud.settings import Settings
from fraud.store.records import (
    Counters,
    DeadLetterRecord,
    DetectionRecord,
    ExposureMatchRecord,
    PartitionEffects,
    PartitionKey,
)
from fraud.transactions import Columns
from models.evidence import recent_events
from models.features import Features, as_columns, compute_features, feature_digest
from models.profiles import with_profiles
from models.scoring import Scorer
from models.state import CardStates, Records
from streams.archive.rows import ArchiveRows
from streams.dead_letters import DeadLetter
from streams.dedupe import DedupeWindow, Verdict
from streams.exposure_index import ExposureIndex, RowMatch
from streams.wire import DecodedBatch, Decoder, RawRecord

_RECENT_EVENTS = 20  # as many as fit a reviewer's screen


@dataclass(slots=True)
class PartitionState:
    """What a worker holds for a partition that it owns."""

    key: PartitionKey
    owner_epoch: int
    next_offset: int
    cards: CardStates
    dedupe: DedupeWindow
    logged_at: int = 0  # timestamp of the last record processed, epoch milliseconds UTC; 0 before the first


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """Everything besides the log that a record's outcome depends on, under one id."""

    reference_set_id: int
    exposure: ExposureIndex
    policy: Policy
    scorer: Scorer | None
    quiet: QuietPatterns = field(default_factory=dict)
    history_from: int | None = None  # features that look further back are not evaluable, epoch milliseconds UTC


@dataclass(frozen=True, slots=True)
class Processed:
    """What came of a batch on one partition: its effects, and its rows for the archive once those are committed."""

    effects: PartitionEffects
    archive_rows: ArchiveRows


class Pipeline:
    """Turns the records of a partition into effects."""

    def __init__(self, settings: Settings, decoder: Decoder) -> None:
        self._decoder = decoder
        self._home_country = country_numbers()[settings.portfolio.home_country]
        self._timezone = settings.portfolio.timezone
        self._profile_by = settings.stream.profile_by
        self._stream_clock = settings.clock == "stream"
        self._case_due_ms = settings.policy.case_due_hours * 3_600_000

    def replay(
        self,
        state: PartitionState,
        records: Sequence[RawRecord],
        skip: frozenset[int],
        reference: ReferenceSet | None,
        now: int,
    ) -> ArchiveRows | None:
        """Move state over records whose effects are committed. What was dead-lettered then is not judged anew.

        Under the `reference` that they were decided under they give the archive's rows again; None where those are
        archived already.
        """
        wanted = [record for record in records if record.offset not in skip]
        decoded = self._decoder.decode(wanted, now)
        fresh, _ = self._fresh(state, decoded, wanted)
        columns = _taken(decoded.columns, fresh)
        keyed = with_profiles(columns, self._profile_by)
        features = self._features(state.cards, keyed, reference.history_from if reference else None)
        state.next_offset = records[-1].offset + 1
        state.logged_at = records[-1].timestamp
        if reference is None:
            return None
        scores = self._score(features, reference.scorer)
        tier = reference.exposure.match(columns)[0].tier
        return _archive_rows(decoded, fresh, columns, features, scores, tier, reference)

    def process(
        self, state: PartitionState, records: Sequence[RawRecord], reference: ReferenceSet, now: int
    ) -> Processed:
        """The effects of a batch. State moves on; the effects are computed once and retried as they are."""
        decoded = self._decoder.decode(records, now)
        fresh, verdicts = self._fresh(state, decoded, records)
        columns = _taken(decoded.columns, fresh)
        offsets = decoded.offsets[fresh]
        exposure, matches = reference.exposure.match(columns)
        keyed = with_profiles(columns, self._profile_by)
        slots = state.cards.slots(keyed["card_key"])
        before = state.cards.records[slots]  # a copy
        features = self._features(state.cards, keyed, reference.history_from)
        probability, anomaly = self._score(features, reference.scorer)
        batch = ScoredBatch(columns, as_columns(features), probability, anomaly, exposure)
        decisions = decide(batch, reference.policy, reference.quiet)
        shown = list({*(decision.row for decision in decisions), *(match.row for match in matches)})
        transactions = dict(zip(shown, columns.rows(shown), strict=True))
        detections = [
            self._detection(
                decision, batch, transactions[decision.row], keyed, before, features, offsets, reference, now
            )
            for decision in decisions
        ]
        detected = {item.event_id: item.detection_id for item in detections}
        dead_letters = [
            *(_dead_letter(item, reference.exposure) for item in decoded.dead_letters),
            *self._quarantined(decoded, verdicts, records, reference.exposure),
        ]
        effects = PartitionEffects(
            key=state.key,
            expected_offset=state.next_offset,
            next_offset=records[-1].offset + 1,
            owner_epoch=state.owner_epoch,
            reference_set_id=reference.reference_set_id,
            counters=Counters(
                processed=len(columns),
                duplicates=int((verdicts == Verdict.DUPLICATE).sum()),
                quarantined=int((verdicts == Verdict.CONFLICT).sum()),
                dead_lettered=len(decoded.dead_letters),
                matched=len(matches),
                detected=len(detections),
            ),
            reached_at=int(columns["occurred_at"].max()) if len(columns) else None,
            dead_letters=tuple(dead_letters),
            matches=tuple(
                match_record(match, batch, transactions[match.row], int(offsets[match.row]), detected)
                for match in matches
            ),
            detections=tuple(detections),
            security_findings=dict(decoded.security_findings),
            missing=dict(decoded.missing),
            committed_at=now,
        )
        state.next_offset = effects.next_offset
        state.logged_at = records[-1].timestamp
        rows = _archive_rows(decoded, fresh, columns, features, (probability, anomaly), exposure.tier, reference)
        return Processed(effects, rows)

    def _fresh(
        self, state: PartitionState, decoded: DecodedBatch, records: Sequence[RawRecord]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
        by_offset = _values(records)
        values = [by_offset[offset] for offset in decoded.offsets.tolist()]
        verdicts = state.dedupe.judge(decoded.columns["event_id"].tolist(), values)
        return verdicts == Verdict.FRESH, verdicts

    def _features(self, cards: CardStates, keyed: Columns, history_from: int | None) -> NDArray[np.float32]:
        return compute_features(
            keyed, cards, home_country=self._home_country, timezone=self._timezone, history_from=history_from
        )

    def _score(
        self, features: NDArray[np.float32], scorer: Scorer | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if scorer is None:
            # Rules and exposure alone; an anomaly of 0 is "scored as ordinary", so nothing counts as a failure.
            return np.full(len(features), np.nan, np.float32), np.zeros(len(features), np.float32)
        return scorer.score(features)

    def _detection(
        self,
        decision: Decision,
        batch: ScoredBatch,
        transaction: dict[str, Any],
        keyed: Columns,
        before: Records,
        features: NDArray[np.float32],
        offsets: NDArray[np.int64],
        reference: ReferenceSet,
        now: int,
    ) -> DetectionRecord:
        row = decision.row
        columns = batch.columns
        event_id = columns["event_id"][row]
        occurred_at = int(columns["occurred_at"][row])
        detected_at = occurred_at if self._stream_clock else now
        vector = np.ascontiguousarray(features[row], dtype="<f4")
        earlier = recent_events(self._record_at(row, keyed, before), until_at=occurred_at - 1)
        card_ref = columns["card_ref"][row]
        return DetectionRecord(
            detection_id=detection_id(event_id, "LIVE"),
            event_id=event_id,
            origin="LIVE",
            card_ref=card_ref,
            card_lineage=card_ref,  # lineage over reissue comes with card reference data
            kind=decision.kind,
            tier=decision.tier,
            compromise_event_ids=batch.exposure.compromise_event_ids[row],
            occurred_at=occurred_at,
            detected_at=detected_at,
            probability=finite(batch.probability[row]),
            anomaly=finite(batch.anomaly[row]),
            expected_loss_minor=decision.expected_loss_minor,
            priority_reason=decision.priority_reason,
            reasons=[reason.as_json() for reason in decision.reasons],
            counter_evidence=[reason.as_json() for reason in decision.counter_evidence],
            transaction=transaction,
            recent_events=earlier[-_RECENT_EVENTS:],
            features=vector.tobytes(),
            features_digest=f"{int(feature_digest(vector[np.newaxis])[0]):016x}",
            model_digest=reference.scorer.digest if reference.scorer else None,
            offset=int(offsets[row]),
            due_at=detected_at + self._case_due_ms,
            fraud_probability=decision.fraud_probability,
        )

    def _record_at(self, row: int, keyed: Columns, before: Records) -> np.void:
        """A profile's record as it was just before one of its rows, wherever the batch begins."""
        card_key = keyed["card_key"]
        of_card = np.flatnonzero(card_key[:row] == card_key[row])
        if not len(of_card):
            return cast("np.void", before[row])
        cards = CardStates()
        cards.put(card_key[row : row + 1], before[row : row + 1])
        self._features(cards, keyed.take(of_card), None)
        return cast("np.void", cards.records[0])

    def _quarantined(
        self,
        decoded: DecodedBatch,
        verdicts: NDArray[np.int8],
        records: Sequence[RawRecord],
        exposure: ExposureIndex,
    ) -> list[DeadLetterRecord]:
        conflicts = np.flatnonzero(verdicts == Verdict.CONFLICT).tolist()
        if not conflicts:
            return []
        by_offset = _values(records)
        found = []
        for row in conflicts:
            offset = int(decoded.offsets[row])
            card_ref = decoded.columns["card_ref"][row]
            found.append(
                DeadLetterRecord(
                    offset=offset,
                    error_class="EVENT_ID_REUSED",
                    field_path="event_id",
                    payload_digest=self._decoder.payload_digest(by_offset[offset]),
                    payload_bytes=len(by_offset[offset]),
                    card_ref=card_ref,
                    on_exposed_card=card_ref in exposure,
                    kind="QUARANTINED",
                )
            )
        return found


def _taken(columns: Columns, wanted: NDArray[np.bool_]) -> Columns:
    """The wanted rows; nearly always all of them, and then nothing is copied."""
    return columns if wanted.all() else columns.take(wanted)


def _values(records: Sequence[RawRecord]) -> dict[int, bytes]:
    """The payload at each offset; no payload counts as an empty one."""
    return {record.offset: record.value or b"" for record in records}


def _archive_rows(
    decoded: DecodedBatch,
    fresh: NDArray[np.bool_],
    columns: Columns,
    features: Features,
    scores: tuple[NDArray[np.float32], NDArray[np.float32]],
    tier: NDArray[np.int8],
    reference: ReferenceSet,
) -> ArchiveRows:
    return ArchiveRows(
        columns=columns,
        offsets=decoded.offsets[fresh],
        logged_at=decoded.logged_at[fresh],
        probability=scores[0],
        anomaly=scores[1],
        tiers=tier,
        digests=feature_digest(features),
        reference_set_ids=np.full(len(columns), reference.reference_set_id, np.int64),
    )


def detection_id(event_id: str, origin: str) -> str:
    """The stable id of a detection: the same event and origin give the same id, across restarts and restores."""
    return hashlib.sha256(f"{origin}\x00{event_id}".encode()).hexdigest()[:32]


def _dead_letter(item: DeadLetter, exposure: ExposureIndex) -> DeadLetterRecord:
    return DeadLetterRecord(
        offset=item.offset,
        error_class=str(item.error_class),
        field_path=item.field_path,
        payload_digest=item.payload_digest,
        payload_bytes=item.payload_bytes,
        card_ref=item.card_ref,
        on_exposed_card=item.card_ref in exposure,
    )


def match_record(
    match: RowMatch,
    batch: ScoredBatch,
    transaction: dict[str, Any],
    offset: int,
    detected: Mapping[str, str],
    origin: str = "LIVE",
) -> ExposureMatchRecord:
    """What is stored of a match; `detected` has the detection of an event that has one."""
    row, event_id = match.row, transaction["event_id"]
    return ExposureMatchRecord(
        event_id=event_id,
        compromise_event_id=match.exposure.compromise_event_id,
        card_ref=transaction["card_ref"],
        kind=match.kind,
        tier=match.exposure.tier,
        days_since_window=match.days_since_window,
        occurred_at=int(batch.columns["occurred_at"][row]),
        transaction=transaction,
        probability=finite(batch.probability[row]),
        anomaly=finite(batch.anomaly[row]),
        detection_id=detected.get(event_id),
        offset=offset,
        origin=origin,
    )


def finite(value: float) -> float | None:
    """A score as it is stored: None where there is none."""
    return float(value) if np.isfinite(value) else None
