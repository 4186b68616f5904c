"""Training: transactions and what became of them in, a model that was measured on unseen transactions out.

The features come from the kernel that the stream uses, in log order, so a model never learns from anything that the
stream would not have known. A label counts in training only if it was known when the validation slice starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud.errors import InvalidInputError
from fraud.transactions import Columns
from models.estimators import TrainingSettings, calibrate, fit_boosting, fit_isolation
from models.evaluation import evaluate, score_references
from models.features import SMALL_AMOUNT_MINOR, Features
from models.local_time import DAY_MS
from models.sample import UNKNOWN, Labels, Mask, Sample, Times, make_sample
from models.scoring import Scorer
from models.state import CardStates

__all__ = ["Progress", "TrainedModel", "TrainingSettings", "train"]

Progress = Callable[[str, float], None]

_GOLDEN_ROWS: Final = 256


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A model that is not saved yet.

    Attributes:
        scorer: the compiled model.
        facts: what it was made from and how good it is, as plain data for the manifest.
        estimators: scikit-learn's own objects, for data scientists.
        golden: (k, F) feature vectors for the self-test of the saved model.
    """

    scorer: Scorer
    facts: Mapping[str, Any]
    estimators: Mapping[str, Any]
    golden: Features


def train(
    columns: Columns,
    labels: Labels | None = None,
    *,
    home_country: int,
    timezone: str,
    small_amount_minor: int = SMALL_AMOUNT_MINOR,
    label_known_at: Times | None = None,
    states: CardStates | None = None,
    settings: TrainingSettings | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train on n transactions in log order.

    Args:
        columns: the transactions.
        labels: (n,) 1 fraud, 0 genuine, -1 unknown; None: all unknown. Without enough frauds the model has an anomaly
            score only.
        home_country: see `compute_features`; kept with the model, as the two that follow.
        timezone: likewise.
        small_amount_minor: likewise.
        label_known_at: (n,) when each label became known, epoch milliseconds UTC; None: at once.
        states: card states before the first row, moved past the last; None: no card is known.
        settings: how to train.
        progress: told the step, and the share of all the work that is done, 0 to 1.

    Raises:
        InvalidInputError: labels do not fit the transactions, or a slice is left without any.
        TreeCompilerError: the installed scikit-learn's trees cannot be compiled faithfully.
    """
    settings, report = settings or TrainingSettings(), progress or _silent
    feature_settings = {"home_country": home_country, "timezone": timezone, "small_amount_minor": small_amount_minor}
    states = CardStates() if states is None else states
    sample = make_sample(
        columns, labels, label_known_at, states, feature_settings, lambda done: report("features", 0.3 * done)
    )
    training, validation = _split(sample, settings)

    report("isolation forest", 0.3)
    scorer, isolation = fit_isolation(training.features, settings)
    report("boosted trees", 0.4)
    scorer, boosting = fit_boosting(scorer, training, settings)
    report("calibration", 0.8)
    scorer = replace(calibrate(scorer, validation, settings), feature_settings=feature_settings)
    report("evaluation", 0.85)
    metrics = {name: evaluate(validation, values) for name, values in _scores(scorer, validation).items()}
    if settings.refit:
        report("once more, on all of it", 0.9)
        scorer, boosting = _refit(scorer, boosting, sample, settings)
    cards = len(np.unique(sample.card_keys))
    facts = {
        "data": _data_facts(training, validation, cards),
        "labels": _label_facts(training, validation),
        "training_settings": asdict(settings),
        "metrics": metrics,
        "score_reference": _references(scorer, validation, cards),
    }
    report("done", 1.0)
    return TrainedModel(
        scorer, facts, {"isolation": isolation, "boosting": boosting}, _golden(sample.features, settings.seed)
    )


def _silent(_step: str, _done: float) -> None:
    """Nobody wants to know how far the training is."""


def _split(sample: Sample, settings: TrainingSettings) -> tuple[Sample, Sample]:
    """The training slice, with labels as known at its end, and the validation slice after it."""
    used = sample
    if settings.train_from_at is not None:
        used = sample.take(sample.occurred_at >= settings.train_from_at)
    later = _in_validation(used, settings) if len(used) else np.empty(0, np.bool_)
    training, validation = used.take(~later), used.take(later)
    if not len(training) or not len(validation):
        message = (
            "training needs transactions on at least two local days: some to learn from, later ones to validate on"
        )
        raise InvalidInputError(message, field="columns")
    cut_at = validation.occurred_at.min()
    in_time: Labels = np.where(training.known_at <= cut_at, training.labels, UNKNOWN).astype(np.int8)
    return replace(training, labels=in_time), validation


def _in_validation(sample: Sample, settings: TrainingSettings) -> Mask:
    later: Mask
    if settings.validation_from_at is not None:
        later = sample.occurred_at >= settings.validation_from_at
    else:
        first, last = int(sample.local_days.min()), int(sample.local_days.max())
        days = max(1, round((last - first + 1) * settings.validation_share))
        later = sample.local_days > last - days
    return later


def _data_facts(training: Sample, validation: Sample, cards: int) -> dict[str, Any]:
    return {
        "from_at": int(training.occurred_at.min()),
        "to_at": int(max(training.occurred_at.max(), validation.occurred_at.max())),
        "validation_from_at": int(validation.occurred_at.min()),
        "training_rows": len(training),
        "validation_rows": len(validation),
        "cards": cards,
    }


def _label_facts(training: Sample, validation: Sample) -> dict[str, Any]:
    positive = training.labels == 1
    delays = (training.known_at - training.occurred_at)[positive]
    return {
        "training_positives": int(positive.sum()),
        "training_negatives": int((training.labels == 0).sum()),
        "training_unknown": int((training.labels == UNKNOWN).sum()),
        "validation_positives": int((validation.labels == 1).sum()),
        "validation_negatives": int((validation.labels == 0).sum()),
        "median_delay_days": float(np.median(delays)) / DAY_MS if delays.size else None,
    }


def _refit(measured: Scorer, estimator: Any, sample: Sample, settings: TrainingSettings) -> tuple[Scorer, Any]:
    """The measured model with trees grown on both slices; its calibration and its anomaly score stay."""
    used = sample if settings.train_from_at is None else sample.take(sample.occurred_at >= settings.train_from_at)
    grown, again = fit_boosting(measured, used, settings)
    return replace(measured, boosting=grown.boosting, baseline=grown.baseline), again or estimator


def _scores(scorer: Scorer, sample: Sample) -> dict[str, NDArray[np.float32]]:
    probability, anomaly = scorer.score(sample.features)
    return {"anomaly": anomaly, "probability": probability} if scorer.has_probability else {"anomaly": anomaly}


def _references(scorer: Scorer, validation: Sample, cards: int) -> dict[str, Any]:
    """How the scores of transactions known as genuine are spread; of all, where no label is known.

    A budget is about what reviewers would look at for nothing. Frauds, and the days whose frauds nobody has reported
    yet, would raise the thresholds most when an attack is under way.
    """
    genuine = validation.labels == 0
    sample = validation.take(genuine) if genuine.any() else validation
    return {
        name: {scope: reference.to_json() for scope, reference in references.items()}
        for name, values in _scores(scorer, sample).items()
        for references in [score_references(sample, values, cards=cards)]
    }


def _golden(features: Features, seed: int) -> Features:
    """Real vectors, the same with holes, and the extremes."""
    random = np.random.default_rng(seed)
    real = features[random.integers(0, len(features), _GOLDEN_ROWS)]
    holes = np.where(random.random(real.shape) < 0.3, np.float32(np.nan), real)
    extremes = np.array([np.nan, 0.0, -1.0, 1e30, -1e30, np.inf, -np.inf], np.float32)
    return np.concatenate([real, holes, np.repeat(extremes[:, None], features.shape[1], axis=1)])
