"""``emovox data``: corpora downloaded, checked, prepared, converted, counted, audited and recorded."""

from __future__ import annotations

import typer

from emovox.cli.data import convert, corpora, record, stats
from emovox.cli.groups import Group

__all__ = ["app"]

app = typer.Typer(
    name="data",
    cls=Group,
    help="Corpora: list, download, check, prepare, convert, count, audit, record.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command("list")(corpora.list_corpora)
app.command()(corpora.download)
app.command()(corpora.check)
app.command()(convert.prepare)
app.command()(convert.convert)
app.command()(stats.stats)
app.command()(stats.audit)
app.command()(record.record)
