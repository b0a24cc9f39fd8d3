"""Open and run an ONNX graph that may come from anywhere: it is checked before onnxruntime reads it.

By the kind of its input a graph takes

- ``waveform``: ``waveform`` ``(b, n)`` float32 and ``lengths`` ``(b,)`` int64, and optionally ``offset``
  ``(b, d)`` float32, which is subtracted from the embedding before the head, and ``memory`` ``(b, p, m)``
  float32 of sound before, with p = 0 for none, and ``span`` ``(b, 2)`` int64, the first and one past the last
  frame of memory and sound that are averaged;
- ``vector``: ``features`` ``(b, d)`` float32, nan where one is missing;
- ``frames``: ``features`` ``(b, t, d)`` float32 and ``lengths`` ``(b,)`` int64;

and returns ``logits`` ``(b, n_labels)`` float32 or ``values`` ``(b, n_values)`` float32 or both, and
optionally ``embedding`` ``(b, d)`` float32 (before the offset) and ``speech`` ``(b,)`` float32, the logit of
the probability that the sound is speech. A graph with a memory returns ``next_memory``, for sound after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox._telemetry import disable_telemetry
from emovox.bundles.external_data import refuse_external_data
from emovox.errors import BundleCorruptError

__all__ = ["Kind", "ModelOutput", "OnnxModel", "complete_feed", "make_feed"]

Kind = Literal["waveform", "vector", "frames"]

ALL_FRAMES = 0, 1 << 40
"""The span of a sound that is averaged as a whole."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelOutput:
    """What a graph returns for ``b`` sounds."""

    logits: Floats
    """``(b, n_labels)``."""
    values: Floats
    """``(b, n_values)``."""
    embedding: Floats | None = None
    """``(b, d)``, before the offset; ``None``: the graph has none."""
    speech: Floats | None = None
    """``(b,)`` logits; ``None``: the graph has none."""
    memory: Floats | None = None
    """``(b, p, m)``, to continue the sounds with; ``None``: it was not asked for."""

    def embedding_of(self, item: int) -> Floats | None:
        """The embedding ``(d,)`` of one sound; ``None``: the graph has none."""
        return None if self.embedding is None else self.embedding[item]

    def speech_probability(self, item: int) -> float:
        """The probability that one sound is speech; 1 when the graph does not say."""
        if self.speech is None:
            return 1.0
        return 0.5 + 0.5 * math.tanh(0.5 * float(self.speech[item]))


