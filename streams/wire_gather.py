"""Strings of many records, found by the compiled reader: each distinct one is taken once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.compiling import compiled_and_cached

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

_SAMPLE: Final = 256  # rows after which it shows whether the strings of a field repeat
_LINE_BREAK: Final = 10


@compiled_and_cached
def gather(  # noqa: C901 - every function called here would count its arrays in and out
    text: Bytes,
    starts: Integers,
    sizes: Integers,
    buckets: NDArray[np.int32],
    packed: Bytes,
    first: Integers,
    which: Integers,
) -> int:
    """Collect the distinct strings of k fields of n records, field by field.

    A field whose strings hardly repeat is collected as it is.

    Args:
        text: the bytes that hold all strings.
        starts: (k, n) for where each string starts.
        sizes: (k, n) for its length in bytes; negative where there is none.
        buckets: at least 2 n, a power of two; overwritten.
        packed: as long as `text`, for the collected strings, a line break behind each.
        first: (k n,) for the place of each collected string: its index in `starts`, as one row.
        which: (k, n) for the number of each string among those collected; -1 where there is none.

    Returns:
        How many bytes of `packed` are used.

    """
    fields, rows = starts.shape
    mask = buckets.size - 1
    every_start, every_size = starts.ravel(), sizes.ravel()
    count = 0
    used = 0
    for field in range(fields):
        buckets[:] = -1
        earlier = count
        repeating = True
        for row in range(rows):
            if row == _SAMPLE:
                repeating = 2 * (count - earlier) < row
            start, size = starts[field, row], sizes[field, row]
            which[field, row] = -1
            if size < 0:
                continue
            if repeating:
                mixed = np.uint64(size)
                for at in range(start, start + size):
                    mixed = (mixed ^ np.uint64(text[at])) * np.uint64(0x100000001B3)  # FNV-1a
                bucket = np.int64(mixed ^ (mixed >> np.uint64(32))) & mask
                while buckets[bucket] >= 0:
                    other = first[buckets[bucket]]
                    if every_size[other] == size:
                        begin = every_start[other]
                        same = 0
                        while same < size and text[start + same] == text[begin + same]:
                            same += 1
                        if same == size:
                            break
                    bucket = (bucket + 1) & mask
                if buckets[bucket] >= 0:
                    which[field, row] = buckets[bucket]
                    continue
                buckets[bucket] = count
            first[count] = field * rows + row
            which[field, row] = count
            count += 1
            for at in range(start, start + size):
                packed[used] = text[at]
                used += 1
            packed[used] = _LINE_BREAK
            used += 1
    return used
