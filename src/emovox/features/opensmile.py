"""openSMILE's sets of functionals, through its C library, without its Python interface (extra ``opensmile``).

One extractor stays open in each thread: opening one for each recording would take 1 to 9 ms more. The
values equal those of ``opensmile.Smile(...).process_signal`` bit by bit, as long as no sample is at +1.0,
which there turns into -1.0 and here into 32767/32768. pandas is not loaded.

openSMILE belongs to audEERING, for research and education; commercial use requires their licence.
"""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import MissingExtraError

__all__ = ["LICENCE", "OPENSMILE_SETS", "OpenSmileSet", "columns", "compute", "depends"]

LICENCE = "openSMILE's own: research and education, no commercial use (audEERING)"
# Names of the ends of the processing chain in openSMILE's own config files.
_SOURCE, _SINK = "extsource", "extsink"


@dataclass(frozen=True)
class OpenSmileSet:
    """A set that is in openSMILE's wheel as a config file."""

    file: str
    """The config file, without ``.conf``."""
    size: int
    source: str


OPENSMILE_SETS: dict[str, OpenSmileSet] = {
    "IS09_emotion": OpenSmileSet(
        "is09-13/IS09_emotion",
        384,
        "Schuller, Steidl and Batliner: The INTERSPEECH 2009 emotion challenge",
    ),
    "IS10_paraling": OpenSmileSet(
        "is09-13/IS10_paraling_compat",
        1582,
        "Schuller et al.: The INTERSPEECH 2010 paralinguistic challenge",
    ),
    "IS11_speaker_state": OpenSmileSet(
        "is09-13/IS11_speaker_state",
        4368,
        "Schuller et al.: The INTERSPEECH 2011 speaker state challenge",
    ),
    "IS12_speaker_trait": OpenSmileSet(
        "is09-13/IS12_speaker_trait_compat",
        6125,
        "Schuller et al.: The INTERSPEECH 2012 speaker trait challenge",
    ),
    "IS13_ComParE": OpenSmileSet(
        "is09-13/IS13_ComParE",
        6373,
        "Schuller et al.: The INTERSPEECH 2013 computational paralinguistics challenge",
    ),
    "ComParE_2016": OpenSmileSet(
        "compare/ComParE_2016",
        6373,
        "Schuller et al.: The INTERSPEECH 2016 computational paralinguistics challenge",
    ),
    "eGeMAPSv02": OpenSmileSet(
        "egemaps/v02/eGeMAPSv02",
        88,
        "Eyben et al.: The Geneva minimalistic acoustic parameter set, IEEE Trans. Aff. Comp. 7, 2016",
    ),
    "emobase": OpenSmileSet("emobase/emobase", 988, "Eyben, Wöllmer and Schuller: openEAR, ACII 2009"),
}
"""Name -> set. IS10 and IS12 are the ``compat`` files, which have the sizes of the challenges."""


def compute(x: Floats, sample_rate: int, *, name: str) -> Floats:
    """Compute the functionals ``(d,)`` of samples ``(n,)``; all nan where they are too short for a frame.

    Raises:
        MissingExtraError: the extra ``opensmile`` is not installed.
    """
    extractor = _extractor(name, sample_rate)
    try:
        rows = _run(extractor, np.clip(x * 32768.0, -32768.0, 32767.0).astype(np.int16))
    except BaseException:
        del _open.extractors[name, sample_rate]  # its state is unknown
        raise
    return rows[0] if rows else np.full(OPENSMILE_SETS[name].size, np.nan, dtype=np.float32)


@cache
def columns(name: str) -> tuple[str, ...]:
    """Return openSMILE's own names of a set's values, from the library.

    Raises:
        MissingExtraError: the extra ``opensmile`` is not installed.
    """
    extractor = _extractor(name, SAMPLE_RATE)
    n = extractor.external_sink_get_num_elements(_SINK)
    return tuple(extractor.external_sink_get_element_name(_SINK, index) for index in range(n))


def depends() -> dict[str, Any]:
    """Return what the values depend on besides the set: openSMILE's version."""
    from importlib.metadata import version

    _core_folder()
    return {"opensmile": version("opensmile")}


# --- the C library -----------------------------------------------------------------------------------

# ``extractors`` of this thread, by set and rate; an extractor must not change threads.
_open = threading.local()


@cache
def _core_folder() -> Path:
    """Folder of the binding and the config files in the wheel."""
    found = importlib.util.find_spec("opensmile")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("an openSMILE set", "opensmile")
    return Path(found.submodule_search_locations[0]) / "core"


@cache
def _binding() -> ModuleType:
    """openSMILE's ctypes binding, by its path: `import opensmile` would load pandas and take 0.5 s."""
    spec = importlib.util.spec_from_file_location("_emovox_opensmile", _core_folder() / "lib.py")
    if spec is None or spec.loader is None:
        raise MissingExtraError("an openSMILE set", "opensmile")
    binding = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(binding)
    return binding


def _extractor(name: str, sample_rate: int) -> Any:
    """The open extractor of this thread."""
    extractors = _open.__dict__.setdefault("extractors", {})
    key = name, sample_rate
    if key not in extractors:
        extractors[key] = _open_extractor(OPENSMILE_SETS[name].file, sample_rate)
    return extractors[key]


def _open_extractor(config: str, sample_rate: int) -> Any:
    configs = _core_folder() / "config"
    shared = configs / "shared"
    extractor = _binding().OpenSMILE()
    extractor.initialize(
        config_file=str(configs / f"{config}.conf"),
        options={
            "source": str(shared / "standard_external_wave_input.conf.inc"),
            "sampleRate": sample_rate,
            "nBits": 16,
            "sink": str(shared / "standard_external_data_output_single.conf.inc"),
            "sinkLevel": "func",
            "bufferModeRbConf": str(shared / "BufferModeRb.conf.inc"),
            "frameModeFunctionalsConf": str(shared / "FrameModeFunctionals.conf.inc"),
        },
        loglevel=0,
    )
    return extractor


def _run(extractor: Any, samples: NDArray[np.int16]) -> list[Floats]:
    """Return the rows of one recording, and reset the extractor."""
    rows: list[Floats] = []
    extractor.external_sink_set_callback_ex(_SINK, lambda values, _: rows.extend(values.copy()))
    if not extractor.external_audio_source_write_data(_SOURCE, samples.tobytes()):
        raise RuntimeError(f"openSMILE did not accept {samples.size} samples")
    extractor.external_audio_source_set_eoi(_SOURCE)
    extractor.run()
    extractor.reset()
    extractor._callbacks.clear()  # the binding keeps every callback it was given
    return rows
