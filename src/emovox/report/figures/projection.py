"""How do clips lie in the space of their features?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emovox.errors import ConfigError, MissingExtraError
from emovox.features.normalise import Standard
from emovox.labels import EMOTIONS, EXTRAS
from emovox.report.colours import colour, marker
from emovox.report.figures.canvas import label_axes, panel, plain, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_GROUPS", "PROJECTIONS", "Projection", "known_method", "project", "projection_figure"]

MOST_GROUPS = 12
"""Groups that can be told apart; those of most clips are drawn, the others together."""

_OTHERS = "others"
_CYCLE = tuple(EMOTIONS)
"""Whose colours and markers groups have that are no emotions."""

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Rows of features in two dimensions."""

    method: str
    points: Points
    """``(n, 2)``."""
    explained: tuple[float, float] | None
    """Share of the variance along each axis, 0 to 1; ``None`` where there is no such thing."""
    n_columns: int
    """That vary, of the rows' own."""


def project(rows: ArrayLike, method: str = "pca", *, seed: int = 0) -> Projection:
    """Rows ``(n, d)`` brought to one scale, a missing value being its column's mean, then to the plane.

    Args:
        method: ``pca`` (principal components, by singular values), or ``umap`` (McInnes et al., 2018).
        seed: of what is random in UMAP.

    Raises:
        ConfigError: an unknown method, fewer than three rows, or fewer than two columns that vary.
        MissingExtraError: the method needs an extra that is not installed.
    """
    known_method(method)
    scaled = _scaled(np.asarray(rows, dtype=np.float64))
    points, explained = PROJECTIONS[method](scaled, seed)
    return Projection(method, points, explained, scaled.shape[1])


def known_method(method: str) -> None:
    """Refuse an unknown one, before the work.

    Raises:
        ConfigError: there is none of that name; the message names the nearest.
    """
    if method not in PROJECTIONS:
        near = difflib.get_close_matches(method, PROJECTIONS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PROJECTIONS)}"
        raise ConfigError(f"no projection {method!r}; {hint}")


def _scaled(rows: Points) -> Points:
    """Columns that vary, with mean 0 and deviation 1; a missing value is the mean."""
    if rows.ndim != 2 or len(rows) < 3:
        raise ConfigError(f"the rows have the shape {rows.shape}; expected (n, d) with three rows or more")
    known = np.where(np.isfinite(rows), rows, np.nan)
    scale = Standard.fit(known)
    varying = np.nan_to_num(scale.std) > 0
    if varying.sum() < 2:
        raise ConfigError(f"{int(varying.sum())} of {rows.shape[1]} columns vary; expected two or more")
    kept: Points = np.nan_to_num(scale.transform(known)[:, varying].astype(np.float64))
    return kept


def _pca(x: Points, seed: int) -> tuple[Points, tuple[float, float] | None]:
    """Scores on the two components of most variance; each component's largest weight is positive."""
    left, sizes, weights = np.linalg.svd(x, full_matrices=False)
    signs = np.sign(weights[np.arange(2), np.abs(weights[:2]).argmax(axis=1)])
    share = sizes**2 / max(float((sizes**2).sum()), 1e-300)
    return left[:, :2] * sizes[:2] * signs, (float(share[0]), float(share[1]))


def _umap(x: Points, seed: int) -> tuple[Points, tuple[float, float] | None]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingExtraError("the projection 'umap'", "umap") from error
    n_neighbors = min(15, len(x) - 1)
    found = UMAP(n_neighbors=n_neighbors, random_state=seed, n_jobs=1).fit_transform(x)
    return np.asarray(found, dtype=np.float64), None


PROJECTIONS: Mapping[str, Callable[[Points, int], tuple[Points, tuple[float, float] | None]]] = {
    "pca": _pca,
    "umap": _umap,
}
"""Name -> ``(rows (n, d) of one scale, seed) -> (points (n, 2), shares of the variance)``."""


def projection_figure(
    found: Projection, groups: Sequence[str | None], *, by: str = "emotion", title: str, caption: str = ""
) -> Figure:
    """A point a clip, in the colour of its group.

    Args:
        groups: what each clip belongs to, ``(n,)``; ``None`` is not known.
        by: what groups are: emotions have colours of their own.

    Raises:
        ConfigError: there are not as many groups as points.
        MissingExtraError: matplotlib is not installed.
    """
    if len(groups) != len(found.points):
        raise ConfigError(f"got {len(groups)} groups for {len(found.points)} points; expected one a point")
    names = np.array(_few([group or "not known" for group in groups]))
    figure = sheet(7.4, 5.6, title=title, caption=f"{_told(found)} {caption}")
    axes = panel(figure)
    size = float(np.clip(20000 / len(names), 15, 45))
    for name in _ordered(names):
        x, y = found.points[names == name].T
        tone, mark = _style(name, _ordered(names))
        axes.scatter(
            x, y, s=size, c=tone, marker=mark, alpha=0.7, linewidths=0.3, edgecolors="white",
            label=f"{plain(name)} ({len(x)})",
        )  # fmt: skip
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8.5, frameon=False, title=by, markerscale=1.3
    )
    axes.margins(0.04)
    label_axes(axes, _axis(found, 0), _axis(found, 1))
    return figure


def _told(found: Projection) -> str:
    scale = f"{len(found.points)} clips, {found.n_columns} columns of one scale."
    if found.explained is None:
        return f"UMAP: near points are alike, distances between far ones mean nothing. {scale}"
    return f"The two principal components hold {100 * sum(found.explained):.1f} % of the variance. {scale}"


def _axis(found: Projection, n: int) -> str:
    if found.explained is None:
        return f"UMAP {n + 1}, no unit"
    return f"component {n + 1}, standard units ({100 * found.explained[n]:.1f} % of the variance)"


def _few(groups: Sequence[str]) -> list[str]:
    """The groups of most clips by their name, the others as one."""
    names = sorted(set(groups), key=lambda name: (-groups.count(name), name))
    if len(names) <= MOST_GROUPS:
        return list(groups)
    kept = set(names[: MOST_GROUPS - 1])
    return [name if name in kept else _OTHERS for name in groups]


def _ordered(names: NDArray[np.str_]) -> list[str]:
    """Emotions in their order, other groups by name, the rest last."""
    order = (*EMOTIONS, *EXTRAS)
    known = {str(name) for name in names}
    return sorted(known, key=lambda name: (name == _OTHERS, order.index(name) if name in order else -1, name))


def _style(name: str, names: Sequence[str]) -> tuple[str, str]:
    if name in EMOTIONS or name in EXTRAS or name in (_OTHERS, "not known"):
        return colour(name), marker(name)
    place = names.index(name)
    # Twelve groups, nine colours: the markers go on in another order, so that no pair comes twice.
    return colour(_CYCLE[place % 9]), marker(_CYCLE[(place + place // 9 * 4) % 9])
