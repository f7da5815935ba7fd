"""Several datasets as one."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from analysis.data import join_datasets, load_dataset


def test_joined_datasets_hold_the_images_of_both_in_order():
    digits, photographs = load_dataset("digits").subset(range(30)), load_dataset("photographs")
    both = join_datasets([photographs, digits])
    assert len(both) == len(photographs) + 30
    assert both.name == "photographs, digits"
    assert both.classes == photographs.classes + digits.classes
    for position, (part, index) in {2: (photographs, 2), len(photographs) + 7: (digits, 7)}.items():
        assert np.array_equal(both[position], part[index])
        assert both.classes[both.labels[position]] == part.classes[part.labels[index]]
        assert both.paths[position] == f"{part.name}/{part.paths[index]}"


def test_classes_of_the_same_name_become_one():
    digits = load_dataset("digits")
    both = join_datasets([digits.subset([0, 1]), digits.subset([11, 0])])
    assert both.classes == digits.classes
    assert both.labels.tolist() == digits.labels[[0, 1, 11, 0]].tolist()


def test_a_subset_and_a_pickled_copy_hold_the_same_images():
    both = join_datasets([load_dataset("photographs"), load_dataset("digits").subset(range(5))])
    chosen = both.subset([20, 0, 17])
    copy = pickle.loads(pickle.dumps(chosen))
    assert copy.fingerprint == chosen.fingerprint
    assert [image.tobytes() for image in copy] == [both[k].tobytes() for k in (20, 0, 17)]


def test_fingerprint_depends_on_every_part():
    digits = load_dataset("digits")
    parts = [digits.subset([0, 1]), digits.subset([2])]
    assert join_datasets(parts).fingerprint != join_datasets(parts[::-1]).fingerprint


def test_one_dataset_stays_as_it_is_and_none_is_refused():
    digits = load_dataset("digits")
    assert join_datasets([digits]) is digits
    with pytest.raises(ValueError, match="at least one dataset"):
        join_datasets([])
