"""`make bench`: all benches beside Apache Kafka and PostgreSQL, which run on this machine for as long as it takes.

python tests/services/bench.py                            # full size: two million exposed cards, a million records
python tests/services/bench.py --small                    # to see that it works
python tests/services/bench.py --only latency --output DIR
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kafka_server
import postgresql_server

# The tests' servers are made to start quickly and to forget; here they are to be what they are in earnest.
kafka_server._JVM = ("-Xms1g", "-Xmx1g")
postgresql_server._OPTIONS = (
    "max_connections=100",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "logging_collector=off",
)

FULL = {
    "stream": ["--records", "1000000", "--cards", "1000000", "--exposed", "2000000"],
    "latency": ["--rate", "10000", "--seconds", "60", "--warm-up", "10"],
    "restart": ["--cards", "1000000", "--tail", "150000"],
}
SMALL = {
    "stream": ["--records", "20000", "--cards", "20000", "--exposed", "20000"],
    "latency": ["--rate", "500", "--seconds", "5", "--warm-up", "3", "--cards", "20000", "--exposed", "20000"],
    "restart": ["--cards", "20000", "--tail", "5000", "--exposed", "20000"],
}


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """Both servers; gives the settings that lead to them. The database is empty, as benches want it."""
    kafka, postgresql = kafka_server.KafkaServer(folder), postgresql_server.PostgresqlServer()
    try:
        kafka.start()
        postgresql.start()
        yield {"MIMAMORI_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap, "MIMAMORI_DATABASE_URL": postgresql.url()}
    finally:
        kafka.kill()
        postgresql.remove()


def main() -> int:
    parser = argparse.ArgumentParser(description="All benches beside Apache Kafka and PostgreSQL.")
    parser.add_argument("--small", action="store_true", help="sizes that take a minute each and measure nothing")
    parser.add_argument("--only", choices=list(FULL), action="append", help="one bench; may be given several times")
    parser.add_argument("--output", type=Path, default=Path(".mimamori/bench/reports"), help="folder of the reports")
    chosen = parser.parse_args()
    worst = 0
    with tempfile.TemporaryDirectory(prefix="mimamori-kafka-") as folder, servers(Path(folder)) as settings:
        for name, sizes in (SMALL if chosen.small else FULL).items():
            if chosen.only and name not in chosen.only:
                continue
            report = ["--report", str(chosen.output / f"{name}.json")]
            command = [
                sys.executable,
                "-m",
                "fraud.cli",
                "bench",
                name,
                "--broker",
                "kafka",
                "--database",
                "postgresql",
            ]
            sys.stdout.write(f"\n== bench {name} {' '.join(sizes)}\n")
            sys.stdout.flush()
            done = subprocess.run([*command, *sizes, *report], env={**os.environ, **settings}, check=False)
            worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
