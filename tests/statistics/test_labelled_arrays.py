"""Labelled and lazy arrays give what plain ones give, a block at a time."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr

from analysis.data.splits import shuffle_labels
from analysis.statistics import blocks, rank_features, signed_ks

N, F = 120, 50
LABELS = np.arange(N) % 4 * 10


def features(dtype=np.float32):
    X = np.random.default_rng(0).standard_normal((N, F))
    return np.maximum(X, 0.3).astype(dtype) - dtype(0.3)


def labelled(X, chunks=None):
    data = X if chunks is None else dask.array.from_array(X, chunks)
    return xr.DataArray(
        data,
        dims=("image", "feature"),
        coords={
            "label": ("image", LABELS),
            "layer": ("feature", ["conv1"] * 30 + ["fc2"] * 20),
            "unit": ("feature", [*range(30), *range(20)]),
        },
        attrs={"network": "net"},
    )


@pytest.mark.parametrize("chunks", [None, (N, 7), (50, 13), (7, F), (N, (1, 29, 20))])
@pytest.mark.parametrize("bins", [None, 100])
def test_dask_equals_numpy_to_the_bit(chunks, bins, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 16 * N)  # several blocks
    X = features()
    D = signed_ks(labelled(X, chunks), LABELS, bins=bins)
    np.testing.assert_array_equal(D.values, signed_ks(X, LABELS, bins=bins))
    assert D.dims == ("class", "feature")
    assert D["class"].values.tolist() == [0, 10, 20, 30]
    assert D["layer"].values[[0, -1]].tolist() == ["conv1", "fc2"]
    assert D["unit"].values[-1] == 19
    assert D.attrs == {"network": "net", "bins": bins or "exact"}
    assert set(D.coords) == {"class", "layer", "unit"}


def test_ranks_serve_every_labelling(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 16 * N)
    X = features()
    ranks = rank_features(labelled(X, (50, 13)))
    assert len(ranks.blocks) > 1
    assert (ranks.n_images, ranks.n_features) == X.shape
    for labels in (LABELS, shuffle_labels(LABELS, seed=1), np.arange(N) > 5):
        xr.testing.assert_identical(signed_ks(ranks, labels), signed_ks(labelled(X), labels))
        np.testing.assert_array_equal(signed_ks(rank_features(X), labels), signed_ks(X, labels))


def test_ranks_hold_no_zeros():
    X = features()
    assert rank_features(X).nbytes == 2 * np.count_nonzero(X) + 16 * F
    assert rank_features(np.zeros((N, 3))).nbytes == 16 * 3


def test_memory_is_bounded_by_a_block(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 20 * N)
    asked = []

    def load(block_info):
        (rows, columns) = block_info[None]["array-location"]
        asked.append(columns)
        return features()[slice(*rows), slice(*columns)]

    X = dask.array.map_blocks(load, chunks=((60, 60), (10,) * 5), dtype=np.float32)
    widths = [part.shape[1] for _, part in blocks.blocks_of(labelled(X))]
    assert widths == [20, 20, 10]
    assert len(asked) == 10  # each chunk is read once


def test_dimensions_in_any_order_but_by_name():
    X = features()
    turned = labelled(X, (50, 13)).transpose("feature", "image")
    np.testing.assert_array_equal(signed_ks(turned, LABELS).values, signed_ks(X, LABELS))
    with pytest.raises(ValueError, match="rename"):
        signed_ks(labelled(X).rename(feature="unit_of_all"), LABELS)


def test_nan_of_a_later_block_is_found_by_its_number(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 16 * N)
    X = features()
    X[5, 40] = np.nan
    with pytest.raises(ValueError, match="feature 40"):
        signed_ks(labelled(X, (50, 13)), LABELS)
    with pytest.raises(ValueError, match="feature 40"):
        rank_features(labelled(X, (50, 13)))
