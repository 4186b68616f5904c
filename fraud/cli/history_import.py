"""`mimamori archive import`: the check of the files, the import, and what either says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from fraud.cli.history import (
    history_decoder,
    imports_dir,
    load_scorer,
    look_at_log,
    parse_time,
    profile_settings,
    shown_progress,
    time_words,
)
from fraud.cli.operators import print_json, print_table, store
from fraud.clock import now_ms
from fraud.settings import load_settings
from models.evaluability import NotEvaluable, not_evaluable
from streams.archive import ArchiveTable
from streams.history import CheckReport, ImportReport, check, load_mapping, run_import
from streams.history.importing import ImportJob
from streams.history.lineage import read_lineage
from streams.seeding import StreamStart
from streams.snapshots import Snapshots


def check_files(mapping_file: Path, until: str | None, rows: int | None, *, as_json: bool) -> None:
    """Read the files and say what is filled, what is off and what is wrong."""
    settings = load_settings()
    mapping = load_mapping(mapping_file)
    if mapping.lineage is not None:
        read_lineage(mapping.lineage, mapping.message_key)
    decoder = history_decoder(settings, mapping, now_ms(), None if until is None else parse_time(until, "until"))
    with shown_progress(as_json) as told:
        report = check(mapping, decoder, told, rows)
    if as_json:
        print_json(_check_content(report))
        return
    tally = report.tally
    print_table(
        "Fields",
        ("field", "filled", "", "could not be read"),
        [
            (name, f"{count:,}", _share(count, tally.accepted), f"{tally.unusable[name]:,}" if name != "amount" else "")
            for name, count in report.filled.items()
        ],
    )
    typer.echo(f"{tally.rows:,} rows from {time_words(report.first_at)} to {time_words(report.last_at)}.")
    _say_left_out(tally.rejected, tally.after_until)
    _say_card_numbers(tally.card_numbers)
    _say_off(report.off(), "After these files", report.history_from)


def import_files(mapping_file: Path, until: str | None, *, archive_only: bool, as_json: bool) -> None:
    """Run the import, or go on with it."""
    settings = load_settings()
    mapping = load_mapping(mapping_file)
    until_at = None if until is None else parse_time(until, "until")
    more = None if mapping.lineage is None else read_lineage(mapping.lineage, mapping.message_key)
    log = look_at_log(settings)
    job = ImportJob(
        mapping=mapping,
        settings=profile_settings(settings, len(log.keys), mapping.message_key, more),
        table=ArchiveTable.from_settings(settings),
        imports_dir=imports_dir(settings),
        make_decoder=lambda latest_at: history_decoder(settings, mapping, latest_at, until_at),
        load_scorer=lambda digest: load_scorer(settings, digest),
        dedupe_window=settings.stream.dedupe_window,
        now=now_ms(),
        until=until_at,
        stream_from=log.first_record_at,
    )
    with store(settings) as engine, shown_progress(as_json) as told:
        start = StreamStart(engine, Snapshots.from_settings(settings, engine), log.keys, log.beginnings)
        report = run_import(job, None if archive_only else start, told)
    if as_json:
        print_json(asdict(report))
        return
    _say_imported(report)


def _say_imported(report: ImportReport) -> None:
    if report.already_done:
        typer.echo("These files were imported before; nothing is left to do.")
    typer.echo(f"{report.rows:,} transactions from {time_words(report.first_at)} to {time_words(report.last_at)}.")
    if report.duplicates:
        typer.echo(f"{report.duplicates:,} rows came twice and were imported once.")
    _say_left_out(report.rejected, report.after_until)
    if any(report.rejected.values()):
        typer.echo(f"Each row that was left out, without what it held: {report.rejected_file}")
    _say_card_numbers(report.card_numbers)
    if report.profiles is not None:
        typer.echo(f"The workers begin with the profiles of {report.profiles:,} cards or accounts.")
    _say_off(not_evaluable(None, report.history_from, now_ms()), "Now", report.history_from)


def _say_left_out(rejected: Mapping[str, int], after_until: int) -> None:
    if after_until:
        typer.echo(f"{after_until:,} rows are left to the stream.")
    for reason, count in sorted(rejected.items(), key=lambda item: -item[1]):
        if count:
            typer.echo(f"{count:,} rows left out: {reason}")


def _say_card_numbers(found: Mapping[str, int]) -> None:
    for path, count in found.items():
        typer.echo(f"{count:,} card numbers blanked in {path}: no card number belongs there")


def _say_off(off: NotEvaluable, when: str, history_from: int | None) -> None:
    typer.echo(f"History of all cards begins {time_words(history_from)}.")
    if not off.features:
        typer.echo(f"{when}, every feature and rule is evaluable.")
        return
    rows = [("feature", name, why) for name, why in off.features.items()]
    rows += [("rule", name, why) for name, why in off.rules.items()]
    print_table(f"{when}, not evaluable", ("", "name", "why"), rows)


def _check_content(report: CheckReport) -> dict[str, Any]:
    off = report.off()
    return {
        **report.tally.as_json(),
        "filled": dict(report.filled),
        "first_at": report.first_at,
        "last_at": report.last_at,
        "history_from": report.history_from,
        "not_evaluable": {"features": dict(off.features), "rules": dict(off.rules)},
    }


def _share(count: int, rows: int) -> str:
    return "" if rows == 0 else f"{count / rows:.1%}"
