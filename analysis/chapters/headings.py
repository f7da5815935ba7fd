"""How the tables of the chapters on noise and on what to keep are headed.

Each maps a heading to what stands below it, for :func:`analysis.chapters.sectioned`. Accuracies and
differences are expected in per cent and in percentage points.
"""

from __future__ import annotations

__all__ = [
    "BEST_LAYERS",
    "CONTRASTS",
    "COSTS_OF_SETS",
    "DISTANCE_OR_DISCOVERY",
    "EXPECTED_BY_LAW",
    "LOSSES",
    "THRESHOLDS",
    "TOTAL_LOSSES",
]

_DATASET = {"dataset": "{dataset}"}
_AHEAD = {"points ahead": "{difference:+.2f} ± {standard_error:.2f}"}
_MEAN_AHEAD = {
    "points ahead": "{difference:+.2f}",
    "error over datasets": "{over_datasets:.2f}",
    "error over splits": "{standard_error:.2f}",
    "datasets": "{datasets}",
}

THRESHOLDS = _DATASET | {
    "images per class": "{images_per_class:.0f}",
    "t+ (spread)": "{t_plus:.3f} ({spread_plus:.3f})",
    "t− (spread)": "{t_minus:.3f} ({spread_minus:.3f})",
    "kept by t+": "{kept_plus:,.0f}",
    "by t−": "{kept_minus:,.0f}",
    "kept": "{kept:,.0f}",
    "least": "{least:,}",
    "kept shuffled": "{kept_shuffled:,.0f}",
}
"""Of :func:`analysis.statistics.summarise_thresholds`."""

EXPECTED_BY_LAW = {
    "thresholds of": "{of}",
    "weak": "{weak}",
    "number": "{number}",
    "within": "{within:.0%}",
    "distance": "{distance:.4f}",
    "cost": "{cost:.2%}",
}
"""Of :func:`analysis.statistics.costs_by_law`, with ``of`` in words."""

COSTS_OF_SETS = {
    "set": "{features}",
    "features": "{n_features:,}",
    "bytes per image": "{bytes:,}",
    "seconds": "{seconds:.3f}",
}
"""Of :func:`analysis.transfer.tabulate_accuracies`."""

CONTRASTS = {"against": "{against}"} | _MEAN_AHEAD | {"better": "{better}", "worse": "{worse}"}
"""Of :func:`analysis.transfer.summarise_contrasts`."""

BEST_LAYERS = (
    _DATASET
    | {
        "best layer": "{over}",
        "accuracy": "{over_accuracy:.1f}",
        "features": "{over_n_features:,.0f}",
        "embedding": "{accuracy:.1f}",
    }
    | _AHEAD
)
"""Of :func:`analysis.transfer.contrast_full_network`, against the best layer."""

DISTANCE_OR_DISCOVERY = (
    _DATASET
    | {
        "kept by distance": "{n_features:,.0f}",
        "accuracy": "{accuracy:.1f}",
        "by false discovery": "{over_n_features:,.0f}",
        "its accuracy": "{over_accuracy:.1f}",
    }
    | _AHEAD
)
"""Of :func:`analysis.transfer.contrast`, the one against the other."""

LOSSES = (
    _DATASET
    | {
        "recom\u00admended": "{recommended_accuracy:.1f}",
        "best alternative": "{best_accuracy:.1f} {best}",
    }
    | _AHEAD
    | {
        "hindsight, choice, size": "{hindsight:+.1f}, {choice:+.1f}, {size:+.1f}",
        "features": "{n_features:,.0f} ({share:.0%})",
        "reason of a loss": "{reason}",
    }
)
"""Of :func:`analysis.transfer.explain_losses`, with the accuracy of what is recommended."""

TOTAL_LOSSES = _MEAN_AHEAD | {
    "within": "{within}",
    "corrected error": "{corrected_error:.2f}",
    "within it": "{within_corrected}",
    "ahead of the foreseeable": "{foreseeable:+.2f} ± {foreseeable_error:.2f}",
    "within that": "{within_foreseeable}",
    "features kept": "{share:.0%}",
    "smaller on": "{smaller}",
}
"""Of :func:`analysis.transfer.summarise_losses`."""
