"""Importance of features, and the projection of clips from feature space to the plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emovox._arrays import Doubles, Floats
from emovox.errors import ConfigError, MissingExtraError, did_you_mean
from emovox.features.normalization import QuantileNormaliser, RobustNormaliser, StandardNormaliser
from emovox.labels import EMOTIONS, EXTRAS
from emovox.reports.colours import colour, marker
from emovox.reports.figures.canvas import (
    BLUE,
    INK,
    escape_text,
    label_axes,
    make_axes,
    make_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "CLIP",
    "MOST_GROUPS",
    "PROJECTIONS",
    "SCALES",
    "Projection",
    "check_method",
    "check_scale",
    "draw_importance",
    "draw_projection",
    "project",
]

MOST_GROUPS = 12
"""Groups that can be distinguished; the largest are drawn, the others as one."""

CLIP = 5.0
"""Units of its scale at which a value is cut, either way. Without it a column with a long tail would press
all clips but a few into one spot."""

_OTHERS = "others"
_CYCLE = tuple(EMOTIONS)
"""Emotions whose colours and markers other groups borrow."""


def draw_importance(
    scores: Mapping[str, float], *, n: int = 20, unit: str = "importance", title: str, caption: str = ""
) -> Figure:
    """Draw the ``n`` columns of the highest scores, best first.

    Args:
        scores: column -> score; nan where there is none.
        unit: what a score is.

    Raises:
        ConfigError: no score is a number, or ``n`` is below 1.
        MissingExtraError: matplotlib is not installed.
    """
    known = {name: score for name, score in scores.items() if math.isfinite(score)}
    if not known or n < 1:
        raise ConfigError(
            f"{len(known)} of {len(scores)} columns have a score, and {n} are asked for; expected 1 or more"
        )
    best = sorted(known.items(), key=lambda pair: -pair[1])[:n]
    shown = f"The {len(best)} highest of {len(scores)} columns. " if len(best) < len(scores) else ""
    lost = f"{len(scores) - len(known)} have no score. " if len(known) < len(scores) else ""
    figure = make_figure(7.6, 1.6 + 0.26 * len(best), title=title, caption=shown + lost + caption)
    axes = make_axes(figure, grid="x")
    axes.barh(range(len(best)), [score for _, score in best], height=0.66, color=BLUE, alpha=0.8)
    for place, (_, score) in enumerate(best):
        axes.annotate(
            f"{score:.3g}",
            (max(score, 0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.set_yticks(range(len(best)), [escape_text(name) for name, _ in best], fontsize=8.5)
    axes.set_ylim(len(best) - 0.4, -0.6)
    axes.margins(x=0.12)
    label_axes(axes, unit, "")
    return figure


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Rows of features in two dimensions."""

    method: str
    points: Doubles
    """``(n, 2)``."""
    explained: tuple[float, float] | None
    """Share of the variance along each axis, 0 to 1; ``None`` for UMAP."""
    n_columns: int
    """Columns that vary."""
    scale: str = "standard"
    """Scale of the columns: a key of ``SCALES``."""


def project(rows: ArrayLike, method: str = "pca", *, scale: str = "standard", seed: int = 0) -> Projection:
    """Scale rows ``(n, d)``, with missing values at their column's mean, and project them to the plane.

    Args:
        method: ``pca`` (principal components, by singular values), or ``umap`` (McInnes et al., 2018).
        scale: of the columns: ``standard`` (mean and deviation) or ``robust`` (median and quartiles), both
            cut at ``CLIP``; ``rank`` (0 to 1 among the rows) where whole families of columns have long tails,
            as energies have; ``none`` leaves them in their own units.
        seed: of what is random in UMAP.

    Raises:
        ConfigError: an unknown method or scale, fewer than three rows, or fewer than two columns that vary.
        MissingExtraError: the method needs an extra that is not installed.
    """
    check_method(method)
    check_scale(scale)
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim != 2 or len(x) < 3:
        raise ConfigError(f"the rows have the shape {x.shape}; expected (n, d) with three rows or more")
    scaled = SCALES[scale](np.where(np.isfinite(x), x, np.nan))
    if scaled.shape[1] < 2:
        raise ConfigError(f"{scaled.shape[1]} of {x.shape[1]} columns vary; expected two or more")
    # Centred, so that a missing value is its column's mean.
    scaled = np.nan_to_num(scaled - np.nanmean(scaled, axis=0))
    points, explained = PROJECTIONS[method](scaled, seed)
    return Projection(method, points, explained, scaled.shape[1], scale)


def check_method(method: str) -> None:
    """Raise ConfigError, naming the nearest, where there is no such projection."""
    if method not in PROJECTIONS:
        raise ConfigError(f"no projection {method!r}; {did_you_mean(method, PROJECTIONS)}")


def check_scale(scale: str) -> None:
    """Raise ConfigError, naming the nearest, where there is no such scale."""
    if scale not in SCALES:
        raise ConfigError(f"no scale {scale!r}; {did_you_mean(scale, SCALES)}")


def _standard(rows: Doubles) -> Doubles:
    scale = StandardNormaliser.fit(rows)
    return _cut(scale.transform(rows), scale.std)


def _robust(rows: Doubles) -> Doubles:
    """Scale by quartiles; a column whose quartiles coincide has no such scale and is left out."""
    scale = RobustNormaliser.fit(rows)
    return _cut(scale.transform(rows), scale.spread)


