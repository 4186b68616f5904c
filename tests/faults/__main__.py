"""`python -m tests.faults`: the fault matrix."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "services"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "streams"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "reference"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "faults"))

from fault_schedule import Outcome, execute
from fault_services import services
from fault_table import HEADER, line, plan, sentence, summary, table
from service_process import ServiceError

_HERE = Path(".mimamori")  # not in the repository; `make clean` removes it


def main() -> int:
    """Run the schedules that are asked for; 0 when all of them passed and every control was red."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="The fault matrix.")
    parser.add_argument("--rows", default="", help="rows of the matrix, such as 1,4,13; 0 is the negative controls")
    parser.add_argument("--name", default="", help="only schedules with this in their name")
    parser.add_argument("--stack", default="", help="only `kafka` or `tansu`")
    parser.add_argument("--seed", type=int, default=1, help="of everything random in the run")
    parser.add_argument("--json", type=Path, default=_HERE / "faults.json", help="where the outcomes are written")
    parser.add_argument("--keep", type=Path, default=_HERE / "faults", help="for what failed schedules leave behind")
    parser.add_argument("--list", action="store_true", help="list the schedules and end")
    parser.add_argument("--smoke", action="store_true", help="only the few that every test run includes")
    parser.add_argument("--history", action="store_true", help="print what happened in each schedule")
    asked = parser.parse_args()
    rows = [int(item) for item in asked.rows.split(",") if item]
    planned = plan(rows=rows, name=asked.name, stack=asked.stack, smoke=asked.smoke)
    if asked.list:
        for item in planned:
            print(f"{item.schedule.row:>3}  {item.schedule.name}  [{item.stack}]")  # noqa: T201
        return 0
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mimamori-faults-"))
    kept = asked.keep.resolve()
    outcomes: list[Outcome] = []
    print(f"seed {asked.seed}, {len(planned)} schedules\n{HEADER}")  # noqa: T201
    try:
        with services(folder, asked.seed) as running:
            for number, item in enumerate(planned):
                name = f"{number:03d}-row-{item.schedule.row}-{item.stack}"
                outcome = execute(item.schedule, running, item.stack, asked.seed, folder / name)
                if outcome.folder is not None:
                    shutil.rmtree(kept / name, ignore_errors=True)
                    kept.mkdir(parents=True, exist_ok=True)
                    outcome.folder = shutil.move(outcome.folder, kept / name)
                outcomes.append(outcome)
                _tell(outcome, history=asked.history)
    except ServiceError as error:
        print(error)  # noqa: T201
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    numbers = summary(outcomes, time.monotonic() - started)
    print("\n" + "\n".join(table(outcomes)))  # noqa: T201
    found = {"seed": asked.seed, "summary": numbers, "schedules": [outcome.as_json() for outcome in outcomes]}
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {asked.json}\n{sentence(numbers)}")  # noqa: T201
    return 0 if outcomes and all(outcome.passed for outcome in outcomes) else 1


def _tell(outcome: Outcome, *, history: bool) -> None:
    print(line(outcome), flush=True)  # noqa: T201
    if history:
        print("\n".join(f"      {item}" for item in outcome.history), flush=True)  # noqa: T201
    if not outcome.passed:
        for name, text in outcome.said.items():
            print(f"      {name}: {text[:800]}")  # noqa: T201
        again = f"python -m tests.faults --rows {outcome.row} --name '{outcome.name}' --seed {outcome.seed}"
        print(f"      kept in {outcome.folder}; again: {again}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
