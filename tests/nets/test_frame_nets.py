"""Nets on frames: padding does not change the output; graphs equal nets; settings are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from emovox.errors import ConfigError  # noqa: E402
from emovox.features import find_feature_set  # noqa: E402
from emovox.nets.base import SingleFrameNet  # noqa: E402
from emovox.nets.layers import reverse_frames  # noqa: E402
from emovox.nets.registry import NETS, make_net  # noqa: E402
from emovox.training.export import TOLERANCE, check_parity, to_onnx  # noqa: E402
from emovox.training.neural.clips import trim_constant_end  # noqa: E402
from small_nets import SMALL_NETS  # noqa: E402

D, N_LABELS = 7, 5
QUICK = ("bilstm", "cnn1d")
"""Exported in every run of the tests; the others, at seconds each, among the slow ones."""
pytestmark = pytest.mark.usefixtures("one_thread")


def taught(name: str, **params: Any) -> Any:
    """A net whose weights, scale and running statistics are no longer those of the beginning."""
    torch.manual_seed(3)
    net = make_net(name, SMALL_NETS[name] | params, n_in=D, n_labels=N_LABELS)
    net.standardizer.set_statistics(torch.linspace(-1, 1, D), torch.linspace(0.5, 2, D))
    net.train()
    for _ in range(3):
        net(torch.randn(4, 30, D), torch.tensor([30, 4, 17, 9]))
    return net.eval()


def test_all_frame_nets_are_tested() -> None:
    assert SMALL_NETS.keys() == {name for name, entry in NETS.items() if entry.input == "frames"}


@pytest.mark.parametrize("pooling", ["mean", "statistics", "attention", "last"])
@pytest.mark.parametrize("name", SMALL_NETS)
def test_padding_does_not_matter(name: str, pooling: str) -> None:
    net = taught(name, pooling=pooling)
    lengths = torch.tensor([40, 3, 17, 1])
    x = torch.randn(4, 40, D)
    with torch.inference_mode():
        together = net(x, lengths)
        alone = torch.cat([net(x[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths)])
        for i, n in enumerate(lengths):
            x[i, n:] = float("nan")
        assert torch.equal(net(x, lengths), together), "what stands in the padding is heard"
        x[0, 39] += 3
        assert not torch.allclose(net(x, lengths)[0], together[0])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["statistics", "last"])
@pytest.mark.parametrize("name", ["lstm", "cnn1d"])
def test_constant_frames_at_the_end_do_not_matter(name: str, pooling: str) -> None:
    """Sets such as seed-clstm pad every recording to one length, which gives many equal frames."""
    net = taught(name, pooling=pooling)
    x = torch.randn(3, 20, D)
    x[0, 12:] = x[0, 12]
    x[1] = 1.0
    x[2, 5:] = float("nan")
    with torch.inference_mode():
        padded = net(x, torch.tensor([20, 20, 20]))
        alone = torch.cat([net(x[i : i + 1, :n], torch.tensor([n])) for i, n in enumerate((13, 1, 6))])
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-5)
    for clip, n in zip(x.numpy(), (13, 1, 6), strict=True):
        assert len(trim_constant_end(clip)) == n
    assert len(trim_constant_end(x[2, :5].numpy())) == 5


def test_padded_set_is_as_short_as_the_sound() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)
    frames = find_feature_set("seed-clstm")(sound)
    assert len(frames) == 401
    assert 150 <= len(trim_constant_end(frames)) <= 155


@pytest.mark.parametrize("name", SMALL_NETS)
def test_padding_does_not_change_gradients(name: str) -> None:
    """Batch statistics are those of frames that exist: more padding, the same loss and the same gradients."""
    net = taught(name, dropout=0.0).train()
    lengths, x = torch.tensor([20, 9]), torch.randn(2, 20, D)
    found = []
    for padding in (0, 13):
        net.zero_grad()
        net(torch.nn.functional.pad(x, (0, 0, 0, padding), value=99.0), lengths).square().sum().backward()
        found.append(torch.cat([p.grad.ravel() for p in net.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SMALL_NETS]
)
def test_graph_equals_net(name: str) -> None:
    """Batches of 1 and of 16, of 0.3 s to 20 s in frames of 10 ms."""
    net = taught(name)
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal((n, D)).astype(np.float32) for n in (200, 30, 2000, 63)]
    clips[1][4:9, 2] = np.nan
    model = to_onnx(net, clips, name=name, kind="frames")
    sixteen = [clips[n % 4][: len(clips[n % 4]) - n] for n in range(16)]
    assert check_parity(net, model, sixteen, kind="frames") <= TOLERANCE
    assert check_parity(net, model, [clips[0][:1]], kind="frames") <= TOLERANCE


def test_single_frame_net_is_exported() -> None:
    net = SingleFrameNet(taught("mlp"))
    rows = list(np.random.default_rng(0).standard_normal((5, D)).astype(np.float32))
    rows[2][3] = np.nan
    assert check_parity(net, to_onnx(net, rows, kind="vector"), rows, kind="vector") <= TOLERANCE


def test_missing_value_is_the_mean() -> None:
    net = taught("gru")
    x, lengths = torch.randn(1, 6, D), torch.tensor([6])
    mean, missing = x.clone(), x.clone()
    mean[:, :, 2], missing[:, :, 2] = float(net.standardizer.mean[2]), float("nan")
    torch.testing.assert_close(net(mean, lengths), net(missing, lengths))


def test_reverse_frames_per_clip() -> None:
    z = torch.arange(8.0).reshape(2, 4, 1)
    back = reverse_frames(z, torch.tensor([4, 2]))[..., 0]
    assert back[0].tolist() == [3, 2, 1, 0]
    assert back[1, :2].tolist() == [5, 4]


def test_bidirectional_equals_torch() -> None:
    net = taught("bilstm", n_layers=1)
    other = torch.nn.LSTM(D, 8, batch_first=True, bidirectional=True)
    for suffix, cell in (("", net.recurrent.forwards[0]), ("_reverse", net.recurrent.backwards[0])):
        for name, value in cell.named_parameters():
            other.get_parameter(name + suffix).data.copy_(value)
    x, lengths = torch.randn(2, 9, D), torch.tensor([9, 5])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    expected = torch.nn.utils.rnn.pad_packed_sequence(other(packed)[0], batch_first=True)[0]
    torch.testing.assert_close(net.recurrent(x, lengths), expected)


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("lstn", {}, "did you mean 'lstm'"),
        ("lstm", {"hiden": 3}, "did you mean 'hidden'"),
        ("lstm", {"hidden": 0}, "hidden is 0; expected whole numbers from 1"),
        ("lstm", {"hidden": 2.5}, "expected whole numbers"),
        ("lstm", {"dropout": float("nan")}, "dropout is nan"),
        ("lstm", {"bidirectional": "yes"}, "expected true or false"),
        ("lstm", {"cell": "rnn"}, "expected lstm or gru"),
        ("lstm", {"pooling": "max"}, "expected one of mean, statistics"),
        ("lstm", {"n_in": 3}, "no setting 'n_in'"),
        ("cnn1d", {"channels": 64}, "expected a list"),
        ("cnn1d", {"channels": []}, "expected one at least"),
        ("cnn1d", {"kernel": 4}, "odd kernel"),
        ("conformer", {"channels": 10}, "divide by n_heads"),
    ],
)
def test_invalid_setting_is_refused(name: str, params: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make_net(name, params, n_in=D, n_labels=N_LABELS)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_weights_begin_as_in_keras(name: str) -> None:
    layer = make_net(name, {"hidden": 8}, n_in=D, n_labels=N_LABELS).recurrent.forwards[0]
    for gate in layer.weight_hh_l0.chunk(4 if name == "lstm" else 3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), rtol=0, atol=1e-5)
    forget = [0.0] * 8 + [1.0] * 8 + [0.0] * 16 if name == "lstm" else [0.0] * 24
    assert (layer.bias_ih_l0 + layer.bias_hh_l0).tolist() == forget


def test_lstm_remembers_over_100_frames() -> None:
    """Only the first of 100 frames depends on the label."""
    torch.manual_seed(0)
    labels = torch.arange(64) % 2
    x = 0.1 * torch.randn(64, 100, 2)
    x[:, 0, 0] = 2.0 * labels - 1
    params = {"hidden": 16, "n_layers": 1, "pooling": "last", "dropout": 0.0}
    net = make_net("lstm", params, n_in=2, n_labels=2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(net(x, torch.full((64,), 100)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
