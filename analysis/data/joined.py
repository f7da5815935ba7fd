"""Several datasets as one, such as the reference images of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
from PIL import Image

from analysis.data.images import ImageDataset, ImageSource

__all__ = ["JoinedImages", "join_datasets"]


@dataclass(frozen=True, eq=False)
class JoinedImages:
    """Images of several sources, an ``ImageSource``.

    Attributes
    ----------
    sources : tuple of ImageSource
        Where the images come from.
    origin, position : ndarray of int64, shape (n,)
        Of each image, which source has it, and where in that source.
    """

    sources: tuple[ImageSource, ...]
    origin: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.origin)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``."""
        source: ImageSource = self.sources[self.origin[index]]
        return source.image(int(self.position[index]))

    def digest(self, index: int) -> bytes:
        """Hash of what the source holds for the image."""
        source: ImageSource = self.sources[self.origin[index]]
        return source.digest(int(self.position[index]))

    def take(self, indices: npt.NDArray[np.int64]) -> JoinedImages:
        """Restrict to some of the images."""
        return JoinedImages(self.sources, self.origin[indices], self.position[indices])


def join_datasets(parts: Sequence[ImageDataset]) -> ImageDataset:
    """Put datasets one after another; classes of the same name become one.

    Parameters
    ----------
    parts : sequence of ImageDataset
        At least one; a single dataset is given back as it is.

    Returns
    -------
    ImageDataset
        Its paths begin with the name of the dataset that an image comes from.

    Raises
    ------
    ValueError
        If there are no parts.
    """
    if not parts:
        raise ValueError("expected at least one dataset to join")
    if len(parts) == 1:
        return parts[0]
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    labels = [
        np.array([classes.index(name) for name in part.classes], dtype=np.int64)[part.labels]
        for part in parts
    ]
    sizes = [len(part) for part in parts]
    return ImageDataset(
        name=", ".join(part.name for part in parts),
        classes=classes,
        labels=np.concatenate(labels),
        paths=tuple(f"{part.name}/{path}" for part in parts for path in part.paths),
        source=JoinedImages(
            tuple(part.source for part in parts),
            np.repeat(np.arange(len(parts)), sizes),
            np.concatenate([np.arange(size) for size in sizes]),
        ),
        skipped=reduce(lambda left, part: left + part.skipped, parts, ()),
    )