class OnnxModel:
    """A graph in an onnxruntime session. Immutable and safe to share between threads.

    Args:
        model: the bytes of an ONNX file, complete in itself.
        name: of the bundle, for messages.
        n_labels: how many logits it must return.
        n_values: how many values it must return.
        kind: of its input.
        n_columns: how many features it takes, unless it takes the waveform.
        threads: threads that one run may use.

    Raises:
        BundleCorruptError: the bytes are no usable graph.
    """

    def __init__(
        self,
        model: bytes,
        *,
        name: str,
        n_labels: int,
        n_values: int = 0,
        kind: Kind = "waveform",
        n_columns: int | None = None,
        threads: int = 1,
    ) -> None:
        self._name = f"the graph of bundle {name!r}"
        self._widths = {"logits": n_labels, "values": n_values}
        self._kind = kind
        try:
            refuse_external_data(model)
            self.session = _open(model, threads)
            self.offset_size = _check_inputs(self.session, kind, n_columns)
            """Columns of the input ``offset``; ``None``: the graph has none."""
            self.memory_size = _find_memory_size(self.session)
            """Columns of the input ``memory``; ``None``: the graph has none."""
            self._outputs = _check_outputs(self.session, self._widths, self.offset_size)
            # Its 8-bit scales are taken over the whole batch: an item would depend on its neighbours.
            self._one_by_one = b"DynamicQuantizeLinear" in model
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise BundleCorruptError(f"{self._name} cannot be used: {_first_line(error)}") from error

    @property
    def has_speech_output(self) -> bool:
        """Whether it says how probable speech is."""
        return "speech" in self._outputs

    @property
    def embedding_size(self) -> int | None:
        """Columns of its embedding; ``None``: it has none."""
        shapes = {port.name: port.shape for port in self.session.get_outputs()}
        return int(shapes["embedding"][1]) if "embedding" in self._outputs else None

    def __call__(self, items: Sequence[Floats]) -> Floats:
        """Return the logits ``(len(items), n_labels)`` float32 of one run; arguments and errors as `run`."""
        return self.run(items).logits

    def run(self, items: Sequence[Floats], offset: Floats | None = None) -> ModelOutput:
        """Run over ``items``: sounds ``(n,)``, rows ``(d,)`` or frames ``(t, d)``, by its kind.

        Args:
            items: each float32; a sound has at least one sample, frames at least one row.
            offset: ``(d,)``, subtracted from every embedding, in a graph that takes one; ``None``: zeros.

        Raises:
            BundleCorruptError: the graph failed, or returned another shape or something not finite.
        """
        if not items:
            return ModelOutput(*(np.zeros((0, width), np.float32) for width in self._widths.values()))
        if self._one_by_one and len(items) > 1:
            return _stack([self.run([item], offset) for item in items])
        feed = make_feed(self._kind, items)
        if offset is not None:
            feed["offset"] = np.tile(offset, (len(items), 1))
        return self._run(feed, self._outputs)

    def run_block(
        self, sound: Floats, memory: Floats | None, span: tuple[int, int], offset: Floats | None = None
    ) -> ModelOutput:
        """Run over a sound ``(n,)`` that continues another one.

        Args:
            sound: float32, at least one sample.
            memory: that of the output of the sound before, ``(1, p, memory_size)``; ``None``: there was none.
            span: first frame that is averaged, from the first of the memory, and the one past the last.
            offset: as in `run`.

        Raises:
            BundleCorruptError: as `run`.
        """
        feed = make_feed(self._kind, [sound]) | {"span": np.array([span], np.int64)}
        if memory is not None:
            feed["memory"] = memory
        if offset is not None:
            feed["offset"] = offset[None]
        return self._run(feed, [*self._outputs, "next_memory"])

    def _run(self, feed: dict[str, NDArray[Any]], outputs: Sequence[str]) -> ModelOutput:
        n = len(next(iter(feed.values())))
        try:
            values = self.session.run(outputs, complete_feed(feed, self.session))
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise BundleCorruptError(f"{self._name} failed: {_first_line(error)}") from error
        found: dict[str, Floats] = dict(zip(outputs, values, strict=True))
        memory = found.pop("next_memory", None)  # what is wrong in it is found in the answers after it
        for output, width in self._widths.items():
            values = found.setdefault(output, np.zeros((n, width), np.float32))
            if values.shape != (expected := (n, width)):
                raise BundleCorruptError(f"{self._name} answers shape {values.shape}, expected {expected}")
        for values in found.values():
            if len(values) != n or not np.isfinite(values).all():
                raise BundleCorruptError(f"{self._name} answers numbers that are not finite")
        return ModelOutput(
            found["logits"], found["values"], found.get("embedding"), found.get("speech"), memory
        )


def _stack(outputs: Sequence[ModelOutput]) -> ModelOutput:
    embeddings = [output.embedding for output in outputs if output.embedding is not None]
    speech = [output.speech for output in outputs if output.speech is not None]
    return ModelOutput(
        np.concatenate([output.logits for output in outputs]),
        np.concatenate([output.values for output in outputs]),
        np.concatenate(embeddings) if embeddings else None,
        np.concatenate(speech) if speech else None,
    )


def make_feed(kind: Kind, items: Sequence[Floats]) -> dict[str, NDArray[Any]]:
    """Return the inputs of one run, by name; what is shorter than the longest is filled with zeros."""
    if kind == "vector":
        return {"features": np.stack(items)}
    lengths = np.array([len(x) for x in items], np.int64)
    batch = np.zeros((len(items), int(lengths.max()), *items[0].shape[1:]), np.float32)
    for row, x in zip(batch, items, strict=True):
        row[: len(x)] = x
    return {"waveform" if kind == "waveform" else "features": batch, "lengths": lengths}


def complete_feed(feed: dict[str, NDArray[Any]], session: Any) -> dict[str, NDArray[Any]]:
    """Add the inputs that a feed lacks for clips: no offset, no memory, and all frames averaged."""
    n = len(next(iter(feed.values())))
    for port in session.get_inputs():
        if port.name == "offset":
            feed.setdefault("offset", np.zeros((n, port.shape[1]), np.float32))
        if port.name == "memory":
            feed.setdefault("memory", np.zeros((n, 0, port.shape[2]), np.float32))
        if port.name == "span":
            feed.setdefault("span", np.tile(np.array(ALL_FRAMES, np.int64), (n, 1)))
    return feed


