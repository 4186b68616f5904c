"""The compiled trees against scikit-learn's own numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest

from models.forest import NODE, Forest
from models.scoring import _isolation
from models.tree_compiler import (
    TreeCompilerError,
    average_path_length,
    check_equal,
    compile_boosting,
    compile_isolation,
)

WIDTH = 12
EXTREMES = np.array([0, -0.0, 1, -1, 1e-45, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan, 2**24 + 1], np.float32)


def training_data(seed, rows=6_000, missing=0.2):
    """Features of very different sizes, with ties, and NaN that says something in some columns."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, WIDTH)) * 10.0 ** random.integers(-3, 6, WIDTH)
    features[:, 1] = random.integers(0, 3, rows)
    features[:, 2] = np.round(features[:, 2])
    features = features.astype(np.float32)
    risk = 1.0 * (features[:, 0] > 0) + (features[:, 1] == 2) + random.random(rows)
    hidden = random.random(features.shape) < missing
    hidden[:, 3] = risk > 1.5  # missing is all that this column tells, and in the next all that is there
    features[hidden] = np.nan
    features[:, 4] = 0.0
    return features, (risk > 2).astype(np.int8)


def vectors(seed, thresholds, rows=12_000):
    """Random rows, rows of extremes, and rows that lie on and next to the trees' thresholds."""
    random = np.random.default_rng(seed)
    features, _ = training_data(seed + 1, rows)
    extreme = random.random(features.shape) < 0.1
    features[extreme] = random.choice(EXTREMES, extreme.sum())
    on = random.random(features.shape) < 0.3
    with np.errstate(over="ignore"):
        borders = np.asarray(thresholds).astype(np.float32)
        borders = np.concatenate([borders, np.nextafter(borders, np.float32(-9)), np.nextafter(borders, np.float32(9))])
    features[on] = random.choice(borders, on.sum())
    return features


@pytest.mark.parametrize(
    "options",
    [
        {"max_leaf_nodes": 15, "max_depth": 6, "min_samples_leaf": 40, "l2_regularization": 2.0, "max_iter": 60},
        {"max_leaf_nodes": 31, "max_depth": None, "min_samples_leaf": 1, "max_iter": 20},
        {"max_leaf_nodes": 2, "max_iter": 5},
    ],
)
def test_boosting_equals_scikit_learn_bit_for_bit(options):
    features, labels = training_data(1)
    estimator = HistGradientBoostingClassifier(random_state=0, early_stopping=False, **options).fit(features, labels)
    forest, baseline = compile_boosting(estimator)
    nodes = np.concatenate([predictor.nodes for (predictor,) in estimator._predictors])
    tested = vectors(7, nodes["num_threshold"])
    assert len(tested) >= 10_000
    expected = estimator.decision_function(tested)
    assert (forest.leaf_sums(tested, baseline) == expected).all()
    assert len(np.unique(expected)) > 2
    # Otherwise the test would not see a split that only asks whether a value is missing.
    if options["max_leaf_nodes"] > 2:
        assert np.isposinf(nodes["num_threshold"][nodes["is_leaf"] == 0]).any()
        assert set(nodes["missing_go_to_left"][nodes["is_leaf"] == 0]) == {0, 1}


@pytest.mark.parametrize("samples", [2, 256, 1_000])
def test_isolation_equals_scikit_learn(samples):
    features = np.nan_to_num(training_data(2)[0])
    estimator = IsolationForest(n_estimators=50, max_samples=samples, random_state=3).fit(features)
    forest, length = compile_isolation(estimator)
    thresholds = np.concatenate([tree.tree_.threshold for tree in estimator.estimators_])
    tested = np.nan_to_num(vectors(8, thresholds))
    difference = np.abs(-_isolation(forest.leaf_sums(tested, 0.0), length) - estimator.score_samples(tested))
    assert difference.max() <= 1e-12


def test_average_path_length():
    # Liu, Ting, Zhou (2008): c(256) is about 10.24; harmonic numbers by ln and Euler's constant.
    assert average_path_length(1) == 0.0
    assert average_path_length(2) == 1.0
    assert average_path_length(256) == pytest.approx(10.244770920)


def test_a_model_that_differs_is_refused():
    with pytest.raises(TreeCompilerError, match="differs"):
        check_equal(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-15 * 4]), 0.0)
    with pytest.raises(TreeCompilerError, match="differs"):
        check_equal(np.array([np.nan]), np.array([1.0]), 1.0)


def small_forest(**changes):
    """One tree: column 0 <= 0.5 gives 1, otherwise 2."""
    nodes = np.array([(0.5, 0, 1), (np.inf, 0, 1), (np.inf, 0, 2)], dtype=NODE)
    parts = {
        "nodes": nodes,
        "values": np.array([0.0, 1.0, 2.0]),
        "roots": np.zeros(1, np.int32),
        "depths": np.ones(1, np.int32),
    }
    return Forest(**(parts | changes))


def test_a_sound_forest_has_no_problem():
    assert small_forest().problem(1) is None
    assert small_forest().leaf_sums(np.array([[0.5], [0.6], [np.nan]], np.float32), 10.0).tolist() == [11, 12, 11]


def changed_nodes(place, **fields):
    nodes = small_forest().nodes.copy()
    for name, value in fields.items():
        nodes[name][place] = value
    return nodes


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": changed_nodes(0, left=2)},  # its right child lies outside
        {"nodes": changed_nodes(0, left=-1)},
        {"nodes": changed_nodes(1, left=0)},  # backwards: no leaf would be reached
        {"nodes": changed_nodes(0, column=3)},
        {"nodes": changed_nodes(0, column=-1)},
        {"nodes": changed_nodes(0, threshold=np.nan)},
        {"nodes": changed_nodes(1, threshold=0.0)},  # a leaf that one could leave
        {"values": np.array([0.0, np.nan, 1.0])},
        {"values": np.array([0.0, 1.0])},
        {"values": np.zeros(3, np.float32)},
        {"roots": np.ones(1, np.int32)},
        {"roots": np.zeros(0, np.int32), "depths": np.zeros(0, np.int32)},
        {"roots": np.array([0, 3], np.int32), "depths": np.ones(2, np.int32)},
        {"depths": np.full(1, -1, np.int32)},
        {"depths": np.full(1, 2**30, np.int32)},
    ],
)
def test_a_forest_that_must_not_be_walked_is_refused(changes):
    assert small_forest(**changes).problem(1) is not None


@pytest.fixture(scope="module")
def small_model():
    return compile_boosting(HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(*training_data(4, 1_000)))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1_000), st.integers(1, 300), st.integers(1, 130))
def test_a_row_does_not_depend_on_its_neighbours(small_model, seed, rows, size):
    forest, baseline = small_model
    tested = vectors(seed, [0.5], rows)
    whole = forest.leaf_sums(tested, baseline)
    parts = [forest.leaf_sums(tested[start : start + size], baseline) for start in range(0, rows, size)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_serving_imports_no_estimator_code():
    """The modules that serve, in a fresh process: neither scikit-learn nor joblib comes with them."""
    program = (
        "import sys, models.bundle, models.registry, models.scoring, models.features, models.evidence\n"
        "models.features.warm_up()\n"
        "print([name for name in ('sklearn', 'joblib', 'models.training', 'models.estimators') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
