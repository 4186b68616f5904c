"""Is every record accounted for? Each partition's counters beside the log itself, read record by record.

Up to the position: records = processed + dead letters + duplicates + quarantined, with nothing missing and nothing
counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from fraud.settings import KafkaSettings
from fraud.store.database import read
from fraud.store.effects import list_positions
from fraud.store.inspection import dead_letter_counts
from fraud.store.position_resets import counted_since, counting_baseline
from fraud.store.records import Position
from streams.kafka import topic_id
from streams.log_reading import LogReader, open_log


@dataclass(frozen=True, slots=True)
class PartitionAccount:
    """One partition's account, from `first_offset` to before `next_offset`.

    Args:
        topic_id: the topic's id as the position has it.
        partition: the partition.
        first_offset: where counting begins: the first batch ever, or the last reset.
        next_offset: the position.
        end_offset: the offset after the log's last record.
        records: records in the log between the two, read one by one.
        expired: offsets between them that the log no longer has; each is taken for a record.
        processed, duplicates, quarantined, dead_lettered: what the position's counters say.
        gap: records that nothing accounts for; negative when more was counted than there is.
        faults: what else does not fit, in words.

    """

    topic_id: str
    partition: int
    first_offset: int
    next_offset: int
    end_offset: int
    records: int
    expired: int
    processed: int
    duplicates: int
    quarantined: int
    dead_lettered: int
    gap: int
    faults: tuple[str, ...]

    @property
    def waiting(self) -> int:
        """Offsets that are still to come."""
        return max(0, self.end_offset - self.next_offset)

    @property
    def adds_up(self) -> bool:
        """True when every record is accounted for exactly once."""
        return not self.gap and not self.faults


def reconcile(engine: Engine, settings: KafkaSettings) -> list[PartitionAccount]:
    """The accounts of the group's partitions of the transactions topic. Workers may go on meanwhile."""
    current = topic_id(settings, settings.transactions_topic)
    with read(engine) as connection:
        positions = {
            item.key.partition: item
            for item in list_positions(connection)
            if (item.key.group_id, item.key.topic_id) == (settings.group_id, current)
        }
        counted = {number: _counted(connection, position) for number, position in positions.items()}
    with open_log(settings) as log:
        return [
            _account(log, positions[number], *counted[number])
            if number in positions
            else _untouched(log, settings, current, number)
            for number in log.partitions(settings.transactions_topic)
        ]


def _counted(connection: Connection, position: Position) -> tuple[int, dict[str, int], dict[str, int]]:
    baseline = counting_baseline(connection, position)
    rows = dead_letter_counts(connection, position.key, baseline.first_offset, position.next_offset)
    return baseline.first_offset, counted_since(position, baseline), rows


def _account(
    log: LogReader, position: Position, first: int, counters: dict[str, int], rows: dict[str, int]
) -> PartitionAccount:
    topic, partition = position.key.topic, position.key.partition
    beginning, end = log.bounds(topic, partition)
    start = min(max(first, beginning), position.next_offset)
    beyond = position.next_offset > end
    records = log.count(topic, partition, start, min(position.next_offset, end))
    checks = (
        (beyond, "the position lies beyond the end of the log"),
        (rows["DEAD_LETTER"] != counters["dead_lettered"], "the dead letters counted are not the rows that there are"),
        (rows["QUARANTINED"] != counters["quarantined"], "the quarantined counted are not the rows that there are"),
    )
    return PartitionAccount(
        topic_id=position.key.topic_id,
        partition=partition,
        first_offset=first,
        next_offset=position.next_offset,
        end_offset=end,
        records=records,
        expired=start - first,
        **counters,
        gap=records + start - first - sum(counters.values()),
        faults=tuple(text for holds, text in checks if holds),
    )


def _untouched(log: LogReader, settings: KafkaSettings, topic: str, partition: int) -> PartitionAccount:
    """A partition that no worker has claimed yet: all of it waits."""
    beginning, end = log.bounds(settings.transactions_topic, partition)
    return PartitionAccount(topic, partition, beginning, beginning, end, 0, 0, 0, 0, 0, 0, 0, ())
