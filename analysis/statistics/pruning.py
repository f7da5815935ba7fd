"""What thresholds leave of an embedding, and of each class.

Conventions
-----------
kept
    A pair of a feature and a class is kept if D > t+ or D < t-. The paper's text leaves open what
    becomes of pairs on a threshold; they are pruned here, so that as many features per class are
    kept as d_avg counts.
shares
    Of all pairs of a layer, those at D = 0 and of constant features included.
by chance
    Features that the class keeps under shuffled labels, which leave its size as it is. Small
    classes keep more of them, so classes of different sizes are compared by what they keep beyond
    chance.
under-described
    A class that keeps no more features than it does under one of the shuffles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.data.labels import checked_labels
from analysis.statistics.named import by_name, feature_names
from analysis.statistics.noise import NoiseThresholds, checked_distances
from analysis.statistics.ranks import RankedFeatures
from analysis.statistics.significance import false_discovery, ks_p_values

Floats = NDArray[np.float64]


def kept(D: Any, thresholds: NoiseThresholds) -> Any:
    """Tell which pairs lie beyond the thresholds.

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances.
    thresholds : NoiseThresholds
        Of which t+ and t- are used.

    Returns
    -------
    ndarray or DataArray of bool, shape (classes, features)
        True where D > t+ or D < t-; a DataArray keeps its coordinates.
    """
    values = D if isinstance(D, xr.DataArray) else np.asarray(D)
    beyond = (values > thresholds.t_plus) | (values < thresholds.t_minus)
    return beyond.rename("kept") if isinstance(beyond, xr.DataArray) else beyond


def beyond_by_class(D: ArrayLike, shuffled: ArrayLike, *, step: float = 0.02) -> pd.DataFrame:
    """Features of each class beyond every distance, under both labellings (figure 9).

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    shuffled : array_like, shape (classes, features)
        Under labels shuffled once, as in the paper.
    step : float
        Between two distances, from 0 up to 1 and down to -1.

    Returns
    -------
    DataFrame
        ``labels`` ("real" or "shuffled"), ``class`` (position), ``x`` (ascending) and ``features``:
        how many have D > x for x >= 0, and D < x for x < 0 and for x = -0.0, which comes first.
    """
    x = np.linspace(0, 1, round(1 / step) + 1)
    parts = []
    for name, distances in (("real", D), ("shuffled", shuffled)):
        values = checked_distances(distances)
        below, above = _counts(-values, x), _counts(values, x)
        columns = {
            "labels": name,
            "class": np.repeat(np.arange(len(values)), 2 * x.size),
            "x": np.tile(np.concatenate([-x[::-1], x]), len(values)),
            "features": np.concatenate([below[:, ::-1], above], axis=1).ravel(),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _counts(values: Floats, x: Floats) -> NDArray[np.int64]:
    """Values of each row above each x, shape (rows, points)."""
    return np.stack([row.size - np.searchsorted(np.sort(row), x, side="right") for row in values])


def stand_out(D: ArrayLike, shuffled: ArrayLike, *, step: float = 0.005) -> pd.DataFrame:
    """How far noise reaches, and whether all classes stand out from it somewhere (figure 9).

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    shuffled : array_like, shape (classes, features)
        Under labels shuffled once, as in the paper.
    step : float
        Between two of the distances at which features are counted.

    Returns
    -------
    DataFrame
        One row, each column for presence (``_plus``, D > x) and for absence (``_minus``, D < -x):
        ``reach_low`` and ``reach_high``, quartiles over the shuffled classes of the widest
        distance, beyond which a class has no feature; and ``lead``, how many features more than
        its shuffled version a class has at least, at the x where that is most.
    """
    real, noise = checked_distances(D), checked_distances(shuffled)
    x = np.linspace(0, 1, round(1 / step) + 1)
    row: dict[str, float] = {}
    for side, sign in (("plus", 1), ("minus", -1)):
        low, high = np.quantile((sign * noise).max(axis=1).clip(0), [0.25, 0.75])
        row |= {f"reach_low_{side}": float(low), f"reach_high_{side}": float(high)}
        leads = _counts(sign * real, x) - _counts(sign * noise, x)
        row[f"lead_{side}"] = int(leads.min(axis=0).max())
    return pd.DataFrame([row])


def summarise_thresholds(
    D: ArrayLike, shuffled: ArrayLike, thresholds: NoiseThresholds, labels: ArrayLike
) -> pd.DataFrame:
    """Thresholds of a dataset and what they keep (table 3).

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    shuffled : array_like, shape (shuffles, classes, features)
        Under shuffled labels.
    thresholds : NoiseThresholds
        Of both.
    labels : array_like, shape (images,)
        Class of each image.

    Returns
    -------
    DataFrame
        One row: ``classes``, ``images_per_class`` (mean), ``features``; ``t_plus``, ``t_minus``,
        ``spread_plus``, ``spread_minus``; features kept per class, in the mean, by t+
        (``kept_plus``), t- (``kept_minus``) and either (``kept``), and of the class that keeps
        fewest (``least_plus``, ``least_minus``, ``least``); and the mean of either under shuffled
        labels (``kept_shuffled``).
    """
    values, t = checked_distances(D), thresholds
    sizes = np.unique(checked_labels(labels), return_counts=True)[1]
    row: dict[str, Any] = {"classes": len(values), "images_per_class": float(sizes.mean())}
    row |= {"features": values.shape[1], "t_plus": t.t_plus, "t_minus": t.t_minus}
    row |= {"spread_plus": t.spread.t_plus, "spread_minus": t.spread.t_minus}
    sides = {"_plus": values > t.t_plus, "_minus": values < t.t_minus, "": kept(values, t)}
    counts = {side: beyond.sum(axis=1) for side, beyond in sides.items()}
    row |= {f"kept{side}": float(count.mean()) for side, count in counts.items()}
    row |= {f"least{side}": int(count.min()) for side, count in counts.items()}
    row["kept_shuffled"] = float(kept(np.asarray(shuffled), t).mean() * values.shape[1])
    return pd.DataFrame([row])


def kept_by_part(
    D: xr.DataArray,
    shuffled: ArrayLike,
    thresholds: NoiseThresholds,
    parts: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Share of the pairs that thresholds keep, layer by layer (figure 10).

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinate ``layer``
        Signed distances under the labels.
    shuffled : array_like, shape (shuffles, classes, features)
        Under shuffled labels.
    thresholds : NoiseThresholds
        Of the whole embedding, one pair for all layers.
    parts : mapping of str to str, optional
        Part that each layer belongs to, such as its kind; by default each layer is one.

    Returns
    -------
    DataFrame
        A row per part, in order of appearance: ``part``, ``units``, and the shares of its pairs
        kept by t+ (``kept_plus``), by t- (``kept_minus``), by either (``kept``), and by either
        under shuffled labels (``kept_shuffled``).

    Raises
    ------
    ValueError
        If D has no layers, or a layer belongs to no part.
    """
    if "layer" not in D.coords:
        raise ValueError(f"expected the coordinate 'layer', got {list(D.coords)}")
    layers = [str(layer) for layer in D["layer"].to_numpy()]
    parts = parts or {layer: layer for layer in layers}
    without = [layer for layer in dict.fromkeys(layers) if layer not in parts]
    if without:
        raise ValueError(f"layers that belong to no part: {', '.join(without)}")
    of_feature = np.array([parts[layer] for layer in layers])
    real, noise = checked_distances(D), np.asarray(shuffled)
    rows = []
    for part in dict.fromkeys(of_feature.tolist()):
        own = of_feature == part
        values = real[:, own]
        rows.append(
            {
                "part": part,
                "units": int(own.sum()),
                "kept_plus": float((values > thresholds.t_plus).mean()),
                "kept_minus": float((values < thresholds.t_minus).mean()),
                "kept": float(kept(values, thresholds).mean()),
                "kept_shuffled": float(kept(noise[..., own], thresholds).mean()),
            }
        )
    return pd.DataFrame(rows)


