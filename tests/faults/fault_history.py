"""A trigger on the positions keeps every step of theirs, so that oracles can judge the way and not only its end."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

_POSTGRESQL = """
CREATE TABLE fault_history (
  step bigserial PRIMARY KEY, transaction_id bigint NOT NULL DEFAULT txid_current(), group_id text, topic_id text,
  partition int, before_offset bigint, next_offset bigint, before_epoch bigint, owner_epoch bigint);
CREATE FUNCTION fault_history() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO fault_history (group_id, topic_id, partition, before_offset, next_offset, before_epoch, owner_epoch)
  VALUES (NEW.group_id, NEW.topic_id, NEW.partition, OLD.next_offset, NEW.next_offset, OLD.owner_epoch,
    NEW.owner_epoch);
  RETURN NULL; END $$;
CREATE TRIGGER fault_history AFTER UPDATE ON position FOR EACH ROW EXECUTE FUNCTION fault_history();
"""

_SQLITE = (
    """
CREATE TABLE fault_history (
  step integer PRIMARY KEY, transaction_id integer, group_id text, topic_id text, partition integer,
  before_offset integer, next_offset integer, before_epoch integer, owner_epoch integer)
""",
    """
CREATE TRIGGER fault_history AFTER UPDATE ON position FOR EACH ROW BEGIN
  INSERT INTO fault_history (group_id, topic_id, partition, before_offset, next_offset, before_epoch, owner_epoch)
  VALUES (NEW.group_id, NEW.topic_id, NEW.partition, OLD.next_offset, NEW.next_offset, OLD.owner_epoch,
    NEW.owner_epoch);
END
""",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one position: by a claim (the epoch moves), by a commit (the offset moves), or a release."""

    step: int
    transaction_id: int | None  # PostgreSQL's; the rows that it wrote carry the same as `xmin`
    topic_id: str
    partition: int
    before_offset: int
    next_offset: int
    before_epoch: int
    owner_epoch: int


def install_history(engine: Engine) -> None:
    """Keep every step of every position from now on."""
    statements = (_POSTGRESQL,) if engine.dialect.name == "postgresql" else _SQLITE
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def read_history(engine: Engine, group_id: str) -> list[Step]:
    """The steps of a group's positions, in their order."""
    names = ", ".join(Step.__slots__)
    with engine.connect() as connection:
        rows = connection.execute(
            text(f"SELECT {names} FROM fault_history WHERE group_id = :own ORDER BY step"),  # noqa: S608
            {"own": group_id},
        )
        return [Step(**row._mapping) for row in rows]
