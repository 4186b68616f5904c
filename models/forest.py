"""Decision trees as flat arrays, and the compiled walk that adds up their leaves.

A walk takes the same number of steps in every row of a tree: a leaf points to itself. Missing values cost no extra
comparison, because each node reads one of three copies of the features: one where NaN is the smallest number, so that
it goes left; one where it is the largest, so that it goes right; and one that only says whether it is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiling import compiled_and_cached

# Go to `left`, or to `left + 1` where `column` is greater than `threshold`.
NODE: Final = np.dtype([("threshold", "<f4"), ("column", "<i4"), ("left", "<i4")], align=True)

NAN_GOES_LEFT: Final = 0  # copies of the features; column = copy * number of features + feature
NAN_GOES_RIGHT: Final = 1
IS_NAN: Final = 2

_BLOCK: Final = 64  # rows walked together: their features and one tree stay in the first-level cache


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees, one after the other.

    Attributes:
        nodes: (m,) records of `NODE`; positions count from the first node of the first tree. Children of one node are
            neighbours and come after it.
        values: (m,) float64, what a leaf adds.
        roots: (t,) int32, first node of each tree.
        depths: (t,) int32, steps to the deepest leaf of each tree.
    """

    nodes: NDArray[np.void]
    values: NDArray[np.float64]
    roots: NDArray[np.int32]
    depths: NDArray[np.int32]

    def leaf_sums(self, features: NDArray[np.float32], start: float) -> NDArray[np.float64]:
        """(n,) `start` plus the leaf values of (n, F) features, added in the order of the trees."""
        sums = np.full(len(features), start)
        _add_leaves(
            np.require(features, np.float32, ["C", "W"]), self.nodes, self.values, self.roots, self.depths, sums
        )
        return sums

    def problem(self, feature_count: int) -> str | None:
        """Why these arrays must not be walked, or None. The walk itself checks no bounds."""
        count = len(self.nodes)
        shapes = self.values.shape == (count,) and self.roots.shape == self.depths.shape and self.roots.ndim == 1
        types = self.nodes.dtype == NODE and self.values.dtype == np.float64
        types = types and self.roots.dtype == self.depths.dtype == np.int32
        if not (shapes and types and count > 0 and self.roots.size > 0):
            return "tree arrays have a wrong type or shape"
        ends = np.append(self.roots[1:], count)
        if self.roots[0] != 0 or (self.roots >= ends).any() or (self.depths < 0).any() or (self.depths > count).any():
            return "trees overlap or are empty"
        column, left, places = self.nodes["column"], self.nodes["left"], np.arange(count)
        end = np.repeat(ends, ends - self.roots)
        leaf = left == places
        inside = leaf | ((left > places) & (left + 1 < end))
        if not inside.all() or (column < 0).any() or (column >= 3 * feature_count).any():
            return "a node points outside its tree or the features"
        if not np.isfinite(self.values).all() or not (np.isposinf(self.nodes["threshold"]) | ~leaf).all():
            return "a leaf is not finite, or is not a leaf"
        if np.isnan(self.nodes["threshold"]).any():
            return "a threshold is not a number"
        return None


@compiled_and_cached
def _copy_features(features: Any, start: int, count: int, copies: Any) -> None:
    """Fill (count, 3 * F) copies from row `start` on."""
    width = features.shape[1]
    for row in range(count):
        for column in range(width):
            value = features[start + row, column]
            missing = np.isnan(value)
            copies[row, column] = -np.inf if missing else value
            copies[row, width + column] = np.inf if missing else value
            copies[row, 2 * width + column] = missing


@compiled_and_cached
def _add_leaves(features: Any, nodes: Any, values: Any, roots: Any, depths: Any, sums: Any) -> None:
    copies = np.empty((_BLOCK, 3 * features.shape[1]), np.float32)
    places = np.empty(_BLOCK, np.int64)
    for start in range(0, features.shape[0], _BLOCK):
        count = min(_BLOCK, features.shape[0] - start)
        _copy_features(features, start, count, copies)
        for tree in range(roots.size):
            places[:count] = roots[tree]
            for _ in range(depths[tree]):
                for row in range(count):
                    node = nodes[places[row]]
                    places[row] = node.left + (copies[row, node.column] > node.threshold)
            for row in range(count):
                sums[start + row] += values[places[row]]
