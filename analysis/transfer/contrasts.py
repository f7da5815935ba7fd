"""Sets of features against each other on the same splits: what the embedding gains, what is lost.

Most of it is about what a recommendation loses to the best alternative, and why.

Conventions
-----------
last layer
    The penultimate layer of the network, before its class scores: the last fully connected one,
    ``fc7`` of VGG16, or, in a network without any, the last of its embedding, such as ``fire9`` of
    SqueezeNet.
best layer
    The single layer with the highest mean accuracy on the test images, known only in hindsight.
parts of a difference
    From the best alternative (known only in hindsight) to the recommended procedure, in three
    steps that add up. ``hindsight``: what one loses by having to foresee which alternative is
    best, here from the other splits. ``choice``: from there to the best candidate, by images left
    out of the training images. ``size``: from there to what is recommended, without the
    features that no class keeps. Negative parts are losses.
foreseeable alternative
    The alternative that is best by the *other* splits. The best alternative in hindsight is the
    highest of many noisy numbers, so that whatever is as good as it falls behind it on average; the
    foreseeable one is judged on images that had no part in picking it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.transfer.paired_tests import ROUNDING, paired_differences
from analysis.transfer.recommendation import ALL_LAYERS, BEST_CANDIDATE, DISCRETISED, RECOMMENDED


def contrast(
    splits: pd.DataFrame, features: str, over: str, against: str | None = None
) -> pd.DataFrame:
    """Contrast two sets of features on every dataset of every network.

    Parameters
    ----------
    splits : DataFrame
        Tables :attr:`Recommendation.splits`, stacked, with the columns ``network`` and ``dataset``.
    features, over : str
        Sets of features, as the column ``features`` names them.
    against : str, optional
        What to call the second; by default as it is named.

    Returns
    -------
    DataFrame
        A row per network and dataset: ``network``, ``dataset``, ``features``, ``against``,
        ``over``, the mean ``accuracy`` and ``n_features`` of the first, ``over_accuracy`` and
        ``over_n_features`` of the second, and by how much the first is more accurate:
        ``difference``, ``standard_error`` and ``corrected_error`` (:func:`paired_differences`).
    """
    keys = ["network", "dataset"]
    rows = []
    for (network, dataset), part in splits.groupby(keys, sort=False):
        found = paired_differences(part, features, [over]).iloc[0]
        means = part.groupby("features")[["accuracy", "n_features"]].mean()
        rows.append(
            {
                "network": network,
                "dataset": dataset,
                "features": features,
                "against": against or over,
                "over": over,
                **means.loc[features],
                **means.loc[over].add_prefix("over_"),
                **found[["difference", "standard_error", "corrected_error"]],
            }
        )
    return pd.DataFrame(rows)


def contrast_full_network(splits: pd.DataFrame) -> pd.DataFrame:
    """Contrast the full-network embedding with the concatenation and with single layers.

    Parameters
    ----------
    splits : DataFrame
        As for :func:`contrast`.

    Returns
    -------
    DataFrame
        Rows of :func:`contrast` for three rivals, by network and dataset: all layers, standardised
        only ("concatenation"), the "last layer" and the "best layer" (see the conventions), which
        ``over`` names.
    """
    tables = []
    for _, part in splits.groupby(["network", "dataset"], sort=False):
        single = part[part["kind"] == "single layer"]
        means = single.groupby("features", sort=False)["accuracy"].mean()
        rivals = {
            "concatenation": ALL_LAYERS,
            "last layer": str(means.index[-1]),
            "best layer": str(means.idxmax()),
        }
        tables += [contrast(part, DISCRETISED, over, name) for name, over in rivals.items()]
    return pd.concat(tables, ignore_index=True)


def summarise_contrasts(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Mean difference over the datasets of each network.

    Parameters
    ----------
    contrasts : DataFrame
        Rows of :func:`contrast`.

    Returns
    -------
    DataFrame
        A row per network and rival: ``network``, ``against``, ``over`` (its names), ``datasets``,
        ``difference`` (mean) with two standard errors: ``over_datasets`` (s/√n of the differences;
        NaN of one) and ``standard_error`` (of the splits, combined); ``better``: datasets where the
        difference is positive, and ``worse``, where it is negative.
    """
    rows = []
    for (network, against), part in contrasts.groupby(["network", "against"], sort=False):
        mean, over, plain = _mean_and_errors(part["difference"], part["standard_error"])
        rows.append(
            {
                "network": network,
                "against": against,
                "over": ", ".join(part["over"].unique()),
                "datasets": len(part),
                "difference": mean,
                "over_datasets": over,
                "standard_error": plain,
                "better": int((part["difference"] > ROUNDING).sum()),
                "worse": int((part["difference"] < -ROUNDING).sum()),
            }
        )
    return pd.DataFrame(rows)


