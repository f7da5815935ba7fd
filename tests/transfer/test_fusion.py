"""Descriptors of local and global layers: what is put beside what, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from analysis.transfer.fusion import SELECTIONS, Domains, fuse, fusion_descriptors, keep_features


def both(width, n=(12, 9), seed=0):
    rng = np.random.default_rng(seed)
    return Domains(rng.normal(size=(n[0], width)), rng.normal(size=(n[1], width)) + 1)


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
