"""Scikit-learn's fitted trees into flat arrays that give the same numbers. Only training uses this.

It reads private attributes (`_predictors[*][0].nodes`, `_baseline_prediction`, `_decision_path_lengths`,
`_average_path_length_per_tree`), so `check_equal` compares every compiled model with its estimator before it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraud.errors import MimamoriError
from models.forest import IS_NAN, NAN_GOES_LEFT, NAN_GOES_RIGHT, NODE, Forest


class TreeCompilerError(MimamoriError):
    """A compiled model does not give its estimator's numbers; it must not be used."""

    code = "TREE_COMPILER"


class _Tree(NamedTuple):
    """(m,) arrays of one tree; a row goes left where feature <= threshold."""

    feature: NDArray[Any]
    threshold: NDArray[np.float64]
    nan_goes_left: NDArray[np.bool_]
    left: NDArray[Any]
    right: NDArray[Any]
    is_leaf: NDArray[np.bool_]
    value: NDArray[np.float64]


def compile_boosting(estimator: Any) -> tuple[Forest, float]:
    """Trees and baseline of a fitted binary `HistGradientBoostingClassifier` without categorical features.

    `forest.leaf_sums(X, baseline)` equals `estimator.decision_function(X)` bit for bit.
    """
    trees = []
    for (predictor,) in estimator._predictors:
        nodes = predictor.nodes
        if nodes["is_categorical"].any():
            message = "categorical splits are not supported"
            raise TreeCompilerError(message)
        trees.append(
            _Tree(
                nodes["feature_idx"],
                nodes["num_threshold"],
                nodes["missing_go_to_left"].astype(np.bool_),
                nodes["left"],
                nodes["right"],
                nodes["is_leaf"].astype(np.bool_),
                nodes["value"],
            )
        )
    return _flatten(trees, estimator.n_features_in_), float(estimator._baseline_prediction.item())


def compile_isolation(estimator: Any) -> tuple[Forest, float]:
    """Trees of a fitted `IsolationForest`, and the path length that halves its score.

    `-2 ** (-forest.leaf_sums(X, 0.0) / length)` equals `estimator.score_samples(X)` to rounding, for X without NaN.
    """
    trees = []
    parts = zip(
        estimator.estimators_,
        estimator.estimators_features_,
        estimator._decision_path_lengths,
        estimator._average_path_length_per_tree,
        strict=True,
    )
    for fitted, features, path_lengths, remaining in parts:
        tree = fitted.tree_
        is_leaf = tree.children_left < 0
        trees.append(
            _Tree(
                features[np.where(is_leaf, 0, tree.feature)],
                tree.threshold,
                np.ones(tree.node_count, np.bool_),
                tree.children_left,
                tree.children_right,
                is_leaf,
                path_lengths + remaining - 1.0,
            )
        )
    length = len(trees) * average_path_length(estimator.max_samples_)
    return _flatten(trees, estimator.n_features_in_), length


def average_path_length(samples: int) -> float:
    """Mean path length of an unsuccessful search among `samples` points (Liu, Ting, Zhou 2008, equation 1)."""
    if samples <= 2:
        return float(samples == 2)
    return 2.0 * float(np.log(samples - 1.0) + np.euler_gamma) - 2.0 * (samples - 1.0) / samples


def check_equal(compiled: NDArray[np.float64], expected: NDArray[np.float64], tolerance: float) -> None:
    """Raise `TreeCompilerError` where two (n,) results differ by more than `tolerance`."""
    difference = np.abs(compiled - expected).max(initial=0.0)
    if not difference <= tolerance:
        message = (
            f"the compiled model differs from its estimator by {difference:.3g}; this scikit-learn is not supported"
        )
        raise TreeCompilerError(message)


def _flatten(trees: Sequence[_Tree], feature_count: int) -> Forest:
    roots = np.cumsum([0] + [len(tree.value) for tree in trees[:-1]]).astype(np.int32)
    parts = [_flatten_tree(tree, int(root), feature_count) for tree, root in zip(trees, roots, strict=True)]
    forest = Forest(
        nodes=np.concatenate([nodes for nodes, _, _ in parts]),
        values=np.concatenate([values for _, values, _ in parts]),
        roots=roots,
        depths=np.array([depth for _, _, depth in parts], np.int32),
    )
    problem = forest.problem(feature_count)
    if problem is not None:
        raise TreeCompilerError(problem)
    return forest


def _flatten_tree(tree: _Tree, root: int, feature_count: int) -> tuple[NDArray[np.void], NDArray[np.float64], int]:
    """Number the nodes breadth first, children of a node side by side."""
    order, depth_of = [0], [0]
    first_child = np.zeros(len(tree.value), np.int64)
    for place, node in enumerate(order):  # grows while it is read
        first_child[place] = place
        if not tree.is_leaf[node]:
            first_child[place] = len(order)
            order += [int(tree.left[node]), int(tree.right[node])]
            depth_of += [depth_of[place] + 1] * 2
    is_leaf = tree.is_leaf[order]
    threshold = _largest_float32(tree.threshold[order])
    # Scikit-learn's split "missing or not" has the threshold infinity, and NaN on the right.
    only_missing = ~is_leaf & np.isposinf(threshold) & ~tree.nan_goes_left[order]
    copy = np.where(only_missing, IS_NAN, np.where(tree.nan_goes_left[order], NAN_GOES_LEFT, NAN_GOES_RIGHT))
    nodes = np.zeros(len(order), NODE)
    nodes["threshold"] = np.where(is_leaf, np.inf, np.where(only_missing, 0.5, threshold))
    nodes["column"] = np.where(is_leaf, 0, tree.feature[order] + copy * feature_count)
    nodes["left"] = first_child + root
    return nodes, np.where(is_leaf, tree.value[order], 0.0), max(depth_of)


def _largest_float32(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each float64: for float32 features `x <= threshold` stays the same."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    too_large = rounded.astype(np.float64) > thresholds
    return np.where(too_large, np.nextafter(rounded, np.float32(-np.inf)), rounded)