def tabulate_accuracies(summary: pd.DataFrame) -> pd.DataFrame:
    """Lay out the accuracies of all sets of features for readers, a column for each dataset.

    Parameters
    ----------
    summary : DataFrame
        Tables :attr:`Recommendation.summary`, stacked, with the columns ``network`` and
        ``dataset``.

    Returns
    -------
    DataFrame
        A row per network and set: ``network``, ``features``, for each dataset "accuracy ± standard
        error" in per cent, and means over datasets: ``n_features`` and ``bytes``, rounded, and
        ``seconds``.
    """
    keys = ["network", "features"]
    texts = [
        f"{100 * mean:.1f} ± {100 * error:.1f}"
        for mean, error in zip(summary["mean"], summary["standard_error"], strict=True)
    ]
    wide = summary.assign(text=texts).pivot(index=keys, columns="dataset", values="text")
    costs = summary.groupby(keys, sort=False)[["n_features", "bytes", "seconds"]].mean()
    costs = costs.round({"n_features": 0, "bytes": 0}).astype({"n_features": int, "bytes": int})
    laid_out = wide[list(dict.fromkeys(summary["dataset"]))].join(costs).loc[costs.index]
    return laid_out.rename_axis(columns=None).reset_index()


REASONS = {
    "hindsight": "which alternative is best is known only in hindsight",
    "choice": "the training images pointed to other layers",
    "size": "accuracy given for a smaller embedding",
}


def explain_losses(splits: pd.DataFrame) -> pd.DataFrame:
    """Compare the recommended procedure with the best alternative of each dataset.

    Parameters
    ----------
    splits : DataFrame
        As for :func:`contrast`.

    Returns
    -------
    DataFrame
        A row per network and dataset: ``network``, ``dataset``, ``recommended`` (mean accuracy),
        ``best`` (the alternative), ``best_accuracy``, ``difference``, its ``standard_error`` and
        ``corrected_error`` (:func:`paired_differences`), its parts ``hindsight``, ``choice`` and
        ``size`` (see the conventions), the difference from the foreseeable alternative,
        ``foreseeable``, and its ``foreseeable_error`` (s/√k), ``n_features`` (recommended, mean
        over splits), ``share`` (of all features), and ``reason``: the largest loss among the
        parts, empty where the difference is not negative.
    """
    rows = []
    for (network, dataset), part in splits.groupby(["network", "dataset"], sort=False):
        wide = part.pivot(index="split", columns="features", values="accuracy")
        rivals = part.loc[~part["kind"].eq("diagnostic"), "features"].drop_duplicates()
        others = wide[[name for name in rivals if name != RECOMMENDED]]
        best = str(others.mean().idxmax())
        found = paired_differences(part, RECOMMENDED, [best]).iloc[0]
        foreseen = pd.Series(
            {k: others.loc[k, others.drop(index=k).mean().idxmax()] for k in others.index}
        )
        ahead = wide[RECOMMENDED] - foreseen
        recommended, accurate = wide[RECOMMENDED].mean(), wide[BEST_CANDIDATE].mean()
        steps = {
            "hindsight": float(foreseen.mean() - others[best].mean()),
            "choice": float(accurate - foreseen.mean()),
            "size": float(recommended - accurate),
        }
        sizes = part.groupby("features")["n_features"].mean()
        loses = found["difference"] < -ROUNDING
        rows.append(
            {
                "network": network,
                "dataset": dataset,
                "recommended": float(recommended),
                "best": best,
                "best_accuracy": float(others[best].mean()),
                **{
                    name: found[name]
                    for name in ("difference", "standard_error", "corrected_error")
                },
                **steps,
                "foreseeable": float(ahead.mean()),
                "foreseeable_error": float(ahead.std() / np.sqrt(len(ahead))),
                "n_features": float(sizes[RECOMMENDED]),
                "share": float(sizes[RECOMMENDED] / sizes[ALL_LAYERS]),
                "reason": REASONS[min(steps, key=lambda name: steps[name])] if loses else "",
            }
        )
    return pd.DataFrame(rows)