def compare_with_discoveries(
    D: ArrayLike,
    thresholds: NoiseThresholds,
    X: ArrayLike | RankedFeatures | xr.DataArray,
    labels: ArrayLike,
    *,
    q: float = 0.05,
) -> pd.DataFrame:
    """How many features per class thresholds keep, and how many a false-discovery rate.

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    thresholds : NoiseThresholds
        What :func:`kept` goes by.
    X, labels
        As for :func:`~analysis.statistics.ks_p_values`.
    q : float
        False-discovery rate over the features of each class.

    Returns
    -------
    DataFrame
        One row: ``thresholds``, ``discoveries`` and ``both``, features per class, in the mean.
    """
    beyond, P = np.asarray(kept(D, thresholds)), ks_p_values(X, labels)
    found = np.asarray(by_name(false_discovery(P), feature_names(D), "X")) <= q
    sets = {"thresholds": beyond, "discoveries": found, "both": beyond & found}
    return pd.DataFrame([{name: pairs.sum() / len(pairs) for name, pairs in sets.items()}])


def describe_classes(
    D: xr.DataArray, shuffled: ArrayLike, thresholds: NoiseThresholds, labels: ArrayLike
) -> pd.DataFrame:
    """Count the features that each class keeps, and find its widest ones.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.
    shuffled : array_like, shape (shuffles, classes, features)
        Under shuffled labels, as of :func:`analysis.statistics.shuffled_distances`.
    thresholds : NoiseThresholds
        Of both.
    labels : array_like, shape (images,)
        Class of each image.

    Returns
    -------
    DataFrame
        A row per class, that with most features beyond chance first: ``class`` (as in the
        coordinate), ``images``, ``presence``, ``absence`` and ``kept`` (features beyond t+, beyond
        t- and either), ``by_chance`` (mean over the shuffles), ``beyond_chance`` (the difference),
        ``under_described``; and of the highest distance ``presence_layer``, ``presence_unit`` and
        ``presence_distance``, of the lowest the same with ``absence``.
    """
    D = D.transpose("class", "feature")
    values, noise = checked_distances(D), np.asarray(shuffled)
    counts = kept(noise, thresholds).sum(axis=2)  # (shuffles, classes)
    classes, sizes = np.unique(checked_labels(labels), return_counts=True)
    table = pd.DataFrame(
        {
            "class": D["class"].to_numpy(),
            "images": sizes[np.searchsorted(classes, D["class"].to_numpy())],
            "presence": (values > thresholds.t_plus).sum(axis=1),
            "absence": (values < thresholds.t_minus).sum(axis=1),
            "kept": kept(values, thresholds).sum(axis=1),
            "by_chance": counts.mean(axis=0),
        }
    )
    table["beyond_chance"] = table["kept"] - table["by_chance"]
    table["under_described"] = table["kept"].to_numpy() <= counts.max(axis=0)
    for sign, side in ((1, "presence"), (-1, "absence")):
        widest = (sign * values).argmax(axis=1)
        table[f"{side}_layer"] = D["layer"].to_numpy()[widest]
        table[f"{side}_unit"] = D["unit"].to_numpy()[widest]
        table[f"{side}_distance"] = values[np.arange(len(values)), widest]
    return table.sort_values("beyond_chance", ascending=False, kind="stable", ignore_index=True)


def ends_of(n: int, most: int) -> NDArray[np.int64]:
    """Positions of the first and the last of ``n`` rows, ``most`` together; all if they are fewer.

    Of an odd number, the first ones are one more.
    """
    if n <= most:
        return np.arange(n)
    first = (most + 1) // 2
    return np.concatenate([np.arange(first), np.arange(n - most + first, n)])
