"""Descriptors that no network makes: controls beside the features of networks.

Each takes a dataset and gives one row per image, as an array of float32 to classify by. None but
the codebook of words is learnt from images, and none knows labels.
"""

from analysis.transfer.descriptors.gradients import gist, hog
from analysis.transfer.descriptors.kept import DESCRIPTORS, describe_dataset
from analysis.transfer.descriptors.reading import raw_pixels
from analysis.transfer.descriptors.words import Codebook, bag_of_words, learn_codebook, llc

__all__ = [
    "DESCRIPTORS",
    "Codebook",
    "bag_of_words",
    "describe_dataset",
    "gist",
    "hog",
    "learn_codebook",
    "llc",
    "raw_pixels",
]
