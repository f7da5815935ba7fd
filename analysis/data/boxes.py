"""Parts of images as images: a dataset seen through one box per image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from analysis.data.images import ImageDataset, ImageSource

__all__ = ["BoxedImages", "cut_boxes"]


@dataclass(frozen=True, eq=False)
class BoxedImages:
    """Images of a source cut to boxes, an ``ImageSource``.

    Attributes
    ----------
    source : ImageSource
        Where the images come from.
    boxes : ndarray of int64, shape (n, 4)
        Left, top, right and bottom in pixels; right and bottom are the first that are not inside.
        Clipped at the borders of the image when it is opened.
    """

    source: ImageSource
    boxes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``, cut; raises ``ValueError`` if the box lies outside."""
        image = self.source.image(index)
        left, top, right, bottom = self.boxes[index].tolist()
        inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            raise ValueError(
                f"expected a box in an image of {image.width} x {image.height} pixels, got left, "
                f"top, right, bottom {(left, top, right, bottom)}"
            )
        return image.crop(inside)

    def digest(self, index: int) -> bytes:
        """Hash of what the source holds for the image, and of the box."""
        box = self.boxes[index].astype("<i8").tobytes()
        return hashlib.sha256(self.source.digest(index) + box).digest()

    def take(self, indices: npt.NDArray[np.int64]) -> BoxedImages:
        """Restrict to some of the images."""
        return BoxedImages(self.source.take(indices), self.boxes[indices])


def cut_boxes(data: ImageDataset, boxes: npt.ArrayLike, *, name: str) -> ImageDataset:
    """Cut each image to its box.

    Parameters
    ----------
    data : ImageDataset
        n images.
    boxes : array_like of float, shape (n, 4)
        Left, top, right and bottom in pixels from the image's upper left corner. Rounded outwards,
        and clipped at the borders of the image, so that a box that reaches beyond gives a smaller
        image, no longer centred on the box's centre, and nothing is filled in.
    name : str
        Added to the dataset's name, after a space.

    Returns
    -------
    ImageDataset
        The same labels, classes and paths.

    Raises
    ------
    ValueError
        If there is not one box per image, or a box is empty or not finite.
    """
    edges = np.asarray(boxes, dtype=np.float64)
    if edges.shape != (len(data), 4):
        raise ValueError(f"expected boxes of shape ({len(data)}, 4), got {edges.shape}")
    wrong = ~(np.isfinite(edges).all(axis=1) & (edges[:, 2:] > edges[:, :2]).all(axis=1))
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"expected left < right and top < bottom, got {edges[first].tolist()} for "
            f"{data.paths[first]}, the first of {int(wrong.sum())}"
        )
    outwards = np.concatenate([np.floor(edges[:, :2]), np.ceil(edges[:, 2:])], axis=1)
    return replace(
        data,
        name=f"{data.name} {name}",
        source=BoxedImages(data.source, outwards.astype(np.int64)),
    )
