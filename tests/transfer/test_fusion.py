"""Descriptors of local and global layers: what is reduced, by what, and what is put beside what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA

from analysis.features.pooling import Pooling
from analysis.networks import Layer
from analysis.transfer import fusion
from analysis.transfer.fusion import (
    SELECTIONS,
    Domains,
    fuse,
    fusion_descriptors,
    keep_features,
    local_descriptors,
    segment_means,
)

UNITS, SIDE = 6, 7


def maps(n, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, UNITS * SIDE**2)) + 2).astype(dtype)


def both(width, n=(12, 9), seed=0):
    rng = np.random.default_rng(seed)
    return Domains(rng.normal(size=(n[0], width)), rng.normal(size=(n[1], width)) + 1)


class TestLocalDescriptors:
    @pytest.mark.parametrize("selection", ["flatten", "pool 2D"])
    def test_means_are_those_of_extraction(self, selection):
        """Maps that were stored give what extraction gives by the pooling of that name."""
        layer = Layer("conv", "conv", UNITS, (SIDE, SIDE), "nchw", (), ())
        pooling = Pooling.parse(SELECTIONS[selection])
        both_maps = Domains(maps(5), maps(4, seed=1))
        found = local_descriptors(*both_maps, selection, units=UNITS)
        for made, own in zip(found, both_maps, strict=True):
            values = torch.from_numpy(own.reshape(-1, UNITS, SIDE, SIDE))
            expected = pooling.after(pooling.inside_hook(values, layer), layer).numpy()
            assert made.dtype == np.float32
            assert_allclose(made, expected, rtol=1e-6)

    def test_components_are_those_of_the_source(self):
        source, target = maps(30, dtype=np.float64), maps(9, seed=1, dtype=np.float64)
        found = local_descriptors(source, target, "PCA", n_components=8)
        theirs = PCA(8, svd_solver="full").fit(source)
        for ours, expected in zip(found, map(theirs.transform, (source, target)), strict=True):
            assert_allclose(np.abs(ours), np.abs(expected), atol=1e-9)

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_the_target_decides_nothing(self, selection):
        source, target = maps(30), maps(9, seed=1)
        one = local_descriptors(source, target, selection, n_components=8, units=UNITS)
        other = local_descriptors(source, target[:4] * 3, selection, n_components=8, units=UNITS)
        assert_array_equal(one.source, other.source)
        alone = local_descriptors(source, target[:2], selection, n_components=8, units=UNITS)
        assert_allclose(one.target[:2], alone.target, rtol=1e-5, atol=1e-5)

    def test_no_more_components_than_the_source_spans(self):
        assert local_descriptors(maps(10), maps(40), "PCA").target.shape == (40, 9)

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match=r"unknown selection 'pca'; known: PCA, flatten, pool"):
            local_descriptors(maps(5), maps(5), "pca")
        with pytest.raises(ValueError, match="294 values per image of the source and 200"):
            local_descriptors(maps(5), maps(5)[:, :200], "flatten")
        for units in (None, 0, 5):
            with pytest.raises(ValueError, match=f"divides the 294 values of its map, got {units}"):
                local_descriptors(maps(5), maps(5), "pool 2D", units=units)


class TestSegmentMeans:
    @pytest.mark.parametrize("segment", [1, 7, 100, 294, 1000])
    @pytest.mark.parametrize("limit", [1, 5000, 2**28])
    def test_a_loop_gives_the_same(self, segment, limit, monkeypatch):
        monkeypatch.setattr(fusion, "_BYTES", limit)
        X = maps(5, dtype=np.float64)
        expected = [X[:, at : at + segment].mean(axis=1) for at in range(0, 294, segment)]
        assert_allclose(segment_means(X, segment), np.transpose(expected), rtol=1e-12)

    def test_maps_on_disk(self, tmp_path):
        stored = zarr.create_array(tmp_path / "x.zarr", data=maps(5), chunks=(2, 90))
        assert_array_equal(segment_means(stored, 100), segment_means(maps(5), 100))

    def test_no_segments_of_nothing(self):
        with pytest.raises(ValueError, match="at least one value, got 0"):
            segment_means(maps(5), 0)


class TestFusion:
    def test_concatenation(self):
        far, near = both(4), both(3, seed=1)
        for fused, *parts in zip(fuse(far, near), far, near, strict=True):
            assert_array_equal(fused, np.hstack(parts))

    def test_parts_of_one_size_count_alike(self):
        far, near = both(4), both(3, seed=1)
        fused = fuse(far, Domains(*(1e4 * X + 77 for X in near)), scaling="size")
        for columns in (slice(4), slice(4, 7)):
            part = fused.source[:, columns]
            assert_allclose(part.mean(axis=0), 0, atol=1e-9)
            assert_allclose((part**2).sum(axis=1).mean(), 1)
        for ours, expected in zip(fused, fuse(far, near, scaling="size"), strict=True):
            assert_allclose(ours, expected, atol=1e-9)

    def test_the_scale_is_the_sources(self):
        far, near = both(4), both(3, seed=1)
        other = Domains(near.source, near.target[::-1] * 9)
        assert_array_equal(
            fuse(far, near, scaling="size").source, fuse(far, other, scaling="size").source
        )

    def test_a_part_that_is_constant(self):
        flat = Domains(np.full((12, 2), 5.0), np.full((9, 2), 5.0))
        assert np.isfinite(np.vstack(fuse(flat, both(3), scaling="size"))).all()

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match=r"of the target there are 9 and 8"):
            fuse(both(4), both(3, n=(12, 8)))
        with pytest.raises(ValueError, match="unknown scaling 'rows'; known: none, size"):
            fuse(both(4), both(3), scaling="rows")

    def test_the_papers_descriptors(self):
        local = {(f"b{i}", name): both(3, seed=i) for i in (1, 2, 3) for name in SELECTIONS}
        found = fusion_descriptors("late", both(4), local)
        assert [each.kind for each in found] == ["global"] + 9 * ["fusion"] + 9 * ["local"]
        assert (found[0].layer, found[0].selection) == ("late", "")
        assert [(each.layer, each.selection) for each in found[1:]] == [*local, *local]
        assert {each.domains.source.shape[1] for each in found[1:10]} == {7}
        assert len(fusion_descriptors("late", both(4), local, with_local=False)) == 10


class TestKeptFeatures:
    def test_columns_of_both(self):
        domains = both(4)
        kept = keep_features(domains, [True, False, False, True])
        for ours, own in zip(kept, domains, strict=True):
            assert_array_equal(ours, own[:, [0, 3]])

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            ([True] * 3, r"each of 4 features, got bool of shape \(3,\)"),
            ([0, 1, 2, 3], "truth value"),
            ([False] * 4, "at least one feature to be kept"),
        ],
    )
    def test_what_is_no_mask_is_refused(self, mask, message):
        with pytest.raises(ValueError, match=message):
            keep_features(both(4), mask)
