"""The full-network embedding against its rivals: right pairs, right signs, right means."""

import numpy as np
import pandas as pd
import pytest

from analysis.transfer import (
    contrast,
    contrast_full_network,
    explain_losses,
    paired_differences,
    state_verdicts,
    summarise_contrasts,
    tabulate_accuracies,
)

KINDS = {
    "fc6": "single layer",
    "fc7": "single layer",
    "all layers": "all layers",
    "all layers, discretised": "all layers",
    "best candidate": "diagnostic",
    "recommended": "chosen",
}


def splits_of(network, dataset, **accuracies):
    rows = [
        (network, dataset, name, kind, split, 20, 60, value, 10 * k)
        for k, (name, kind) in enumerate(KINDS.items())
        for split, value in enumerate(accuracies.get(name.split(",")[-1].strip(), [0.5, 0.5]))
    ]
    columns = ["network", "dataset", "features", "kind", "split", "train", "test", "accuracy"]
    return pd.DataFrame(rows, columns=[*columns, "n_features"])


@pytest.fixture
def splits():
    parts = [
        splits_of("m", "d", fc6=[0.7, 0.5], fc7=[0.4, 0.4], discretised=[0.6, 0.5]),
        splits_of("m", "e", fc7=[0.6, 0.8], discretised=[0.7, 0.7]),
        splits_of("n", "d", discretised=[0.3, 0.2], recommended=[0.2, 0.2]),
    ]
    return pd.concat(parts, ignore_index=True)


def test_two_sets_are_contrasted_on_every_dataset_of_every_network(splits):
    found = contrast(splits, "fc7", "fc6")
    assert found[["network", "dataset"]].to_numpy().tolist() == [["m", "d"], ["m", "e"], ["n", "d"]]
    assert found["difference"].tolist() == pytest.approx([-0.2, 0.2, 0.0])
    assert found["accuracy"].tolist() == pytest.approx([0.4, 0.7, 0.5])
    assert found["over_accuracy"].tolist() == pytest.approx([0.6, 0.5, 0.5])
    assert (found["n_features"] == 10).all()
    assert (found["over_n_features"] == 0).all()
    expected = paired_differences(splits[splits["network"] == "n"], "fc7", ["fc6"])
    assert found["standard_error"][2] == expected["standard_error"][0]
    assert found["standard_error"][0] == pytest.approx(0.1)


def test_the_embedding_meets_the_concatenation_the_last_and_the_best_layer(splits):
    found = contrast_full_network(splits)
    assert found["against"].tolist() == ["concatenation", "last layer", "best layer"] * 3
    assert found["over"].tolist() == [
        *("all layers", "fc7", "fc6"),
        *("all layers", "fc7", "fc7"),
        *("all layers", "fc7", "fc6"),
    ]
    expected = [0.05, 0.15, -0.05, 0.2, 0.0, 0.0, -0.25, -0.25, -0.25]
    assert found["difference"].tolist() == pytest.approx(expected)


def test_contrasts_are_summarised_by_network_and_rival(splits):
    found = summarise_contrasts(contrast_full_network(splits))
    assert found["network"].tolist() == ["m"] * 3 + ["n"] * 3
    last = found[(found["network"] == "m") & (found["against"] == "last layer")].iloc[0]
    assert last["difference"] == pytest.approx(0.075)
    assert last["over_datasets"] == pytest.approx(0.15 / np.sqrt(2) / np.sqrt(2))
    assert (last["datasets"], last["better"], last["worse"]) == (2, 1, 0)
    assert last["standard_error"] == pytest.approx(np.hypot(0.05, 0.1) / 2)
    assert found["over"][2] == "fc6, fc7"


def test_accuracies_are_laid_out_in_order():
    summary = pd.DataFrame(
        {
            "network": ["n"] * 4,
            "dataset": ["z", "z", "a", "a"],
            "features": ["fc7", "conv1", "fc7", "conv1"],
            "mean": [0.5, 0.25, 1.0, 0.75],
            "standard_error": [0.01, 0.02, 0.0, 0.03],
            "n_features": [4, 2, 8, 2],
            "bytes": [16, 8, 32, 8],
            "seconds": [1.0, 2.0, 3.0, 4.0],
        }
    )
    found = tabulate_accuracies(summary)
    assert [*found] == ["network", "features", "z", "a", "n_features", "bytes", "seconds"]
    assert found.iloc[0].tolist() == ["n", "fc7", "50.0 ± 1.0", "100.0 ± 0.0", 6, 24, 2]
    assert found["features"].tolist() == ["fc7", "conv1"]


def test_a_verdict_says_what_the_errors_allow(splits):
    losses = explain_losses(splits)
    together, better, worse = state_verdicts(losses).splitlines()
    assert together.startswith(f"- *all networks*: {100 * losses['difference'].mean():+.2f} points")
    assert worse.startswith("- *n*: -30.00 points")
    assert "**not** within one standard error, 0.00" in worse
    assert better.startswith("- *m*:")
