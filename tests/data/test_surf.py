"""SURF features of Office-Caltech-10: the published files alone are read."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.io import savemat

from analysis.data import annotations, load_dataset, surf_features

FTS = np.arange(3 * 800).reshape(3, 800) % 7


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A miniature of the published file."""
    path = tmp_path / "office_caltech10_surf/dslr.mat"
    path.parent.mkdir()
    savemat(path, {"fts": FTS.astype(np.uint8), "labels": np.array([[10], [1], [2]], np.uint8)})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(annotations._SHA256, "dslr", digest)
    return path


def test_reads_the_published_layout_where_datasets_are_looked_for(file, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERBOOK_DATA", str(tmp_path))
    for roots in ((tmp_path / "not there", tmp_path), None):
        counts, labels = surf_features("dslr", roots)
        assert counts.dtype == np.float64
        np.testing.assert_array_equal(counts, FTS)
        assert labels.tolist() == [9, 0, 1]


def test_other_files_domains_and_places_are_refused(file, tmp_path):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"dslr\.mat .*not the published file"):
        surf_features("dslr", (tmp_path,))
    with pytest.raises(FileNotFoundError, match=r"SURF features of dslr.*one.*dslr\.mat or .*two"):
        surf_features("dslr", roots=(tmp_path / "one", tmp_path / "two"))
    with pytest.raises(ValueError, match=r"amazon, caltech10, dslr, webcam, got 'kitchen'"):
        surf_features("kitchen", roots=(tmp_path,))


@pytest.mark.parametrize("domain", ["amazon", "caltech10", "dslr", "webcam"])
def test_labels_count_as_the_images_do(lent_data, domain):
    if not (lent_data / "office_caltech10_surf").is_dir():
        pytest.skip("LAYERBOOK_DATA has no office_caltech10_surf")
    counts, labels = surf_features(domain)
    assert counts.shape == (len(labels), 800)
    images = load_dataset(f"office_caltech10/{domain}").labels
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(images))