def layers_kept(splits: pd.DataFrame) -> pd.DataFrame:
    """In how many splits the recommended procedure kept each layer.

    Parameters
    ----------
    splits : DataFrame
        As for :func:`explain_losses`.

    Returns
    -------
    DataFrame
        A row per network, dataset and layer: ``network``, ``dataset``, ``layer`` and ``share`` of
        the splits.
    """
    rows = []
    for names, part in splits.groupby(["network", "dataset"], sort=False):
        chosen = part.loc[part["features"] == RECOMMENDED, "layers"].str.split()
        single = part.loc[part["kind"] == "single layer", "features"].unique()
        rows += [
            (*names, layer, float(np.mean([layer in kept for kept in chosen]))) for layer in single
        ]
    return pd.DataFrame(rows, columns=["network", "dataset", "layer", "share"])


def summarise_losses(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean difference over datasets, and whether it is within one standard error.

    Parameters
    ----------
    losses : DataFrame
        From :func:`explain_losses`.

    Returns
    -------
    DataFrame
        A row per network: ``network``, ``datasets``, ``difference`` (mean), three standard errors
        of it: ``over_datasets`` (s/√n of the differences; NaN of one), ``standard_error`` and
        ``corrected_error`` (of the splits, combined); ``within`` and ``within_corrected``, whether
        the mean is above minus the larger of the first two, and above minus the third;
        ``foreseeable`` (mean difference from the foreseeable alternative), ``foreseeable_error``
        (the larger of the two plain errors of it) and ``within_foreseeable``; ``share`` (mean of
        the features kept), and ``smaller`` (datasets where it is below 1).
    """
    rows = []
    for network, part in losses.groupby("network", sort=False):
        mean, over, plain = _mean_and_errors(part["difference"], part["standard_error"])
        corrected = _mean_and_errors(part["difference"], part["corrected_error"])[2]
        ahead, *errors = _mean_and_errors(part["foreseeable"], part["foreseeable_error"])
        rows.append(
            {
                "network": network,
                "datasets": len(part),
                "difference": mean,
                "over_datasets": over,
                "standard_error": plain,
                "corrected_error": corrected,
                "within": bool(mean >= -np.nanmax([over, plain])),
                "within_corrected": bool(mean >= -corrected),
                "foreseeable": ahead,
                "foreseeable_error": float(np.nanmax(errors)),
                "within_foreseeable": bool(ahead >= -np.nanmax(errors)),
                "share": float(part["share"].mean()),
                "smaller": int((part["share"] < 1).sum()),
            }
        )
    return pd.DataFrame(rows)


def state_verdicts(losses: pd.DataFrame) -> str:
    """Say whether what is recommended is as accurate as the best alternative.

    Parameters
    ----------
    losses : DataFrame
        From :func:`explain_losses`.

    Returns
    -------
    str
        A line of Markdown for all networks together, if there are several: of each dataset the
        mean over the networks counts, whose errors are combined as if they shared no images. Then
        one for each network.
    """
    rows = summarise_losses(losses).to_dict("records")
    if len(rows) > 1:
        rows = summarise_losses(_over_networks(losses)).to_dict("records") + rows
    lines = []
    verdict = {True: "within", False: "**not** within"}
    for row in rows:
        error = np.nanmax([row["over_datasets"], row["standard_error"]])
        lines.append(
            f"- *{row['network']}*: {100 * row['difference']:+.2f} points from the best "
            f"alternative of each of {row['datasets']} dataset(s), {verdict[row['within']]} one "
            f"standard error, {100 * error:.2f}, and {verdict[row['within_corrected']]} the "
            f"corrected one, {100 * row['corrected_error']:.2f}; {100 * row['foreseeable']:+.2f} "
            f"from the foreseeable alternative, {verdict[row['within_foreseeable']]} one standard "
            f"error, {100 * row['foreseeable_error']:.2f}; with {row['share']:.0%} of the "
            f"features, fewer than all on {row['smaller']}."
        )
    return "\n".join(lines)


def _over_networks(losses: pd.DataFrame) -> pd.DataFrame:
    """Of each dataset the means over the networks, and their combined errors."""
    errors = ["standard_error", "corrected_error", "foreseeable_error"]
    by = losses["dataset"]
    means = losses[["difference", "foreseeable", "share"]].groupby(by, sort=False).mean()
    squares = losses[errors].pow(2).groupby(by, sort=False)
    combined = squares.sum().pow(0.5).div(by.groupby(by, sort=False).size(), axis=0)
    return means.join(combined).reset_index().assign(network="all networks")


def _mean_and_errors(differences: pd.Series, errors: pd.Series) -> tuple[float, float, float]:
    """Mean over datasets, its error s/√n (NaN of one), and that of the splits, combined."""
    n = len(differences)
    over = float(differences.std() / np.sqrt(n))
    return float(differences.mean()), over, float(np.sqrt(np.square(errors).sum()) / n)
