"""List clips that no shipped model 3 was trained on, as a manifest for `emovox check`.

    python recipes/behaviour.py DIR -o held-out.csv
    emovox check default --data held-out.csv --map 4 -o report/ --noise environment=DIR/esc10 \\
        --noise "sneeze=DIR/esc10/006 - Person sneeze" --noise "cry=DIR/esc10/004 - Baby cry" \\
        --noise "places=DIR/emospeech/*/background-*"

DIR holds banglaser, ased and emospeech. Of BanglaSER the speakers are those that `default` and `permissive`
kept out of training; ASED and emospeech trained none. ASED took part in choosing these models.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from emovox.datasets import Manifest, Utterance, scan

HELD_OUT = tuple(f"banglaser-{n}" for n in range(27, 35))
EMOSPEECH_STEP = 4
"""One clip in so many, in the order of the names: about as many as of ASED."""

ASED = {"01": "neutral", "02": "fear", "03": "happy", "04": "sad", "05": "angry"}
EMOSPEECH = {"calm": "neutral", "fearful": "fear", "angry": "angry", "happy": "happy"}


def list_ased(root: Path) -> Iterator[Utterance]:
    """Yield the clips of ``01Neutral/n1-sentence-repetition-sex-speaker``."""
    for file in sorted((root / "ased").glob("*/*.opus")):
        _, sentence, _, sex, speaker = file.stem.split("-")[:5]
        yield Utterance(
            id=f"ased/{file.stem}",
            path=file.relative_to(root).as_posix(),
            corpus="ased",
            speaker=f"ased-{speaker}",
            emotion=ASED[file.parent.name[:2]],
            original=file.parent.name[2:].lower(),
            sex={"01": "female", "02": "male"}[sex],
            language="am",
            text=f"ased-{sentence}",
        )


def list_emospeech(root: Path) -> Iterator[Utterance]:
    """Yield every fourth clip of speech; places and days stand in for the unknown speakers."""
    spoken = []
    for file in sorted((root / "emospeech").glob("*/*.opus")):
        word, _, emotion, time = file.stem.split("-")[:4]
        if word != "background" and emotion in EMOSPEECH:
            spoken.append((file, word, emotion, time))
    for file, word, emotion, time in spoken[::EMOSPEECH_STEP]:
        yield Utterance(
            id=f"emospeech/{file.parent.name}/{file.stem}",
            path=file.relative_to(root).as_posix(),
            corpus="emospeech",
            speaker=f"emospeech-{file.parent.name}-{time[:8]}",
            emotion=EMOSPEECH[emotion],
            original=emotion,
            text=f"emospeech-{word}",
        )


def list_held_out(root: Path) -> Manifest:
    """List the clips of all three corpora below ``root``."""
    banglaser, _ = scan("banglaser", root / "banglaser")
    kept = (
        replace(u, path=banglaser.file(u).relative_to(root).as_posix())
        for u in banglaser.where(speaker=HELD_OUT)
    )
    return Manifest(root, (*kept, *list_ased(root), *list_emospeech(root)))


def main() -> None:
    """Write the manifest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("held-out.csv"))
    options = parser.parse_args()
    manifest = list_held_out(options.root)
    manifest.write_csv(options.output)
    options.output.with_name(f"{options.output.name}.root").write_text(str(options.root.resolve()) + "\n")
    print(", ".join(f"{name} {n}" for name, n in manifest.counts("corpus").items()), "clips")


if __name__ == "__main__":
    main()
