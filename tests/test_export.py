"""The exported graph answers what the net answers; a temperature makes confidence honest."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from emovox.bundles import Abstain, Input, Licence, Spec, load_bundle, write_bundle  # noqa: E402
from emovox.bundles.onnx_session import OnnxModel  # noqa: E402
from emovox.errors import BundleError, ConfigError  # noqa: E402
from emovox.inference.recognizer import Recognizer  # noqa: E402
from emovox.nets.vox import Vox, VoxConfig  # noqa: E402
from emovox.training.calibration import fit_temperature, log_softmax  # noqa: E402
from emovox.training.export import TOLERANCE, check_parity, to_onnx  # noqa: E402

RATE = 16_000
LABELS = ("neutral", "happy", "sad", "angry", "fear")
pytestmark = pytest.mark.usefixtures("one_thread")


def voice(seconds: float, seed: int) -> np.ndarray:
    """A voice whose pitch, loudness and tilt wander, in a little noise."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    f0 = rng.uniform(90, 300) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.3, 2) * t))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    wave = sum(np.cos(k * phase) * k ** -rng.uniform(0.5, 2) for k in range(1, 12))
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * rng.uniform(2, 5) * t)
    return (0.1 * wave * swell + 0.003 * rng.standard_normal(n)).astype(np.float32)


SOUNDS = [voice(s, k) for k, s in enumerate((1.1, 2.3, 0.3, 0.8))]


@pytest.fixture(scope="module")
def net() -> Vox:
    """Weights at random, of the size that training gives; statistics of real features."""
    torch.manual_seed(1)
    vox = Vox(VoxConfig(n_labels=len(LABELS), n_members=2, hidden=24)).eval()
    with torch.inference_mode():
        rows = [vox.front(torch.from_numpy(x)[None], torch.tensor([len(x)])) for x in SOUNDS]
    features = torch.cat(rows).clone()
    vox.mean.copy_(features.mean(0))
    vox.scale.copy_(1 / features.std(0).clamp(min=1e-2))
    for head in vox.heads:
        torch.nn.init.normal_(head.linear.weight, std=0.01)
        torch.nn.init.normal_(head.norm.running_mean, std=0.1)
        torch.nn.init.uniform_(head.norm.running_var, 0.5, 2.0)
    return vox


@pytest.fixture(scope="module")
def model(net: Vox) -> bytes:
    return to_onnx(net, SOUNDS, name="tiny")


@pytest.fixture(scope="module")
def graph(model: bytes) -> OnnxModel:
    return OnnxModel(model, name="tiny", n_labels=len(LABELS))


def answered(net: Vox, sounds: list[np.ndarray]) -> np.ndarray:
    waveform = np.zeros((len(sounds), max(map(len, sounds))), np.float32)
    for row, x in zip(waveform, sounds, strict=True):
        row[: len(x)] = x
    with torch.inference_mode():
        return net(torch.from_numpy(waveform), torch.tensor([len(x) for x in sounds])).numpy()


# ------------------------------------------------------------------------------------ parity


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.0, 3.0, 7.77, 20.0])
def test_one_clip(net: Vox, graph: OnnxModel, seconds: float) -> None:
    x = voice(seconds, 11)
    np.testing.assert_allclose(graph([x]), answered(net, [x]), atol=1e-4)


def test_sixteen_clips_of_all_lengths(net: Vox, graph: OnnxModel) -> None:
    sounds = [voice(s, 20 + k) for k, s in enumerate(np.geomspace(0.3, 20, 16))]
    found = graph(sounds)
    np.testing.assert_allclose(found, answered(net, sounds), atol=1e-4)
    alone = np.concatenate([graph([x]) for x in sounds])
    np.testing.assert_allclose(found, alone, atol=1e-4)
    assert np.ptp(found, axis=0).min() > 0.1  # it is no constant


@pytest.mark.parametrize("n", [1, 2, 399, 640, 1601])
def test_scraps_and_silence(net: Vox, graph: OnnxModel, n: int) -> None:
    for x in (np.zeros(n, np.float32), voice(0.2, 5)[:n]):
        np.testing.assert_allclose(graph([x]), answered(net, [x]), atol=1e-4)


def test_gain_does_not_matter_in_the_graph(graph: OnnxModel) -> None:
    x = voice(1.5, 3)
    np.testing.assert_allclose(graph([x * np.float32(0.01)]), graph([x]), atol=1e-3)


