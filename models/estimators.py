"""The learnt parts of a model: fitted by scikit-learn, compiled at once, and compared with what was fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from models.feature_table import FEATURE_NAMES
from models.features import Features
from models.sample import Sample
from models.scoring import QUANTILES, Scorer
from models.tree_compiler import check_equal, compile_boosting, compile_isolation

_CHECKED_ROWS: Final = 5_000
# Path lengths are sums of some hundred logarithms; scikit-learn adds them in another order.
_ISOLATION_TOLERANCE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train. The defaults of the trees are safe below one fraud in a hundred transactions.

    Attributes:
        train_from_at: transactions before it only warm the card states up; epoch milliseconds UTC.
        validation_from_at: start of the validation slice; None takes the last `validation_share` of the local days.
        learning_rate, max_leaves, max_depth, min_samples_leaf, l2, iterations: of the boosted trees.
        feature_share: share of the features that each split may choose from; below 1 it spreads what is learnt.
        unlearned: features that neither score may use. By default those that only grow while a portfolio is watched:
            the stream's values lie beyond all that training saw, and the scores would drift with them.
        refit: after measuring, learn once more from both slices; calibration stays that of the measured model.
        negatives_per_positive: keep so many genuine transactions for each fraud; the probability is corrected. None
            keeps all.
        min_positives: known frauds without which no probability is learnt.
        calibration: of the probability, on the validation slice, if that has `min_calibration_positives` frauds.
            "isotonic" follows the data more closely and makes ties, which coarsen thresholds.
        isolation_trees, isolation_samples: trees of the isolation forest, and transactions that each is grown on.
        seed: of everything random.
    """

    train_from_at: int | None = None
    validation_from_at: int | None = None
    validation_share: float = 0.2
    learning_rate: float = 0.05
    max_leaves: int = 15
    max_depth: int = 6
    min_samples_leaf: int = 40
    l2: float = 2.0
    iterations: int = 200
    feature_share: float = 0.4
    unlearned: tuple[str, ...] = ("history_days", "history_count")
    refit: bool = False
    negatives_per_positive: float | None = None
    min_positives: int = 30
    calibration: Literal["sigmoid", "isotonic", "none"] = "sigmoid"
    min_calibration_positives: int = 50
    isolation_trees: int = 100
    isolation_samples: int = 512
    seed: int = 0


def fit_isolation(features: Features, settings: TrainingSettings) -> tuple[Scorer, IsolationForest]:
    """A model with an anomaly score only, from (n, F) features; labels play no part."""
    medians = np.array([_median(column) for column in features.T], np.float32)
    imputed = np.where(np.isnan(features), medians, features)
    imputed[:, _unlearned(settings)] = 0.0
    estimator = IsolationForest(
        n_estimators=settings.isolation_trees,
        max_samples=min(settings.isolation_samples, len(features)),
        random_state=settings.seed,
    ).fit(imputed)
    forest, path_length = compile_isolation(estimator)
    scorer = Scorer(
        boosting=None,
        baseline=0.0,
        slope=1.0,
        intercept=0.0,
        isotonic_from=np.empty(0),
        isotonic_to=np.empty(0),
        isolation=forest,
        path_length=path_length,
        medians=medians,
        ranks=np.zeros(QUANTILES),
    )
    check_equal(
        -scorer.isolation_score(features[:_CHECKED_ROWS]),
        estimator.score_samples(imputed[:_CHECKED_ROWS]),
        _ISOLATION_TOLERANCE,
    )
    ranks = np.quantile(scorer.isolation_score(features), np.linspace(0.0, 1.0, QUANTILES))
    # What is more unusual than anything in training must not all tie at the top, or a small alert budget would have no
    # threshold: the last step goes on to the highest score there can be.
    ranks[-1] = 1.0
    return replace(scorer, ranks=ranks), estimator


def fit_boosting(
    scorer: Scorer, sample: Sample, settings: TrainingSettings
) -> tuple[Scorer, HistGradientBoostingClassifier | None]:
    """The model with a probability, learnt from the sample's known labels; without enough frauds, as it was."""
    positives, negatives = np.flatnonzero(sample.labels == 1), np.flatnonzero(sample.labels == 0)
    if positives.size < max(settings.min_positives, 1) or not negatives.size:
        return scorer, None
    kept = _some(negatives, positives.size, settings)
    rows = np.sort(np.append(positives, kept))
    features = sample.features[rows]
    # Scikit-learn cannot bin a column without any value; no tree splits a constant one.
    features[:, np.isnan(features).all(axis=0) | _unlearned(settings)] = 0.0
    estimator = HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_leaf_nodes=settings.max_leaves,
        max_depth=settings.max_depth,
        min_samples_leaf=settings.min_samples_leaf,
        l2_regularization=settings.l2,
        max_iter=settings.iterations,
        max_features=settings.feature_share,
        early_stopping=False,
        random_state=settings.seed,
    ).fit(features, sample.labels[rows])
    forest, baseline = compile_boosting(estimator)
    checked = features[:_CHECKED_ROWS]
    check_equal(forest.leaf_sums(checked, baseline), estimator.decision_function(checked), 0.0)
    # Fewer negatives raise the odds by the inverse of the share kept (Elkan 2001, theorem 2).
    intercept = float(np.log(kept.size / negatives.size))
    return replace(scorer, boosting=forest, baseline=baseline, intercept=intercept), estimator


def calibrate(scorer: Scorer, sample: Sample, settings: TrainingSettings) -> Scorer:
    """The model with its probability calibrated on the sample's known labels, if there are enough frauds."""
    known = sample.take(sample.labels >= 0)
    too_few = int((known.labels == 1).sum()) < settings.min_calibration_positives
    if settings.calibration == "none" or not scorer.has_probability or too_few or known.labels.all():
        return scorer
    decisions = scorer.decision(known.features)
    # Platt (1999), without regularisation to speak of.
    fitted = LogisticRegression(C=1e6).fit(decisions[:, None], known.labels)
    slope = float(fitted.coef_.item())
    if not slope > 0:  # would turn the order round: the model says nothing about this slice
        return scorer
    scorer = replace(scorer, slope=slope, intercept=float(fitted.intercept_.item()))
    if settings.calibration == "sigmoid":
        return scorer
    isotonic = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    isotonic.fit(scorer.probability(known.features), known.labels)
    points: tuple[NDArray[np.float64], NDArray[Any]] = isotonic.X_thresholds_, isotonic.y_thresholds_
    return replace(scorer, isotonic_from=points[0], isotonic_to=points[1].astype(np.float64))


def _unlearned(settings: TrainingSettings) -> NDArray[np.bool_]:
    """(F,) the columns that are made constant, so that no tree splits on them."""
    return np.isin(FEATURE_NAMES, settings.unlearned)


def _median(column: NDArray[np.float32]) -> float:
    known = column[~np.isnan(column)]
    return float(np.median(known)) if known.size else 0.0


def _some(negatives: NDArray[np.int64], positives: int, settings: TrainingSettings) -> NDArray[np.int64]:
    if settings.negatives_per_positive is None:
        return negatives
    size = min(negatives.size, max(1, round(settings.negatives_per_positive * positives)))
    return np.random.default_rng(settings.seed).choice(negatives, size, replace=False)
