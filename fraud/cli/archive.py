"""`mimamori archive`: size, compaction, retention, and history from the issuer's own files."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraud.clock import SystemClock
from fraud.settings import Settings, load_settings

if TYPE_CHECKING:
    from streams.archive import ArchiveMaintenance

app = typer.Typer(help="The archive of transactions.", no_args_is_help=True)

_WEEK_HOURS = 168


@app.command("info", epilog="Example: mimamori archive info")
def info() -> None:
    """Print size and extent of the archive as JSON."""
    typer.echo(json.dumps(asdict(_maintenance(load_settings()).summary()), default=str, indent=2))


@app.command("compact", epilog="Example: mimamori archive compact")
def compact() -> None:
    """Merge each day's small files into large ones, sorted by card. Workers may go on appending meanwhile."""
    done = _maintenance(load_settings()).compact()
    typer.echo(f"{done.days} days: {done.files_before} files became {done.files_after}, {done.rows} rows")


@app.command("vacuum", epilog="Example: mimamori archive vacuum --dry-run")
def vacuum(
    hours: Annotated[int, typer.Option(min=1, help="Younger files stay: a commit or a reader may need them.")] = (
        _WEEK_HOURS
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Let days beyond archive.retention_days go, and delete files that have been invisible for long enough."""
    settings = load_settings()
    maintenance = _maintenance(settings)
    oldest_kept = SystemClock().now().date() - timedelta(days=settings.archive.retention_days)
    dropped = maintenance.drop_before(oldest_kept, dry_run=dry_run)
    deleted = maintenance.vacuum(hours, dry_run=dry_run)
    would = "would be " if dry_run else ""
    typer.echo(f"{dropped} files of days before {oldest_kept} {would}dropped, {len(deleted)} files {would}deleted")


@app.command(
    "import",
    epilog="Example: mimamori archive import --mapping export.toml --check; then the same without --check",
)
def import_(
    mapping: Annotated[Path, typer.Option(help="The mapping file (TOML): see docs/history.md.", exists=True)],
    check: Annotated[bool, typer.Option("--check", "--dry-run", help="Only read, and say what would be off.")] = False,
    rows: Annotated[int | None, typer.Option(min=1, help="With --check: of each file only about so many rows.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Leave events from then on to the stream.", metavar="2024-05-01T00:00:00Z")
    ] = None,
    archive_only: Annotated[
        bool, typer.Option("--archive-only", help="No state: for a stream that runs already; then `state rebuild`.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of words.")] = False,
) -> None:
    """Bring months of transactions from your own files into the archive, and the cards' state to the stream.

    May be stopped at any time: the same command goes on after the last finished day, and is nothing once all is done.
    """
    # Late, as below.
    from fraud.cli.history_import import check_files, import_files

    if check:
        check_files(mapping, until, rows, as_json=as_json)
    else:
        import_files(mapping, until, archive_only=archive_only, as_json=as_json)


def _maintenance(settings: Settings) -> ArchiveMaintenance:
    # Late: the table library takes long to load, and no other command needs it.
    from streams.archive import ArchiveMaintenance, ArchiveTable

    return ArchiveMaintenance(ArchiveTable.from_settings(settings))
