from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from analysis.data import load_dataset, matlab, surf_features

DOMAINS = ("amazon", "caltech10", "dslr", "webcam")
FTS = np.arange(3 * 800).reshape(3, 800) % 7
LABELS = np.array([[10], [1], [2]])


def write(root, domain="dslr", **content):
    (root / "office_caltech10_surf").mkdir(parents=True)
    savemat(root / f"office_caltech10_surf/{domain}.mat", content)


def test_reads_the_published_layout(tmp_path):
    write(tmp_path, fts=FTS.astype(np.uint8), labels=LABELS.astype(np.uint8))
    counts, labels = surf_features("dslr", roots=(tmp_path / "not there", tmp_path))
    assert counts.dtype == np.float64
    np.testing.assert_array_equal(counts, FTS)
    assert labels.tolist() == [9, 0, 1]


def test_reads_a_single_image(tmp_path):
    write(tmp_path, fts=FTS[1:2], labels=LABELS[1:2])
    counts, labels = surf_features("dslr", (tmp_path,))
    np.testing.assert_array_equal(counts, FTS[1:2])
    assert labels.tolist() == [0]


def test_looks_where_datasets_are_looked_for(tmp_path, monkeypatch):
    write(tmp_path, "webcam", fts=FTS, labels=LABELS)
    monkeypatch.setenv("LAYERBOOK_DATA", str(tmp_path))
    assert surf_features("webcam")[1].tolist() == [9, 0, 1]


def test_says_where_a_file_should_be(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"SURF features of dslr.*one.*dslr\.mat or .*two"):
        surf_features("dslr", roots=(tmp_path / "one", tmp_path / "two"))
    with pytest.raises(ValueError, match=r"amazon, caltech10, dslr, webcam, got 'kitchen'"):
        surf_features("kitchen", roots=(tmp_path,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fts": FTS}, r"\['labels'\] is missing"),
        ({"fts": FTS[:, :5], "labels": LABELS}, r"\(images, 800\).*got \(3, 5\) and 3 labels"),
        ({"fts": FTS, "labels": LABELS[:2]}, r"\(3, 800\) and 2 labels"),
        ({"fts": FTS, "labels": LABELS - 1}, r"from 1 to 10 .* in .*dslr\.mat, got .* \[0 1 9\]"),
        ({"fts": FTS, "labels": LABELS / 2}, r"from 1 to 10 .* \[0\.5 1\.  5\. \]"),
        ({"fts": FTS - 1, "labels": LABELS}, r"counts from 0"),
        ({"fts": np.where(FTS > 5, np.nan, FTS), "labels": LABELS}, r"counts from 0"),
        ({"fts": [["a"] * 800] * 3, "labels": LABELS}, r"counts from 0"),
    ],
)
def test_refuses_what_is_something_else(tmp_path, content, message):
    write(tmp_path, **content)
    with pytest.raises(ValueError, match=message):
        surf_features("dslr", roots=(tmp_path,))


def test_refuses_a_file_that_is_no_matlab_file(tmp_path):
    write(tmp_path, fts=FTS)
    (tmp_path / "office_caltech10_surf/dslr.mat").write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(ValueError, match=r"dslr\.mat cannot be read as a MATLAB file"):
        surf_features("dslr", roots=(tmp_path,))


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_published_file_is_read_in_this_process(lent_data, domain, monkeypatch):
    monkeypatch.setattr(matlab, "_variables_by_process", None)
    counts, labels = surf_features(domain, (lent_data,))
    assert counts.shape == (len(labels), 800) and set(labels) == set(range(10))


@pytest.mark.parametrize("domain", DOMAINS)
def test_labels_count_as_the_images_do(lent_data, domain):
    if not (lent_data / "office_caltech10_surf").is_dir():
        pytest.skip("LAYERBOOK_DATA has no office_caltech10_surf")
    _, labels = surf_features(domain)
    images = load_dataset(f"office_caltech10/{domain}").labels
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(images))
