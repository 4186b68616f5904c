"""Scoring: fraud probability and anomaly of feature vectors, from plain arrays. No scikit-learn, no pickle.

The probability is the boosted trees' decision, calibrated; NaN in a model that was trained without labels. The anomaly
is the rank of the isolation forest's score among the training scores: 0.99 means that 99 % of the training transactions
looked more usual. Above 0.999 it goes on rising with the score itself, so that the most unusual ones never tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud.errors import MimamoriError
from models.compiling import compiled_and_cached
from models.feature_table import FEATURE_NAMES
from models.features import Features
from models.forest import Forest

Arrays = Mapping[str, NDArray[Any]]
Doubles = NDArray[np.float64]

QUANTILES: Final = 1_001  # points of the anomaly's rank table
_FOREST_PARTS: Final = ("nodes", "values", "roots", "depths")
_RANK_STEPS: Final = np.linspace(0.0, 1.0, QUANTILES)


class InvalidModelError(MimamoriError):
    """The arrays of a model do not fit together, or hold numbers that no model has."""

    code = "INVALID_MODEL"


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """A model, ready to score.

    Attributes:
        boosting: trees of the fraud probability; None in a model without one.
        baseline: where their sum starts (log odds).
        slope, intercept: of the sigmoid calibration, on the decision.
        isotonic_from, isotonic_to: (k,) points of the isotonic calibration, on the sigmoid's result; empty without one.
        isolation: trees of the anomaly.
        path_length: total path length of an average transaction.
        medians: (F,) stands in for NaN, in the anomaly only.
        ranks: (QUANTILES,) training quantiles of the isolation score, ascending; the last is 1, its upper limit.
        digest: the bundle's name; empty before the model is saved.
        feature_settings: the arguments of `compute_features` that the model was trained with.
    """

    boosting: Forest | None
    baseline: float
    slope: float
    intercept: float
    isotonic_from: Doubles
    isotonic_to: Doubles
    isolation: Forest
    path_length: float
    medians: NDArray[np.float32]
    ranks: Doubles
    digest: str = ""
    feature_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_probability(self) -> bool:
        """False in a model that was trained without labels."""
        return self.boosting is not None

    def score(self, features: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n,) fraud probability and (n,) anomaly of (n, F) features, both 0 to 1, higher is worse.

        A row's numbers do not depend on the other rows of the call.
        """
        return self.probability(features).astype(np.float32), self.anomaly(features).astype(np.float32)

    def decision(self, features: Features) -> Doubles:
        """(n,) log odds before calibration: the estimator's `decision_function`, bit for bit; NaN without one."""
        if self.boosting is None:
            return np.full(len(features), np.nan)
        return self.boosting.leaf_sums(features, self.baseline)

    def probability(self, features: Features) -> Doubles:
        """(n,) calibrated probability of fraud."""
        probability: Doubles = _sigmoid(self.decision(features), self.slope, self.intercept)
        if self.isotonic_from.size:
            probability = np.interp(probability, self.isotonic_from, self.isotonic_to)
        return probability

    def isolation_score(self, features: Features) -> Doubles:
        """(n,) 0 to 1: the isolation forest's `score_samples` with the sign turned; higher is more unusual."""
        imputed = np.where(np.isnan(features), self.medians, features)
        return _isolation(self.isolation.leaf_sums(imputed, 0.0), self.path_length)

    def anomaly(self, features: Features) -> Doubles:
        """(n,) rank of the isolation score among the training scores."""
        anomaly: Doubles = np.interp(self.isolation_score(features), self.ranks, _RANK_STEPS)
        return anomaly

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but digest and settings, as plain arrays under fixed names."""
        numbers = (self.baseline, self.slope, self.intercept, self.path_length)
        arrays: dict[str, NDArray[Any]] = {
            "numbers": np.array(numbers),
            "isotonic_from": self.isotonic_from,
            "isotonic_to": self.isotonic_to,
            "medians": self.medians,
            "ranks": self.ranks,
        }
        for name, forest in (("boosting", self.boosting), ("isolation", self.isolation)):
            if forest is not None:
                arrays |= {f"{name}_{part}": getattr(forest, part) for part in _FOREST_PARTS}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, digest: str, feature_settings: Mapping[str, Any]) -> Scorer:
        """A scorer from what `arrays` gave.

        Raises:
            InvalidModelError: an array is missing, has another type or shape, holds NaN or infinity, or describes
                trees that must not be walked.
        """
        width = len(FEATURE_NAMES)
        baseline, slope, intercept, path_length = _finite(arrays, "numbers", np.float64, 4).tolist()
        points = arrays["isotonic_from"].size if "isotonic_from" in arrays else 0
        isolation = _forest(arrays, "isolation")
        if isolation is None or not path_length > 0:
            message = "the model has no isolation forest"
            raise InvalidModelError(message)
        return cls(
            boosting=_forest(arrays, "boosting"),
            baseline=baseline,
            slope=slope,
            intercept=intercept,
            isotonic_from=_finite(arrays, "isotonic_from", np.float64, points),
            isotonic_to=_finite(arrays, "isotonic_to", np.float64, points),
            isolation=isolation,
            path_length=path_length,
            medians=_finite(arrays, "medians", np.float32, width),
            ranks=_finite(arrays, "ranks", np.float64, QUANTILES),
            digest=digest,
            feature_settings=dict(feature_settings),
        )


def _finite(arrays: Arrays, name: str, dtype: Any, size: int) -> NDArray[Any]:
    if name not in arrays or arrays[name].dtype != dtype or arrays[name].shape != (size,):
        message = f"the model's array {name} is missing or has another type or shape"
        raise InvalidModelError(message)
    if not np.isfinite(arrays[name]).all():
        message = f"the model's array {name} holds NaN or infinity"
        raise InvalidModelError(message)
    return arrays[name]


def _forest(arrays: Arrays, name: str) -> Forest | None:
    names = [f"{name}_{part}" for part in _FOREST_PARTS]
    if not any(part in arrays for part in names):
        return None
    if not all(part in arrays for part in names):
        message = f"the model's {name} trees are incomplete"
        raise InvalidModelError(message)
    forest = Forest(*(arrays[part] for part in names))
    problem = forest.problem(len(FEATURE_NAMES))
    if problem is not None:
        message = f"the model's {name} trees: {problem}"
        raise InvalidModelError(message)
    return forest


# One row at a time in the C library's own functions, so that a row's result never depends on its neighbours.
@compiled_and_cached
def _sigmoid(decisions: Doubles, slope: float, intercept: float) -> Doubles:
    out = np.empty_like(decisions)
    for row in range(decisions.size):
        out[row] = 1.0 / (1.0 + np.exp(-(slope * decisions[row] + intercept)))
    return out


@compiled_and_cached
def _isolation(path_lengths: Doubles, average: float) -> Doubles:
    out = np.empty_like(path_lengths)
    for row in range(path_lengths.size):
        out[row] = 2.0 ** (-path_lengths[row] / average)
    return out
