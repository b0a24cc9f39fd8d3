"""``emovox plot KIND``: figures of results, recordings and features (extra ``plot``)."""

from __future__ import annotations

import typer

from emovox.cli.groups import Group
from emovox.cli.plot import features, results, sound

__all__ = ["app"]

app = typer.Typer(
    name="plot",
    cls=Group,
    help="Figures of results, recordings and features, as PNG, SVG, PDF or a page.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command()(results.confusion)
app.command()(results.learning)
app.command()(results.search)
app.command()(results.training)
app.command()(sound.radar)
app.command()(sound.waveform)
app.command()(sound.spectrogram)
app.command()(features.importance)
app.command()(features.projection)
