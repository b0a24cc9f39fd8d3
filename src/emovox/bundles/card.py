"""The model card and the licence notice of a published bundle.

After Mitchell et al. (2019), Model Cards for Model Reporting; its head is the YAML that the Hugging Face
Hub reads.
"""

from __future__ import annotations

import json
import re

from emovox.bundles import Score, Spec

__all__ = ["find_licence_id", "find_objections", "make_card", "make_licence_notice"]

_KNOWN = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "unlicense"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    *("gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0"),
}
"""Licences that the Hub knows by name, as far as weights have them."""

_UNSAID = ("", "as its corpora", "none", "unknown")


def find_objections(spec: Spec) -> list[str]:
    """List why a bundle should not be published as it is; each sentence says what to do."""
    objections = []
    if not spec.corpora:
        objections.append("it does not say which corpora it was trained on")
    if spec.licence.weights.strip().lower() in _UNSAID:
        objections.append(
            f"its weights have no licence of their own ({spec.licence.weights!r}): name one with --licence "
            "that the corpora's terms allow"
        )
    if contaminated := [score for score in spec.scores if "contaminated" in score.protocol]:
        objections.append(
            f"its score on {contaminated[0].corpus} is contaminated: test it on clips it was not trained on, "
            "and publish that"
        )
    return objections


def find_licence_id(licence: str) -> str | None:
    """The name under which the Hub knows a licence, or ``None``.

    >>> find_licence_id("CC BY-NC-SA 4.0")
    'cc-by-nc-sa-4.0'
    """
    name = re.sub(r"[\s_]+", "-", licence.strip().lower())
    return name if name in _KNOWN else None


def make_card(spec: Spec, repo: str, *, behaviour: str = "") -> str:
    """Write the model card in Markdown, the ``README.md`` of the repository ``owner/name``.

    Args:
        behaviour: results of behavioural tests, in Markdown, for a section of their own.
    """
    licence = find_licence_id(spec.licence.weights)
    head: dict[str, object] = {
        "library_name": "emovox",
        "pipeline_tag": "audio-classification",
        "tags": ["emovox", "onnx", "speech-emotion-recognition"],
        "license": licence or "other",
    }
    if not licence:
        slug = re.sub(r"[^a-z0-9.]+", "-", spec.licence.weights.lower()).strip("-") or "not-stated"
        head |= {"license_name": slug, "license_link": "LICENSE"}
    yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())
    scores = "No score was measured."
    means = "UAR is the mean recall of the emotions. " if spec.labels else ""
    if spec.targets:
        means += "CCC is the concordance of true and predicted values, 1 at best. "
    if spec.scores:
        rows = "\n".join(
            f"| {_one_line(s.corpus)} | {_one_line(s.protocol)} | {s.metric} | {_score_text(s)} |"
            for s in spec.scores
        )
        scores = (
            "| corpus | protocol | metric | value [95 % interval] |\n|---|---|---|---|\n"
            f"{rows}\n\n"
            f"{means}A score holds for its protocol and no other: strict is "
            "speakers and sentences never trained on; one that is speaker-dependent or contaminated says "
            "nothing about new speakers."
        )
    abstains = ""
    if spec.abstain.confidence:
        abstains = f" It gives no label below a confidence of {spec.abstain.confidence:.2f}."
    use = "allowed" if spec.licence.commercial else "not allowed"
    section = f"\n## Behaviour\n\n{behaviour}\n" if behaviour else ""
    return f"""---
{yaml}
---

# {repo.rpartition("/")[2]}

{_one_line(spec.description)}

It names the **expressed emotion** of a voice: what speech sounds like to listeners, not what a person \
feels. {_describe_output(spec)}

## Use

```sh
pip install 'emovox[hub]'
emovox predict --model hf://{repo} clip.wav
```

```python
import emovox

emovox.load("hf://{repo}").predict("clip.wav").label
```

## Scores

{scores}
{section}
## Training

Corpora: {", ".join(spec.corpora) or "not stated"}. Protocol: `{_one_line(spec.protocol)}`.

## Limits

The corpora are mostly acted speech; spontaneous speech, other languages, other recording conditions and \
groups of speakers that the corpora lack are predicted worse, by how much is not known from the scores \
above. Sound shorter than {spec.min_s:g} s is not predicted.{abstains}

## Law

In the EU, inferring emotions of people at work or in education is prohibited (AI Act, Art. 5(1)(f), but \
for medical or safety reasons); elsewhere people must be told (Art. 50(3)). Make no decision about a person \
on what this model says.

## Licence

Weights: {_one_line(spec.licence.weights)}; commercial use is {use}. Code: {_one_line(spec.licence.code)}. \
See `LICENSE`.
"""


def make_licence_notice(spec: Spec) -> str:
    """Write the text of ``LICENSE``: the terms of the files, and the corpora of the training."""
    from emovox.datasets import CORPORA  # only publishing needs them

    use = "Commercial use is allowed." if spec.licence.commercial else "Commercial use is not allowed."
    attributions = []
    for name in spec.corpora:
        corpus = CORPORA.get(name)
        attributions.append(
            f"- {name}" if corpus is None else f"- {corpus.title}: {corpus.citation} {corpus.licence}."
        )
    lines = [
        f"model.onnx (the weights) and spec.json of {spec.name} {spec.version}: {spec.licence.weights}.",
        use,
        f"The code that runs them, emovox: {spec.licence.code}.",
        "",
        "Learned from recordings of",
        "",
        *attributions,
        "",
        "No recording of any corpus is part of this repository.",
    ]
    return "\n".join(lines) + "\n"


def _describe_output(spec: Spec) -> str:
    """Labels and targets, each target with its range in the training."""
    labels = f"Labels: {', '.join(spec.labels)}." if spec.labels else ""
    ranges = [
        f"{target.name} ({target.low:g} to {target.high:g}{f' {target.unit}' if target.unit else ''})"
        for target in spec.targets
    ]
    values = f"Values, in their range in the training: {', '.join(ranges)}." if ranges else ""
    return f"{labels} {values}".strip()


def _score_text(score: Score) -> str:
    """A score with its interval over speakers, and on how much it was measured."""
    bounds = "" if score.low is None or score.high is None else f" [{score.low:.3f}, {score.high:.3f}]"
    sizes = {"speakers": score.n_speakers, "clips": score.n_clips}
    counted = ", ".join(f"{n} {what}" for what, n in sizes.items() if n is not None)
    return f"{score.value:.3f}{bounds}" + (f" ({counted})" if counted else "")


def _one_line(text: str) -> str:
    """``text`` on one line, without the separators of table cells."""
    return " ".join(text.split()).replace("|", r"\|")
