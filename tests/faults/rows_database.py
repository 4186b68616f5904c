"""Rows 12 to 15: the database is away, its answer is lost, it is slow or refuses, or it is restored from a backup."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
from fault_proxy import FINE, Weather
from fault_schedule import KAFKA, Run, Schedule
from fault_subject import Member
from oracles import Readiness
from sqlalchemy import make_url

from fraud.settings import PREFIX

_AWAY_SECONDS = 15.0  # in place of five minutes: longer than every delay between retries


@contextlib.contextmanager
def session(run: Run, database: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    """A session of its own on the database server, past every proxy."""
    url = make_url(run.services.postgresql.url())
    own = make_url(run.subject.settings.database_url.get_secret_value())
    name = database or own.database
    with psycopg.connect(host=url.host, port=url.port, user=url.username, dbname=name, autocommit=True) as connection:
        yield connection


def _settled(run: Run, member: Member) -> None:
    """What holds of every fault of the database that passes: no worker ends, and none of it becomes a dead letter."""
    run.expect(not member.ended, "the worker ended because of the database")


def away_at_the_start(run: Run) -> None:
    """Not there when the worker starts: its supervisor tries until it is."""
    subject, database = run.subject, run.services.postgresql
    run.publish(0.5)
    first = subject.start()
    subject.wait_for_share(0.3)
    subject.stop(first)
    subject.engine.dispose()
    database.kill()
    with subject.supervised():
        member = subject.start()
        subject.wait(lambda: member.ended, "it ends, since it cannot even look at its positions")
        run.expect(not subject.said(member, "Traceback"), "it ends with a traceback instead of a sentence")
        database.start()
        subject.wait_for_share(0.5)


def away_in_a_transaction(run: Run) -> None:
    """Dies between a batch's statements and their COMMIT."""
    subject, database = run.subject, run.services.postgresql
    run.publish(0.5)
    member = subject.start(point="before COMMIT", passing=run.rng.randint(1, 3), how="stop", armed=True)
    subject.wait_for_share(0.2)
    subject.arm()
    subject.wait(member.mark.exists, "it is about to commit")
    database.kill()
    subject.go_on(member)
    subject.idle(2.0)
    database.start()
    run.publish(1.0)
    subject.wait_until_idle()
    _settled(run, member)


def away_for_long(run: Run, how: str) -> None:
    """Away for longer than every delay: the worker stays a member, is alive, is not ready, and goes on."""
    subject, database = run.subject, run.services.postgresql
    run.publish(0.5)
    member = subject.start()
    subject.wait_for_share(0.2)
    subject.wait(lambda: subject.probe(member, "ready"), "it is ready")
    getattr(database, how)()
    subject.note(f"database: {how}")
    run.publish(0.8)
    subject.idle(_AWAY_SECONDS)
    for number in range(3):
        said = subject.probe(member, "ready")
        if said is not None:
            run.readiness.append(Readiness(float(number), said, true=False))
        run.expect(subject.probe(member, "live") is True, "the liveness probe failed while the database was away")
        subject.idle(0.5)
    database.start()
    subject.note("database: started")
    run.publish(1.0)
    subject.wait_until_idle()
    subject.wait(lambda: subject.probe(member, "ready"), "it is ready again")
    _settled(run, member)


def commit_unknown(run: Run, *, done: bool) -> None:
    """The connection is cut at COMMIT, again and again: after the server has done it, or before it has heard of it."""
    subject, proxy = run.subject, run.subject.database_proxy
    assert proxy is not None
    run.publish(0.3)
    member = subject.start()
    subject.wait_for_share(0.2)
    for number in range(8):
        run.publish(0.3 + 0.7 * (number + 1) / 8, behind=True)
        cuts, done_before = proxy.cuts, subject.accounted()
        proxy.set(Weather(cut_at=b"COMMIT", cut_after_answer=done))
        subject.wait(lambda cuts=cuts: proxy.cuts > cuts, "a COMMIT is cut")
        subject.wait(lambda so_far=done_before: subject.accounted() > so_far, "it goes on")
        subject.idle(run.rng.uniform(0.0, 0.3))
    proxy.set(FINE)
    subject.wait_until_sent()
    subject.wait_until_idle()
    run.facts["cuts"] = proxy.cuts
    run.expect(subject.said(member, "commit failed; retrying"), "no cut has hit a batch's commit")
    _settled(run, member)


