"""The reference set that batches run under: exposure version, model, policy and decoder version under one id."""

from __future__ import annotations

import time

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.clock import SystemClock
from fraud.policy import Policy
from fraud.store.cases import quiet_patterns
from fraud.store.database import read, write
from fraud.store.exposure import exposure_changes, exposure_version
from fraud.store.operations import ensure_reference_set
from models.scoring import Scorer
from streams.exposure_index import ExposureIndex
from streams.pipeline import ReferenceSet
from streams.wire import DECODER_VERSION

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0


class References:
    """Keeps the current reference set; looks for changed exposures once a second, between batches."""

    def __init__(self, engine: Engine, policy: Policy, scorer: Scorer | None) -> None:
        self._engine = engine
        self._policy = policy
        self._scorer = scorer
        self._current: ReferenceSet | None = None
        self._next_look = 0.0

    def current(self) -> ReferenceSet:
        """The reference set for the next batch."""
        if self._current is None or time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            self._current = self._look_if_possible(self._current)
        return self._current

    def _look_if_possible(self, before: ReferenceSet | None) -> ReferenceSet:
        """While the database is away the set stays as it is: nothing can be committed under it anyway."""
        try:
            return self._look(before)
        except (OperationalError, InterfaceError) as error:
            if before is None:
                raise
            log.warning("the reference set cannot be looked up; keeping it", error=type(error).__name__)
            return before

    def _look(self, before: ReferenceSet | None) -> ReferenceSet:
        now = int(SystemClock().now().timestamp() * 1000)
        with read(self._engine) as connection:
            version = exposure_version(connection)
            quiet = {ref: frozenset(codes) for ref, codes in quiet_patterns(connection, now).items()}
            if before is not None and before.exposure.version == version:
                if quiet == before.quiet:
                    return before
                return ReferenceSet(before.reference_set_id, before.exposure, self._policy, self._scorer, quiet)
            index = before.exposure if before is not None else ExposureIndex()
            index = index.apply(exposure_changes(connection, index.version), version)
        reference_set_id = self._register(index.version, now)
        log.info("reference set", reference_set=reference_set_id, exposure_version=version, exposed_cards=len(index))
        return ReferenceSet(reference_set_id, index, self._policy, self._scorer, quiet)

    def _register(self, version: int, now: int) -> int:
        digest = self._scorer.digest if self._scorer else None
        content = {
            "exposure_version": version,
            "model_digest": digest,
            "policy_digest": self._policy.digest,
            "decoder_version": DECODER_VERSION,
        }
        with write(self._engine) as connection:
            return ensure_reference_set(connection, version, digest, self._policy.digest, DECODER_VERSION, content, now)