def _open(model: bytes, threads: int) -> Any:
    """Open a session that prints nothing, is small, and uses no processor while it is not run."""
    disable_telemetry()
    import onnxruntime as ort  # here, since reading a spec must not load it

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Without the arena, the C library returns the memory of sounds of 6 s and more to the system after every
    # run, and page faults slow the next one. It keeps what the longest sound needed; clips are bounded.
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False  # lengths vary from call to call: a plan for each would be kept
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Its fallback would try the same provider again, and print that it does.
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def _check_inputs(session: Any, kind: Kind, n_columns: int | None) -> int | None:
    """Check the inputs: those of the kind, as wide as the features, otherwise free. The offset's width."""
    names: dict[Kind, tuple[str, str]] = {
        "waveform": ("waveform", "bn"),
        "vector": ("features", "bd"),
        "frames": ("features", "btd"),
    }
    name, axes = names[kind]
    inputs = session.get_inputs()
    found = {port.name: (port.type, len(port.shape)) for port in inputs}
    wanted = {name: ("tensor(float)", len(axes))}
    if kind != "vector":
        wanted["lengths"] = ("tensor(int64)", 1)
    sizes = {port.name: list(port.shape) for port in inputs}
    offset_size = None
    if kind == "waveform" and found.get("offset") == ("tensor(float)", 2):
        del found["offset"]
        offset_size = sizes["offset"].pop()
        if not isinstance(offset_size, int):
            raise BundleCorruptError("the width of its input offset is not fixed")
    if kind == "waveform" and found.get("memory") == ("tensor(float)", 3):
        if found.get("span") != ("tensor(int64)", 2) or sizes["span"].pop() != 2:
            raise BundleCorruptError("it takes a memory, and has no input span (b, 2) of int64")
        del found["memory"], found["span"]
        sizes["memory"].pop()
    if found != wanted:
        raise BundleCorruptError(f"it takes {found}, expected {wanted}")
    if kind != "waveform" and (width := sizes[name].pop()) != n_columns:
        raise BundleCorruptError(f"it takes {width} features, spec.json names {n_columns} columns")
    if any(isinstance(size, int) for shape in sizes.values() for size in shape):
        raise BundleCorruptError("it has a fixed batch or length; both must be free")
    return offset_size


def _check_outputs(session: Any, widths: dict[str, int], offset_size: int | None) -> list[str]:
    """Check the outputs: logits and values, an embedding as wide as the offset. Names to ask for."""
    outputs = {port.name: (port.type, port.shape) for port in session.get_outputs()}
    names = [name for name, width in widths.items() if width]
    for name in names:
        kind, shape = outputs.get(name, ("nothing", []))
        what = {"logits": "labels", "values": "targets"}[name]
        if kind != "tensor(float)" or len(shape) != 2:
            raise BundleCorruptError(
                f"it has no output {name} (b, n_{what}) of float32, but {sorted(outputs)}"
            )
        if shape[1] != widths[name]:
            raise BundleCorruptError(f"it answers {shape[1]} {name}, spec.json names {widths[name]} {what}")
    kind, shape = outputs.get("embedding", ("nothing", []))
    if kind == "tensor(float)" and len(shape) == 2 and isinstance(shape[1], int):
        names.append("embedding")
        if offset_size not in (None, shape[1]):
            raise BundleCorruptError(f"its offset has {offset_size} columns, its embedding {shape[1]}")
    elif offset_size is not None:
        raise BundleCorruptError("it takes an offset, and has no output embedding (b, d) of float32")
    kind, shape = outputs.get("speech", ("nothing", []))
    if kind == "tensor(float)" and len(shape) == 1:
        names.append("speech")
    return names


def _find_memory_size(session: Any) -> int | None:
    """Columns of the input memory, which the output next_memory has as well; ``None``: there is none."""
    taken = {port.name: port.shape for port in session.get_inputs()}.get("memory")
    if taken is None:
        return None
    given = {port.name: (port.type, port.shape) for port in session.get_outputs()}.get("next_memory")
    if not isinstance(taken[2], int) or given is None or given[0] != "tensor(float)":
        raise BundleCorruptError("it takes a memory, and has no output next_memory (b, p, m) of float32")
    if len(given[1]) != 3 or given[1][2] != taken[2]:
        raise BundleCorruptError(f"it takes a memory of {taken[2]} columns, its next_memory has {given[1]}")
    return taken[2]


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, BundleCorruptError) else f"{type(error).__name__}: {text}"