def slow(run: Run) -> None:
    """Every message to and from the database waits a third of a second."""
    subject, proxy = run.subject, run.subject.database_proxy
    assert proxy is not None
    run.publish(0.5)
    member = subject.start()
    subject.wait_for_share(0.2)
    proxy.set(Weather(delay_seconds=0.3))
    run.publish(0.7)
    subject.idle(12.0)
    run.expect(subject.probe(member, "live") is True, "the liveness probe failed while the database was slow")
    proxy.set(FINE)
    run.publish(1.0)
    subject.wait_until_idle()
    _settled(run, member)


def half_open(run: Run) -> None:
    """Answers of the database are lost and its connections stay open, until the network resets them."""
    subject, proxy = run.subject, run.subject.database_proxy
    assert proxy is not None
    run.publish(0.5)
    member = subject.start()
    subject.wait_for_share(0.2)
    proxy.set(Weather(answers_lost=True))
    run.publish(0.8)
    subject.idle(8.0)
    proxy.set(FINE, reset=True)
    subject.wait_until_idle()
    _settled(run, member)


def deaf(run: Run) -> None:
    """The sessions that there are hear nothing ever again, as behind a firewall that has forgotten them; new ones do.

    Nothing but the watchdog can help the worker then: it ends the process, and the next one goes on.
    """
    subject, proxy = run.subject, run.subject.database_proxy
    assert proxy is not None
    run.publish(0.5)
    with subject.supervised():
        subject.start(environment={f"{PREFIX}KAFKA__MAX_POLL_INTERVAL_MS": "10000"})
        subject.wait_for_share(0.2)
        proxy.deafen()
        subject.note("the sessions are deaf")
        run.publish(1.0)
        subject.wait_until_idle()
    run.expect(subject.restarts <= 2, f"the worker ended {subject.restarts} times")


def locked(run: Run, what: str) -> None:
    """Another session holds a lock that every commit needs, for five seconds."""
    subject = run.subject
    run.publish(0.5)
    member = subject.start()
    subject.wait_for_share(0.2)
    with session(run) as other, other.transaction():
        other.execute(what)
        subject.note(f"locked: {what}")
        run.publish(0.8)
        subject.idle(5.0)
    run.publish(1.0)
    subject.wait_until_idle()
    _settled(run, member)


def deadlock(run: Run) -> None:
    """The worker has its positions and wants a table; another session has the table and wants the positions."""
    subject = run.subject
    run.publish(0.5)
    member = subject.start(point="position moved, effects not written", passing=2, how="stop", armed=True)
    subject.wait_for_share(0.2)
    subject.arm()
    run.publish(0.8)
    subject.wait(member.mark.exists, "it has moved its positions")
    failed = threading.Event()

    def want_positions(other: psycopg.Connection[Any]) -> None:
        with contextlib.suppress(psycopg.Error):
            other.execute("UPDATE position SET updated_at = updated_at")
            return
        failed.set()

    with session(run) as other:
        other.execute("SET deadlock_timeout = '60s'")  # the worker finds out first, and is the one to give way
        with other.transaction(), contextlib.suppress(psycopg.Error):
            other.execute("LOCK TABLE exposure_match, dead_letter, detection IN ACCESS EXCLUSIVE MODE")
            waiting = threading.Thread(target=want_positions, args=(other,))
            waiting.start()
            subject.idle(0.5)
            subject.go_on(member)
            waiting.join(30)
    run.expect(not failed.is_set(), "the other session gave way: this was no deadlock of the worker's")
    run.publish(1.0)
    subject.wait_until_idle()
    run.expect(subject.said(member, "commit failed; retrying"), "the worker has not seen the deadlock")
    _settled(run, member)


