"""Train and write the weights of the models 2.0 in the wheel: see vox.py.

python recipes/vox_ship.py default|permissive --corpora DIR
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vox import SHARES, Pool, make_parser

import emovox
from emovox.bundles import Abstain, Licence, Score
from emovox.datasets import splits
from emovox.evaluation.predictions import predict_manifest
from emovox.nets.vox import Vox
from emovox.training.calibration import abstention, fit_temperature, log_softmax

# Speakers who are never trained on: the first half sets temperature and abstention, the second half scores.
HELD_OUT = {
    "ravdess": (("ravdess-05", "ravdess-14"), ("ravdess-09", "ravdess-22")),
    "emodb": (("emodb-10",), ("emodb-09",)),
    "nemo": (("nemo-EB0",), ("nemo-WR0",)),
    "banglaser": (("banglaser-07", "banglaser-24"), ("banglaser-15", "banglaser-30")),
}
SHIPPED = {
    "default": (SHARES, Licence(code="Apache-2.0", weights="CC-BY-NC-SA-4.0", commercial=False)),
    "permissive": (
        {"emodb": 1.0, "banglaser": 1.0},
        Licence(code="Apache-2.0", weights="CC-BY-4.0", commercial=True),
    ),
}


def predict_logits(pool: Pool, vox: Vox, ids: Sequence[str]) -> np.ndarray:
    with torch.inference_mode():
        rows = torch.from_numpy(pool.variants[0][[pool.row[key] for key in ids]])
        return vox.classify(rows).numpy().astype(np.float64)


def ship(pool: Pool, which: str, out: Path) -> dict[str, Any]:
    """Train the model of the wheel; speakers who were held out set how sure it may be, and score it."""
    shares, licence = SHIPPED[which]
    held = [HELD_OUT[corpus] for corpus in shares if corpus in HELD_OUT]
    fitting, scoring = ([name for pair in held for name in pair[n]] for n in (0, 1))
    clips = pool.manifest.keep(lambda u: u.corpus in shares)
    inside = clips.keep(lambda u: u.speaker not in (*fitting, *scoring))
    vox, names = pool.train(inside.ids, shares)
    ids = list(clips.where(speaker=tuple(fitting)).ids)
    logits = [predict_logits(pool, vox, ids)]
    for split in splits.speaker_kfold(inside, 4):  # training speakers too, by nets that never met them
        other, known = pool.train({*inside.ids} - {*split.test}, shares)
        assert known == names, f"{split.name} lacks a label"
        strangers = [key for key in split.test if pool.manifest[key].corpus != "tess"]
        ids += strangers
        logits.append(predict_logits(pool, other, strangers))
    rows = [pool.manifest[key] for key in ids]
    truth = np.array([names.index(u.emotion) for u in rows])
    _, home, size = np.unique([u.corpus for u in rows], return_inverse=True, return_counts=True)
    weights, z = 1 / size[home], np.concatenate(logits)  # each corpus counts the same
    temperature = fit_temperature(z, truth, weights)
    threshold = abstention(np.exp(log_softmax(z / temperature)).max(1), 0.9, weights)
    about = {"temperature": temperature, "abstain": Abstain(confidence=threshold), "licence": licence}
    about |= {"corpora": tuple(sorted(shares)), "protocol": "speakers/" + ",".join(sorted(scoring))}
    spec = pool.write(vox, names, out / which, **about)
    whole = predict_manifest(emovox.load(out / which), clips.where(speaker=tuple(scoring)))
    uar, size = whole.uar(), {"n_speakers": len(scoring), "n_clips": len(whole)}
    score = Score(corpus="all", protocol="held-out speakers", metric="uar", value=uar.value, **size)
    pool.write(vox, names, out / which, **about, scores=(score,))
    print(f"{which}: temperature {spec.temperature:.2f}, abstains below {threshold:.3f}, UAR {uar.value:.1%}")
    return {"bundle": str(out / which), "uar": uar.value, **size}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("which", choices=[*SHIPPED])
    options = parser.parse_args()
    pool = Pool.load(options.corpora, options.cache, options.workers)
    print(json.dumps(ship(pool, options.which, options.out)))


if __name__ == "__main__":
    main()