def test_a_net_changed_after_export_is_caught(net: Vox, model: bytes) -> None:
    assert 0 <= check_parity(net, model, SOUNDS) <= TOLERANCE
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.heads[1].output.bias[2] += 0.01
    with pytest.raises(BundleError, match=r"tiny: the exported graph differs .* expected at most 0\.0001"):
        check_parity(other, model, SOUNDS, name="tiny")


def test_a_net_that_answers_nan_is_caught(net: Vox, model: bytes) -> None:
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.heads[0].output.bias[0] = float("nan")
    with pytest.raises(BundleError, match="differs"):
        check_parity(other, model, SOUNDS)


def test_one_sound_is_not_enough_to_trace_on(net: Vox) -> None:
    with pytest.raises(ConfigError, match="got 1 sounds; expected at least two"):
        to_onnx(net, SOUNDS[:1])


def test_the_graph_carries_weights_and_no_notes(net: Vox, model: bytes) -> None:
    assert b".py" not in model  # the exporter's notes name the files of this machine
    assert str(Path(__file__).parents[1]).encode() not in model
    sizes = [t.numel() for t in (*net.parameters(), *net.buffers())]
    assert len(model) < 4 * sum(sizes) + 250_000


def test_export_leaves_the_net_as_it_is_used(net: Vox, model: bytes) -> None:
    assert not net.training
    assert not any(name.startswith("front.") for name in net.state_dict())  # a front end is made, not loaded


def test_the_graph_becomes_a_bundle(net: Vox, model: bytes, tmp_path: Path) -> None:
    spec = Spec(
        name="tiny",
        version="1",
        description="a test",
        labels=LABELS,
        input=Input(kind="waveform"),
        window_s=3.0,
        hop_s=1.0,
        min_s=0.3,
        clip_s=12.0,
        temperature=2.0,
        abstain=Abstain(confidence=0.0),
        corpora=("none",),
        protocol="none",
        licence=Licence(code="Apache-2.0", weights="Apache-2.0", commercial=True),
    )
    write_bundle(tmp_path / "tiny", model, spec)
    x = voice(2.0, 8)
    found = Recognizer(load_bundle(tmp_path / "tiny"), vad="off").predict(x, sample_rate=RATE)
    expected = torch.softmax(torch.from_numpy(answered(net, [x])[0]) / 2.0, 0).tolist()
    assert [found.scores[name] for name in LABELS] == pytest.approx(expected, abs=1e-4)


# ------------------------------------------------------------------------------------ temperature


def test_log_softmax_is_torch_s() -> None:
    z = np.random.default_rng(0).normal(0, 300, (50, 9))
    expected = torch.log_softmax(torch.from_numpy(z), 1).numpy()
    np.testing.assert_allclose(log_softmax(z), expected, rtol=1e-12, atol=1e-12)


def simulated(temperature: float, n: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from what they mean at ``temperature``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 6))
    chances = np.exp(log_softmax(logits / temperature))
    return logits, (chances.cumsum(1) < rng.random((n, 1))).sum(1).clip(max=5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, labels = simulated(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_weights_say_who_counts() -> None:
    cold, warm = simulated(0.5, 6000), simulated(2.0, 2000, seed=1)
    logits, labels = (np.concatenate(parts) for parts in zip(cold, warm, strict=True))
    only_warm = np.repeat([0.0, 1.0], [6000, 2000])
    assert fit_temperature(logits, labels, only_warm) == fit_temperature(*warm)
    doubled = np.repeat([1.0, 3.0], [6000, 2000])
    thrice = [np.concatenate([a, *[b] * 3]) for a, b in zip(cold, warm, strict=True)]
    assert fit_temperature(logits, labels, doubled) == fit_temperature(*thrice)


def test_it_is_the_minimum_scipy_finds() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = simulated(1.3, 500)

    def loss(t: float) -> float:
        return float(-log_softmax(logits / t)[np.arange(500), labels].mean())

    best = optimize.minimize_scalar(loss, bounds=(0.2, 5), method="bounded").x
    assert fit_temperature(logits, labels) == pytest.approx(best, rel=0.01)


def test_no_clips_no_temperature() -> None:
    with pytest.raises(ConfigError, match="no clips to fit the temperature on"):
        fit_temperature(np.zeros((0, 4)), np.zeros(0, np.int64))
