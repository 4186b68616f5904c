"""The reference set that batches run under: exposure version, model, policy and decoder version under one id."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.clock import now_ms
from fraud.policy import Policy
from fraud.store.database import read, write
from fraud.store.exposure import exposure_changes, exposure_version, exposures_before
from fraud.store.labels import quiet_patterns
from fraud.store.operations import ensure_reference_set, reference_set_content
from models.scoring import Scorer
from streams.exposure_index import ExposureIndex
from streams.pipeline import ReferenceSet
from streams.wire import DECODER_VERSION

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0
_EARLIER_KEPT = 8


class References:
    """Keeps the current reference set; looks for a new exposure version once a second, between batches.

    Args:
        engine: the database.
        policy: the policy in force.
        scorer: the model that scores; None for rules and exposure alone.
        load_scorer: gives an earlier model by its digest, for silent replay.
        history_from: since when the deployment has history, epoch milliseconds UTC; None: for as long as features look.

    """

    def __init__(
        self,
        engine: Engine,
        policy: Policy,
        scorer: Scorer | None,
        load_scorer: Callable[[str], Scorer],
        history_from: int | None = None,
    ) -> None:
        self._history_from = history_from
        self._engine = engine
        self._policy = policy
        self._scorer = scorer
        self._load_scorer = load_scorer
        self._current: ReferenceSet | None = None
        self._earlier: dict[int, ReferenceSet] = {}  # of replays: looked up once, and not for every poll
        self._next_look = 0.0

    def current(self) -> ReferenceSet:
        """The reference set for the next batch. While the database is away the set stays as it is."""
        if self._current is None or time.monotonic() >= self._next_look:
            try:
                return self.refresh()
            except (OperationalError, InterfaceError) as error:
                if self._current is None:
                    raise
                self._next_look = time.monotonic() + _LOOK_SECONDS
                log.warning("the reference set cannot be looked up; keeping it", error=type(error).__name__)
        return self._current

    def refresh(self) -> ReferenceSet:
        """Look now: afterwards the set is at least as new as any that was recorded before the call."""
        self._current = self._look(self._current)
        self._next_look = time.monotonic() + _LOOK_SECONDS
        return self._current

    def recorded(self, reference_set_id: int) -> ReferenceSet:
        """A set as it was recorded, for scoring a record again as it was scored.

        Its policy is the current one, and nothing is quiet: nothing is decided in a replay.

        `NotFoundError` for a set that was never recorded; `ModelBundleError` when its model is no longer there.
        """
        current = self._current or self.refresh()
        if reference_set_id == current.reference_set_id:
            return current
        if reference_set_id not in self._earlier:
            if len(self._earlier) >= _EARLIER_KEPT:
                self._earlier.clear()
            self._earlier[reference_set_id] = self._look_up(reference_set_id, current)
        return self._earlier[reference_set_id]

    def _look_up(self, reference_set_id: int, current: ReferenceSet) -> ReferenceSet:
        with read(self._engine) as connection:
            content = reference_set_content(connection, reference_set_id)
            exposure = current.exposure
            if content["exposure_version"] != exposure.version:
                version = int(content["exposure_version"])
                exposure = exposure.apply(exposures_before(connection, version), version)
        return ReferenceSet(
            reference_set_id,
            exposure,
            self._policy,
            self._scorer_of(content["model_digest"]),
            history_from=content.get("history_from"),
        )

    def _scorer_of(self, digest: str | None) -> Scorer | None:
        if digest is None:
            return None
        if self._scorer is not None and self._scorer.digest == digest:
            return self._scorer
        return self._load_scorer(digest)

    def _look(self, before: ReferenceSet | None) -> ReferenceSet:
        index = before.exposure if before is not None else ExposureIndex()
        with read(self._engine) as connection:
            version = exposure_version(connection)
            if before is not None and index.version == version:
                return before
            index = index.apply(exposure_changes(connection, index.version), version)
            quiet = quiet_patterns(connection, version)
        reference_set_id = self._register(index.version)
        log.info("reference set", reference_set=reference_set_id, exposure_version=version, exposed_cards=len(index))
        return ReferenceSet(reference_set_id, index, self._policy, self._scorer, quiet, self._history_from)

    def _register(self, version: int) -> int:
        digest = self._scorer.digest if self._scorer else None
        more = {} if self._history_from is None else {"history_from": self._history_from}
        with write(self._engine) as connection:
            return record_reference_set(connection, version, digest, self._policy, more, now_ms())


def record_reference_set(
    connection: Connection,
    exposure_version: int,
    model_digest: str | None,
    policy: Policy,
    more: Mapping[str, Any],
    now: int,
) -> int:
    """The id of a reference set, which is recorded whole when it is new; `more` is what else belongs to it."""
    content = {
        "exposure_version": exposure_version,
        "model_digest": model_digest,
        "policy_digest": policy.digest,
        "policy": {**asdict(policy), "tier_odds": list(policy.tier_odds)},
        "decoder_version": DECODER_VERSION,
        **more,
    }
    return ensure_reference_set(
        connection, exposure_version, model_digest, policy.digest, DECODER_VERSION, content, now
    )
