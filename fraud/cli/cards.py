"""`mimamori cards`: card numbers in, card references out."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from fraud.alert_files import LineError, tokenize_lines
from fraud.cards import CardTokenizer
from fraud.pan_guard import PanGuard
from fraud.settings import load_settings

app = typer.Typer(help="Card references.", no_args_is_help=True)


@app.command("tokenize", epilog="Example: mimamori cards tokenize numbers.txt --output references.txt")
def tokenize(
    source: Annotated[Path | None, typer.Argument(help="One card number a line; standard input when left out.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write; standard output when left out.")] = None,
) -> None:
    """Turn card numbers into card references, line for line. No card number is ever printed.

    A line that is no card number of this issuer becomes an empty line and is named, by its line number, on standard
    error; the exit code is then 2.
    """
    settings = load_settings()
    tokenizer = CardTokenizer.from_settings(settings.cards)
    guard = PanGuard.from_settings(settings.portfolio)
    faults = 0
    with (
        source.open(encoding="utf-8") if source else nullcontext(sys.stdin) as lines,
        output.open("w", encoding="utf-8") if output else nullcontext(sys.stdout) as target,
    ):
        for result in tokenize_lines(lines, tokenizer, guard):
            if isinstance(result, LineError):
                faults += 1
                typer.echo(f"line {result.line}: {result.reason}", err=True)
                target.write("\n")
            else:
                target.write(f"{result}\n")
    if faults:
        typer.echo(f"{faults} lines were no card number of this issuer", err=True)
        raise typer.Exit(2)