def _cut(scaled: Floats, spread: Doubles) -> Doubles:
    return np.clip(scaled[:, np.nan_to_num(spread) > 0].astype(np.float64), -CLIP, CLIP)


def _unscaled(rows: Doubles) -> Doubles:
    return rows[:, np.nan_to_num(StandardNormaliser.fit(rows).std) > 0]


def _rank(rows: Doubles) -> Doubles:
    varying = _unscaled(rows)
    return QuantileNormaliser.fit(varying).transform(varying).astype(np.float64) if varying.size else varying


SCALES: Mapping[str, Callable[[Doubles], Doubles]] = {
    "standard": _standard,
    "robust": _robust,
    "rank": _rank,
    "none": _unscaled,
}
"""Name -> ``rows (n, d) -> the columns that vary (n, m)``; nan stays nan."""


def _pca(x: Doubles, seed: int) -> tuple[Doubles, tuple[float, float] | None]:
    """Return the two components of most variance; each component's largest weight is positive."""
    left, sizes, weights = np.linalg.svd(x, full_matrices=False)
    signs = np.sign(weights[np.arange(2), np.abs(weights[:2]).argmax(axis=1)])
    share = sizes**2 / max(float((sizes**2).sum()), 1e-300)
    return left[:, :2] * sizes[:2] * signs, (float(share[0]), float(share[1]))


def _umap(x: Doubles, seed: int) -> tuple[Doubles, tuple[float, float] | None]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingExtraError("the projection 'umap'", "umap") from error
    n_neighbors = min(15, len(x) - 1)
    found = UMAP(n_neighbors=n_neighbors, random_state=seed, n_jobs=1).fit_transform(x)
    return np.asarray(found, dtype=np.float64), None


PROJECTIONS: Mapping[str, Callable[[Doubles, int], tuple[Doubles, tuple[float, float] | None]]] = {
    "pca": _pca,
    "umap": _umap,
}
"""Name -> ``(rows (n, d) of one scale, seed) -> (points (n, 2), shares of the variance)``."""


def draw_projection(
    found: Projection, groups: Sequence[str | None], *, by: str = "emotion", title: str, caption: str = ""
) -> Figure:
    """Draw a point per clip, in the colour of its group.

    Args:
        groups: of each clip, ``(n,)``; ``None`` is unknown.
        by: what the groups are; emotions have colours of their own.

    Raises:
        ConfigError: there are not as many groups as points.
        MissingExtraError: matplotlib is not installed.
    """
    if len(groups) != len(found.points):
        raise ConfigError(f"got {len(groups)} groups for {len(found.points)} points; expected one a point")
    names = np.array(_merge_small([group or "unknown" for group in groups]))
    figure = make_figure(7.4, 5.6, title=title, caption=f"{_describe(found)} {caption}")
    axes = make_axes(figure)
    size = float(np.clip(20000 / len(names), 15, 45))
    for name in _order(names):
        x, y = found.points[names == name].T
        tone, mark = _style(name, _order(names))
        axes.scatter(
            x, y, s=size, c=tone, marker=mark, alpha=0.7, linewidths=0.3, edgecolors="white",
            label=f"{escape_text(name)} ({len(x)})",
        )  # fmt: skip
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8.5, frameon=False, title=by, markerscale=1.3
    )
    axes.margins(0.04)
    label_axes(axes, _axis_label(found, 0), _axis_label(found, 1))
    return figure


_SCALED: Mapping[str, str] = {
    "standard": f"of one scale, cut at {CLIP:g} standard deviations",
    "robust": f"of one scale, cut at {CLIP:g} times the distance of the quartiles",
    "rank": "as ranks among the clips, 0 to 1",
    "none": "in their own units",
}
_UNITS: Mapping[str, str] = {
    "standard": ", standard units",
    "robust": ", distances of quartiles",
    "rank": ", ranks",
    "none": "",
}


def _describe(found: Projection) -> str:
    scale = f"{len(found.points)} clips, {found.n_columns} columns {_SCALED[found.scale]}."
    if found.explained is None:
        return f"UMAP: near points are alike; distances between far ones mean nothing. {scale}"
    return f"The two principal components hold {100 * sum(found.explained):.1f} % of the variance. {scale}"


def _axis_label(found: Projection, n: int) -> str:
    if found.explained is None:
        return f"UMAP {n + 1}, no unit"
    return f"component {n + 1}{_UNITS[found.scale]} ({100 * found.explained[n]:.1f} % of the variance)"


def _merge_small(groups: Sequence[str]) -> list[str]:
    """Keep the names of the largest groups, and call the others one."""
    names = sorted(set(groups), key=lambda name: (-groups.count(name), name))
    if len(names) <= MOST_GROUPS:
        return list(groups)
    kept = set(names[: MOST_GROUPS - 1])
    return [name if name in kept else _OTHERS for name in groups]


def _order(names: NDArray[np.str_]) -> list[str]:
    """Order emotions as usual, then other groups by name, then the rest."""
    order = (*EMOTIONS, *EXTRAS)
    known = {str(name) for name in names}
    return sorted(known, key=lambda name: (name == _OTHERS, order.index(name) if name in order else -1, name))


def _style(name: str, names: Sequence[str]) -> tuple[str, str]:
    if name in EMOTIONS or name in EXTRAS or name in (_OTHERS, "unknown"):
        return colour(name), marker(name)
    place = names.index(name)
    # Twelve groups, nine colours: markers continue in another order, so that no pair occurs twice.
    return colour(_CYCLE[place % 9]), marker(_CYCLE[(place + place // 9 * 4) % 9])
