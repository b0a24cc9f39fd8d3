"""``emovox data``: corpora fetched, checked, prepared, converted, counted, audited and recorded.

One file a command or two, joined here; what several of them do is in ``common``.
"""

from __future__ import annotations

import typer

from emovox.cli.data import audit, convert, corpora, download, prepare, record, stats
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
app.command()(download.download)
app.command()(corpora.check)
app.command()(prepare.prepare)
app.command()(convert.convert)
app.command()(stats.stats)
app.command()(audit.audit)
app.command()(record.record)
