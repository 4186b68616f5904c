"""Scores by walking trees, one row and one step at a time, from the arrays of a model's bundle.

Numbers are float32 where the product's are; `single` is the rounding to that. Sums and exponentials are float64, so a
score may differ from the product's in the last of its 24 bits: that much, `ONE_STEP`, is no difference.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right

import numpy as np

ONE_STEP = 2.0**-23  # relative: one step between neighbouring float32 numbers
NAN_GOES_LEFT, NAN_GOES_RIGHT, IS_NAN = 0, 1, 2  # which copy of the features a node looks at


def single(number):
    """The nearest float32, as a Python number."""
    if math.isnan(number):
        return math.nan
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)


def same_score(first, second):
    """True for equal scores; None is no score."""
    if first is None or second is None:
        return first is second
    return abs(first - second) <= ONE_STEP * max(abs(first), abs(second))


class ReferenceModel:
    """A model as plain lists, from `arrays.npz` of its bundle."""

    def __init__(self, path, digest):
        with np.load(path, allow_pickle=False) as arrays:
            plain = {name: arrays[name].tolist() for name in arrays.files if not name.startswith("golden_")}
        self.digest = digest
        self.baseline, self.slope, self.intercept, self.path_length = plain["numbers"]
        self.isotonic = (plain["isotonic_from"], plain["isotonic_to"])
        self.medians, self.ranks = plain["medians"], plain["ranks"]
        self.trees = {
            name: (plain[f"{name}_nodes"], plain[f"{name}_values"], plain[f"{name}_roots"])
            for name in ("boosting", "isolation")
            if f"{name}_nodes" in plain
        }

    def score(self, vector):
        """(probability, anomaly) of one feature vector of float32 numbers; a probability of None is none learnt."""
        imputed = [median if math.isnan(x) else x for x, median in zip(vector, self.medians, strict=True)]
        isolated = 2.0 ** (-self.leaf_sum("isolation", imputed, 0.0) / self.path_length)
        steps = [number / (len(self.ranks) - 1) for number in range(len(self.ranks))]
        anomaly = single(interpolated(isolated, self.ranks, steps))
        if "boosting" not in self.trees:
            return None, anomaly
        decision = self.leaf_sum("boosting", vector, self.baseline)
        probability = 1.0 / (1.0 + math.exp(-(self.slope * decision + self.intercept)))
        if self.isotonic[0]:
            probability = interpolated(probability, *self.isotonic)
        return single(probability), anomaly

    def leaf_sum(self, name, vector, total):
        nodes, values, roots = self.trees[name]
        copies = [
            *(-math.inf if math.isnan(x) else x for x in vector),
            *(math.inf if math.isnan(x) else x for x in vector),
            *(float(math.isnan(x)) for x in vector),
        ]
        for root in roots:
            place = root
            while nodes[place][2] != place:  # a leaf points to itself
                threshold, column, left = nodes[place]
                place = left + 1 if copies[column] > threshold else left
            total += values[place]
        return total


def interpolated(x, xs, ys):
    """On the straight lines between points; beyond them, the first and the last."""
    if x >= xs[-1]:
        return ys[-1]
    if x <= xs[0]:
        return ys[0]
    at = bisect_right(xs, x) - 1
    return ys[at] + (x - xs[at]) * (ys[at + 1] - ys[at]) / (xs[at + 1] - xs[at])