def serialization(run: Run) -> None:
    """Under repeatable read, another session changes the positions while a commit waits for them."""
    subject = run.subject
    with session(run) as other:
        name = make_url(subject.settings.database_url.get_secret_value()).database
        other.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'")
    run.publish(0.5)
    member = subject.start()
    subject.wait_for_share(0.2)
    run.publish(0.8)
    with session(run) as other:
        other.execute("SET default_transaction_isolation = 'read committed'")
        for _ in range(4):
            with other.transaction():
                other.execute("UPDATE position SET updated_at = updated_at")
                subject.idle(0.5)
    run.publish(1.0)
    subject.wait_until_idle()
    run.expect(subject.said(member, "commit failed; retrying"), "no commit has met a serialization failure")
    _settled(run, member)


def sessions_killed(run: Run) -> None:
    """The server ends the worker's sessions: one in the middle of its transaction, then all of them three times."""
    subject = run.subject
    name = make_url(subject.settings.database_url.get_secret_value()).database
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    run.publish(0.5)
    member = subject.start(point="position moved, effects not written", passing=2, how="stop", armed=True)
    subject.wait_for_share(0.2)
    subject.arm()
    run.publish(0.8)
    subject.wait(member.mark.exists, "it is in its transaction")
    subject.engine.dispose()
    with session(run, "postgres") as other:
        other.execute(kill, [name])
        subject.note("sessions ended")
        subject.go_on(member)
        for _ in range(3):
            time.sleep(run.rng.uniform(0.2, 1.0))
            other.execute(kill, [name])
    run.publish(1.0)
    subject.wait_until_idle()
    _settled(run, member)


def restored(run: Run) -> None:
    """A backup of the middle is put back when nearly all is done: positions and effects go back together."""
    subject = run.subject
    name = make_url(subject.settings.database_url.get_secret_value()).database
    run.publish(0.5)
    first = subject.start()
    subject.wait_for_share(0.4)
    subject.kill(first)
    subject.engine.dispose()
    copy = 'CREATE DATABASE "{0}" TEMPLATE "{1}" STRATEGY FILE_COPY'
    with session(run, "postgres") as server:
        server.execute(copy.format(f"{name}_backup", name))
        at = subject.accounted()
        subject.note(f"backup made at {at}")
        second = subject.start()
        run.publish(0.9)
        subject.wait_for_share(0.9)
        subject.stop(second)
        run.facts["rewound"] = subject.accounted() - at
        subject.engine.dispose()
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        server.execute(copy.format(name, f"{name}_backup"))
        server.execute(f'DROP DATABASE "{name}_backup" WITH (FORCE)')
    subject.note("backup restored")
    run.expect(subject.accounted() == at, "the backup is not where it was made")
    run.expect(run.facts["rewound"] > 0, "nothing was rewound")


SCHEDULES = [
    Schedule(12, "database away at the start", away_at_the_start),
    Schedule(12, "database dies in a transaction", away_in_a_transaction, smoke=(KAFKA,)),
    Schedule(12, "database dies, away for 15 s", partial(away_for_long, how="kill")),
    Schedule(12, "database shut down, away for 15 s", partial(away_for_long, how="stop")),
    Schedule(
        13,
        "COMMIT done, its answer lost",
        partial(commit_unknown, done=True),
        proxied=("database",),
        smoke=(KAFKA,),
    ),
    Schedule(13, "COMMIT lost on its way", partial(commit_unknown, done=False), proxied=("database",)),
    Schedule(14, "database slow", slow, proxied=("database",)),
    Schedule(14, "database half open", half_open, proxied=("database",)),
    Schedule(14, "database sessions deaf for ever", deaf, proxied=("database",)),
    Schedule(14, "positions locked for 5 s", partial(locked, what="SELECT * FROM position FOR UPDATE")),
    Schedule(14, "a table locked for 5 s", partial(locked, what="LOCK TABLE detection, exposure_match, dead_letter")),
    Schedule(14, "deadlock", deadlock),
    Schedule(14, "serialization failure", serialization),
    Schedule(14, "sessions ended by the server", sessions_killed),
    Schedule(15, "database restored from an older backup", restored),
]
