"""The embedding of a model as a set of features, for tables, plots and classifiers of one's own."""

from __future__ import annotations

from emovox._arrays import Floats
from emovox.errors import ConfigError
from emovox.features import FeatureSet
from emovox.inference.recognizer import Recognizer, load
from emovox.inference.windows import MARGIN_S

__all__ = ["NAME", "make_embedding_set"]

NAME = "embedding"
"""Name of the set: ``embedding`` is that of the default model, ``embedding:MODEL`` that of another."""


class _Embed:
    """Compute the embedding of a sound; pickled, it opens the model anew."""

    def __init__(self, model: Recognizer) -> None:
        self._model = model

    def __call__(self, x: Floats, sample_rate: int) -> Floats:
        return self._model.embed(x, sample_rate=sample_rate)


def make_embedding_set(name: str = NAME) -> FeatureSet:
    """Return the embedding of a model as a set of features: one row per recording.

    Args:
        name: ``embedding`` or ``embedding:MODEL``, with what `emovox.load` takes.

    Raises:
        ConfigError: the model has no embedding, or the name is another one.
        BundleError: the model cannot be opened.
    """
    prefix, _, which = name.partition(":")
    if prefix != NAME:
        raise ConfigError(f"the set {name!r} is no embedding; expected {NAME} or {NAME}:MODEL")
    model = load(which) if which else load()
    size = model.embedding_size
    if size is None:
        raise ConfigError(f"the model {model.name!r} has no embedding; take another model as {NAME}:MODEL")
    return FeatureSet(
        name=name,
        kind="vector",
        description=f"embedding of the model {model.name} {model.spec.version}",
        source="emovox",
        names=tuple(f"e{number}" for number in range(size)),
        compute=_Embed(model),
        definition={"model": model.spec.sha256, "margin_s": MARGIN_S},  # clips are cut to their speech
        licence=model.spec.licence.weights,
    )
