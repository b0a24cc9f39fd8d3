"""The features of the models 2.0, in a module that worker processes can import: see vox.py."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, replace
from functools import cache

import channel_chain
import numpy as np
import soxr
import torch

from emovox.audio import SAMPLE_RATE
from emovox.augment import mix_babble, mix_noise
from emovox.features import FeatureSet
from emovox.nets.front_end import FrontEnd, FrontEndConfig

FRONT = FrontEndConfig(lags=(3, 12), quantile_step=3, delta_quantiles=False)
N_PLAIN = len(FrontEnd(replace(FRONT, lags=())).names())
"""Functionals of single descriptors, which come first; correlations of two follow."""
N_VARIANTS = 3
"""Augmented variants of each clip, through a random channel; the last has babble, too."""
SPEEDS = {4: 0.93, 5: 1.07}
"""Variants that are the clip at another speed and nothing else."""


@cache
def front_end() -> FrontEnd:
    torch.set_num_threads(1)
    return FrontEnd(FRONT).eval()


def functionals(x: np.ndarray, sample_rate: int) -> np.ndarray:
    with torch.inference_mode():
        return front_end()(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0].numpy()


FEATURES = FeatureSet(
    name="vox",
    kind="vector",
    description="functionals of the front end of vox",
    source="this recipe",
    names=tuple(FrontEnd(FRONT).names()),
    compute=functionals,
    definition=asdict(FRONT),
)


@dataclass(frozen=True)
class Variant:
    """The clip as it is (0), through a random channel, with babble, or at another speed."""

    number: int
    key: str

    @property
    def name(self) -> str:
        return f"vox variant {self.number} of {self.key}"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        rate, rng = SAMPLE_RATE, np.random.default_rng([self.number, zlib.crc32(self.key.encode())])
        if self.number in SPEEDS:
            return np.asarray(soxr.resample(x, rate * SPEEDS[self.number], rate, quality="MQ"), np.float32)
        if self.number == N_VARIANTS:  # of the clip itself, backwards: other clips may be of test speakers
            speeds = rng.uniform(0.7, 1.4, 6)
            voices = [np.float32(soxr.resample(x[::-1], rate * s, rate, quality="LQ")) for s in speeds]
            x = mix_noise(x, mix_babble(voices, len(x), rng), rng.uniform(0.0, 25.0))
        return channel_chain.channel_chain(x, rng) if self.number else x


class Standardize(torch.nn.Module):
    """What a member of the net gets: its columns of ``(b, d)``, standardised and clipped."""

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor, clip: float) -> None:
        super().__init__()
        self.mean, self.scale, self.clip = mean, scale, clip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.mean) * self.scale).clamp(-self.clip, self.clip)
