"""Images: dataset cards, verified downloads, lazy readers, offline datasets and seeded splits."""

from analysis.data.annotations import surf_features
from analysis.data.cards import CARDS, DatasetCard
from analysis.data.decoding import BrokenImageError
from analysis.data.download import fetch_dataset
from analysis.data.images import ImageDataset, join_datasets
from analysis.data.pairs import PAIRS, Pair, load_pair
from analysis.data.readers import load_dataset
from analysis.data.splits import Split, shuffle_labels, stratified_splits

__all__ = [
    "CARDS",
    "PAIRS",
    "BrokenImageError",
    "DatasetCard",
    "ImageDataset",
    "Pair",
    "Split",
    "fetch_dataset",
    "join_datasets",
    "load_dataset",
    "load_pair",
    "shuffle_labels",
    "stratified_splits",
    "surf_features",
]
