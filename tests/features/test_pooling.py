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


NAMES = ("mean", "none", "flatten:7", "grid:2")


@pytest.mark.parametrize("name", NAMES)
def test_layouts_give_the_same_and_nothing_follows_what_is_overwritten_later(name):
    last = MAPS.permute(0, 2, 3, 1).contiguous()
    np.testing.assert_allclose(
        pooled(name, last, layer("nhwc")), pooled(name, MAPS, layer()), atol=1e-6
    )
    pool = Pooling.parse(name)
    for values, of in ((MAPS.clone(), layer()), (torch.randn(2, 6), layer("vector", spatial=None))):
        kept = pool.inside_hook(values, of)
        before = kept.clone()
        if of.layout == "vector":
            assert torch.equal(pool.after(kept, of), values)  # they stay as they are
        values.fill_(7.0)
        assert torch.equal(kept, before)


def test_tokens():
    tokens, of = MAPS.flatten(2).transpose(1, 2), layer("tokens", 6, (20, 1))
    for name in ("mean", "none", "flatten:7"):
        np.testing.assert_allclose(pooled(name, tokens, of), pooled(name, MAPS, layer()), atol=1e-6)
    with pytest.raises(ValueError, match="'here' holds tokens"):
        pooled("grid:2", tokens, of)


def test_bfloat16_mean_accumulates_in_float32():
    values = torch.rand(2, 6, 200, 200).to(torch.bfloat16)
    for laid_out in (values, values.contiguous(memory_format=torch.channels_last)):
        exact = values.double().mean((2, 3)).numpy()
        found = pooled("mean", laid_out, layer(spatial=(200, 200)))
        np.testing.assert_allclose(found, exact, rtol=2**-8)  # one rounding, not 40,000


def test_unknown_poolings_and_wrong_axes_are_refused():
    for name in ("max", "", "mean:2", "flatten", "flatten:", "flatten:0", "flatten:-3", "grid:1.5"):
        with pytest.raises(ValueError, match="unknown pooling"):
            Pooling.parse(name)
    with pytest.raises(ValueError, match=r"'here': expected 4 axes.*\(3, 6\)"):
        Pooling.parse("mean").inside_hook(torch.zeros(3, 6), layer())
