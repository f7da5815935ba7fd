from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.features.pooling import Pooling
from analysis.networks import Layer

MAPS = torch.randn(3, 6, 5, 4, generator=torch.Generator().manual_seed(0))


def layer(layout="nchw", units=6, spatial=(5, 4)):
    return Layer("here", "conv", units, spatial, layout, (), ())


def pooled(name, values, of):
    pool = Pooling.parse(name)
    result = pool.after(pool.inside_hook(values, of), of)
    assert result.dtype == torch.float32
    assert result.shape == (len(values), pool.length(of))
    return result.numpy()


def naive_segments(flat, size):
    return np.array(
        [[row[at : at + size].mean() for at in range(0, len(row), size)] for row in flat]
    )


@pytest.mark.parametrize(
    "values",
    [MAPS, MAPS.contiguous(memory_format=torch.channels_last), MAPS.double().float()[:, ::2]],
    ids=["nchw", "channels last", "strided"],
)
def test_every_mode_on_maps(values):
    of = layer(units=values.shape[1])
    flat = values.contiguous().numpy().reshape(3, -1)
    np.testing.assert_allclose(pooled("mean", values, of), values.numpy().mean((2, 3)), atol=1e-6)
    np.testing.assert_array_equal(pooled("none", values, of), flat)
    for size in (1, 7, 20, 1000):
        np.testing.assert_allclose(
            pooled(f"flatten:{size}", values, of), naive_segments(flat, size), atol=1e-6
        )
    top_left = values[:, :, :3, :2].numpy().mean((2, 3))  # adaptive regions overlap on odd sides
    np.testing.assert_allclose(pooled("grid:2", values, of)[:, ::4], top_left, atol=1e-6)
    np.testing.assert_allclose(pooled("grid:1", values, of), pooled("mean", values, of), atol=1e-6)


@pytest.mark.parametrize("name", ["mean", "none", "flatten:7", "grid:2"])
def test_units_last_gives_the_same(name):
    last = MAPS.permute(0, 2, 3, 1).contiguous()
    np.testing.assert_allclose(
        pooled(name, last, layer("nhwc")), pooled(name, MAPS, layer()), atol=1e-6
    )


def test_tokens():
    tokens, of = MAPS.flatten(2).transpose(1, 2), layer("tokens", 6, (20, 1))
    for name in ("mean", "none", "flatten:7"):
        np.testing.assert_allclose(pooled(name, tokens, of), pooled(name, MAPS, layer()), atol=1e-6)
    with pytest.raises(ValueError, match="'here' holds tokens"):
        pooled("grid:2", tokens, of)


@pytest.mark.parametrize("name", ["mean", "none", "flatten:7", "grid:2"])
def test_vectors_stay_as_they_are_and_are_copied(name):
    values = torch.randn(2, 6)
    before = values.numpy().copy()
    result = pooled(name, values, layer("vector", spatial=None))
    values.zero_()
    np.testing.assert_array_equal(result, before)


@pytest.mark.parametrize("name", ["mean", "none", "flatten:7", "grid:2"])
def test_nothing_follows_what_is_overwritten_later(name):
    values = MAPS.clone()
    pool = Pooling.parse(name)
    kept = pool.inside_hook(values, layer())
    before = kept.clone()
    values.fill_(7.0)
    assert torch.equal(kept, before)


def test_bfloat16_mean_accumulates_in_float32():
    values = torch.rand(2, 6, 200, 200).to(torch.bfloat16)
    for laid_out in (values, values.contiguous(memory_format=torch.channels_last)):
        exact = values.double().mean((2, 3)).numpy()
        found = pooled("mean", laid_out, layer(spatial=(200, 200)))
        np.testing.assert_allclose(found, exact, rtol=2**-8)  # one rounding, not 40,000


@pytest.mark.parametrize(
    "name", ["max", "", "mean:2", "flatten", "flatten:", "flatten:0", "flatten:-3", "grid:1.5"]
)
def test_unknown_pooling_is_refused(name):
    with pytest.raises(ValueError, match="unknown pooling"):
        Pooling.parse(name)


def test_wrong_axes_are_refused():
    with pytest.raises(ValueError, match=r"'here': expected 4 axes.*\(3, 6\)"):
        Pooling.parse("mean").inside_hook(torch.zeros(3, 6), layer())
