"""The life of a case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.cases import CaseStatus, FraudType, Outcome, Priority, ReasonCode, Resolution, check_step, fold_priority
from fraud.errors import ConflictError, InvalidInputError


def test_only_a_claimed_case_can_be_resolved() -> None:
    check_step(CaseStatus.NEW, CaseStatus.CLAIMED)
    check_step(CaseStatus.CLAIMED, CaseStatus.RESOLVED)
    check_step(CaseStatus.CLAIMED, CaseStatus.NEW)
    for current, to in [
        (CaseStatus.NEW, CaseStatus.RESOLVED),
        (CaseStatus.RESOLVED, CaseStatus.CLAIMED),
        (CaseStatus.RESOLVED, CaseStatus.NEW),
    ]:
        with pytest.raises(ConflictError):
            check_step(current, to)


def test_fraud_has_a_type_and_nothing_else_has() -> None:
    Resolution(Outcome.CONFIRMED_FRAUD, ReasonCode.HOLDER_DENIED, FraudType.CARD_NOT_PRESENT)
    Resolution(Outcome.GENUINE, ReasonCode.HOLDER_CONFIRMED)
    with pytest.raises(InvalidInputError) as missing:
        Resolution(Outcome.CONFIRMED_FRAUD, ReasonCode.HOLDER_DENIED)
    assert missing.value.field == "fraud_type"
    with pytest.raises(InvalidInputError):
        Resolution(Outcome.GENUINE, ReasonCode.HOLDER_CONFIRMED, FraudType.LOST)


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_priority_rises_by_itself_and_never_falls(losses: list[int]) -> None:
    current = Priority(0, "new")
    for loss in losses:
        folded = fold_priority(current, Priority(loss, f"loss {loss}"))
        assert folded.expected_loss_minor >= current.expected_loss_minor
        current = folded
    assert current.expected_loss_minor == max(losses)
    assert current.reason == (f"loss {max(losses)}" if max(losses) else "new")
