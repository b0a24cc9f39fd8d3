"""Other people's classifiers through the tests of `emovox check`, where a user has them.

    python recipes/other_models.py emotion2vec --data corpora/emodb -o report/
    python recipes/other_models.py sensevoice --data corpora/emodb -o report/
    python recipes/other_models.py hub --model NAME --data corpora/emodb -o report/

`emotion2vec` and `sensevoice` require the package funasr, `hub` any audio classifier of the Hugging Face Hub
and the package transformers; both load a checkpoint by name or from a folder, and may download it. Nothing of
them is part of emovox, and their licences are their own. The data are folded to angry, happy, neutral and sad
(`--map 4`), since the labels of these models differ.

A label that emovox does not have (``other``, ``<unk>``) has no column: the best of the others counts.
SenseVoice writes one tag and no probabilities, so that its calibration means nothing; where it writes
``EMO_UNKNOWN`` it gives no label.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from emovox._arrays import Floats
from emovox.errors import LabelError
from emovox.evaluation.behaviour import OtherModel, check_behaviour
from emovox.labels import EMOTIONS, normalize_label


def map_scores(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Sum the scores of names that mean the same label; other names are left out.

    >>> map_scores([("\u751f\u6c14/angry", 0.5), ("anger", 0.25), ("<unk>", 0.25)])
    {'angry': 0.75}
    """
    scores: dict[str, float] = {}
    for name, score in pairs:
        try:  # emotion2vec+ writes a Chinese and an English name with a slash between them
            label = normalize_label(name.rpartition("/")[2])
        except LabelError:
            continue
        if label in EMOTIONS:
            scores[label] = scores.get(label, 0.0) + float(score)
    return scores


def wrap_emotion2vec(model: Any) -> Callable[[Floats, int], Mapping[str, float]]:
    """Wrap a funasr ``AutoModel`` of emotion2vec+: it answers with ``labels`` and ``scores``."""

    def scores(x: Floats, rate: int) -> dict[str, float]:
        found = model.generate(
            x, fs=rate, granularity="utterance", extract_embedding=False, disable_pbar=True
        )
        return map_scores(zip(found[0]["labels"], found[0]["scores"], strict=True))

    return scores


def wrap_sensevoice(model: Any) -> Callable[[Floats, int], Mapping[str, float]]:
    """Wrap a funasr ``AutoModel`` of SenseVoice: it writes tags such as ``<|HAPPY|>`` before the text."""

    def scores(x: Floats, rate: int) -> dict[str, float]:
        found = model.generate(x, fs=rate, language="auto", use_itn=False)
        tags = re.match(r"\s*((?:<\|[^|]*\|>)*)", found[0]["text"])
        names = re.findall(r"<\|([^|]*)\|>", tags.group(1) if tags else "")
        return map_scores((name, 1.0) for name in names)

    return scores


def wrap_hub(pipeline: Any) -> Callable[[Floats, int], Mapping[str, float]]:
    """Wrap a transformers pipeline ``audio-classification``: it answers with rows of label and score."""

    def scores(x: Floats, rate: int) -> dict[str, float]:
        rows = pipeline({"raw": x, "sampling_rate": rate}, top_k=None)
        return map_scores((row["label"], row["score"]) for row in rows)

    return scores


FUNASR = {
    "emotion2vec": ("iic/emotion2vec_plus_large", wrap_emotion2vec),
    "sensevoice": ("iic/SenseVoiceSmall", wrap_sensevoice),
}
"""Kind -> its usual checkpoint, and how it is wrapped."""


def load_funasr(name: str) -> Any:
    """Load a checkpoint with funasr."""
    try:
        from funasr import AutoModel
    except ImportError as error:
        raise SystemExit("funasr is not installed:  pip install funasr torch torchaudio") from error
    return AutoModel(model=name, disable_update=True, disable_pbar=True)


def load_pipeline(name: str) -> Any:
    """Load a checkpoint with transformers."""
    try:
        from transformers import pipeline
    except ImportError as error:
        raise SystemExit("transformers is not installed:  pip install 'emovox[ssl]'") from error
    return pipeline("audio-classification", model=name)


def open_model(kind: str, name: str | None) -> OtherModel:
    """Load a checkpoint and wrap it with its labels."""
    if kind in FUNASR:
        default, wrap = FUNASR[kind]
        name = name or default
        labels = tuple(label for label in EMOTIONS if label not in ("calm", "boredom"))
        return OtherModel(name, labels=labels, scores=wrap(load_funasr(name)))
    if name is None:
        raise SystemExit("hub needs --model: a folder, or a name on the Hub")
    pipeline = load_pipeline(name)
    names = [str(found) for found in pipeline.model.config.id2label.values()]
    labels = tuple(map_scores((found, 1.0) for found in names))
    if len(labels) < 2:
        raise SystemExit(f"the labels of {name} are {', '.join(names)}; expected two emotions or more")
    return OtherModel(name, labels=labels, scores=wrap_hub(pipeline))


def main() -> None:
    """Run the tests on one model, write page, Markdown and JSON, and print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=(*FUNASR, "hub"))
    parser.add_argument("--model", help="a folder or a name; of hub it has to be given")
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--max-clips", type=int, default=300, help="clips that are changed in each test")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    model = open_model(options.kind, options.model)
    report = check_behaviour(
        model,
        data=options.data,
        mapping="4",
        max_clips=options.max_clips,
        output=options.output,
        notify=print,
    )
    report.write(options.output)
    print(json.dumps({"recipe": "other_models", "model": model.name, "summary": report.document["summary"]}))


if __name__ == "__main__":
    main()
