"""Reading a table of reissued cards: old reference, new reference."""

from __future__ import annotations

import numpy as np
from kafka.partitioner.default import murmur2
from numpy.typing import NDArray

from fraud.cards import card_keys, is_card_ref
from fraud.errors import InvalidInputError
from models.profiles import Lineage
from streams.history.mapping import KeyField, LineageMapping
from streams.history.reading import read_batches


def read_lineage(mapping: LineageMapping, message_key: KeyField) -> Lineage:
    """The lineage that the files tell, for a stream whose records have that key.

    Raises:
        InvalidInputError: a row has no two card references, or the lines make no sense; no reference is named.

    """
    old: list[str] = []
    new: list[str] = []
    for path in mapping.files.paths:
        for batch in read_batches(mapping.files, path, (mapping.old, mapping.new)):
            if batch.malformed:
                message = f"{path.name}: row {batch.malformed[0]} has another number of columns"
                raise InvalidInputError(message, field="lineage")
            for row, pair in zip(batch.rows.to_list(), batch.frame.iter_rows(), strict=True):
                if not all(isinstance(ref, str) and is_card_ref(ref) for ref in pair) or pair[0] == pair[1]:
                    message = f"{path.name}: row {row} does not hold two different card references"
                    raise InvalidInputError(message, field="lineage")
                old.append(pair[0])
                new.append(pair[1])
    by_card = message_key == "card_ref"
    hashes = np.array([murmur2(ref.encode()) & 0x7FFFFFFF if by_card else -1 for ref in new], np.int64)
    return Lineage.from_pairs(_keys(old), _keys(new), hashes)


def _keys(refs: list[str]) -> NDArray[np.uint64]:
    return card_keys(np.array(refs, dtype=np.object_)) if refs else np.zeros(0, np.uint64)
