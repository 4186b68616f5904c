"""`mimamori config`: the effective settings."""

from __future__ import annotations

import json

import typer

from fraud.settings import load_settings, masked

app = typer.Typer(help="The effective settings.", no_args_is_help=True)


@app.command("show", epilog="Example: MIMAMORI_POLICY__ALERTS_PER_DAY=5 mimamori config show")
def show() -> None:
    """Print the effective settings as JSON, secrets masked.

    They come from MIMAMORI_... variables, over the file that MIMAMORI_CONFIG names (or mimamori.toml), over defaults.
    """
    typer.echo(json.dumps(masked(load_settings()), indent=2, ensure_ascii=False))
