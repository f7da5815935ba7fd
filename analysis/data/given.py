"""Images and labels as a caller has them: checked, and brought into the form that datasets hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from analysis.data.decoding import as_rgb
from analysis.data.labels import checked_labels
from analysis.data.listing import composed, is_there

__all__ = ["class_positions", "full_paths", "relative_paths", "rgb_arrays"]

Pixels = npt.NDArray[np.uint8]


def class_positions(labels: npt.ArrayLike, n: int) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Classes, sorted as text, and the position of each of n labels among them.

    Raises
    ------
    ValueError
        If there is not one label for each image, or labels are missing, empty or of mixed kinds.
    """
    names = [composed(str(label)) for label in checked_labels(labels, n).tolist()]
    blank = next((position for position, name in enumerate(names) if not name.strip()), None)
    if blank is not None:
        raise ValueError(f"expected a label for every image, got an empty text at position {blank}")
    classes = tuple(sorted(set(names)))
    position = {name: label for label, name in enumerate(classes)}
    return classes, np.array([position[name] for name in names], dtype=np.int64)


def full_paths(paths: Iterable[str | os.PathLike[str]], *, need_files: bool) -> list[str]:
    """Absolute paths of files.

    Raises
    ------
    ValueError
        If there are none, one is no path or no Unicode, or the same file is named twice.
    FileNotFoundError
        If files are needed that are not there.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise ValueError(f"expected paths of images, one for each label, got the one {paths!r}")
    given = list(paths)
    seen: dict[str, int] = {}
    for position, path in enumerate(given):
        if not isinstance(path, str | os.PathLike) or not str(path).strip():
            raise ValueError(f"expected a path at position {position}, got {path!r}")
        full = os.path.normpath(Path(path).expanduser().absolute())
        if not full.isascii() and full != full.encode("utf-8", "replace").decode("utf-8"):
            raise ValueError(f"the path {full!a} is not Unicode, so that no table could hold it")
        first = seen.setdefault(full, position)
        if first != position:
            raise ValueError(
                f"{full} is there twice, at positions {first} and {position} from 0; name it once"
            )
    if not seen:
        raise ValueError("expected paths of images, got none")
    absent = [path for path in seen if not is_there(Path(path))] if need_files else []
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of {len(seen)} files are not there, the first being {absent[0]}"
        )
    return list(seen)


def relative_paths(files: Sequence[str], root: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """Paths from a folder, by default the deepest that holds all files."""
    try:
        top = os.path.commonpath([Path(file).parent for file in files]) if root is None else root
        return tuple(composed(Path(os.path.relpath(file, top)).as_posix()) for file in files)
    except ValueError:  # on several drives
        return tuple(composed(Path(file).as_posix()) for file in files)


def rgb_arrays(images: Any) -> Pixels | tuple[Pixels, ...]:
    """Copy images as RGB values of 8 bits; of one size into one array.

    Parameters
    ----------
    images : ndarray of shape (n, height, width), (n, height, width, 3), or sequence
        A sequence holds arrays of shape (height, width) or (height, width, 3), or PIL images.
        Arrays are of uint8, or of real numbers from 0 (black) to 1 (white).

    Raises
    ------
    ValueError
        If there are none, or one has another shape, type or range of values.
    """
    stacked = hasattr(images, "shape") or hasattr(images, "__array__")
    given = np.asarray(images) if stacked and not isinstance(images, Image.Image) else images
    if isinstance(given, Image.Image | str) or len(given) == 0:
        raise ValueError("expected several images, got one or none")
    arrays = tuple(_rgb(image, position) for position, image in enumerate(given))
    if len({array.shape for array in arrays}) > 1:
        return arrays
    return np.stack(arrays)


def _rgb(image: Any, position: int) -> Pixels:
    if isinstance(image, Image.Image):
        return np.array(as_rgb(image))
    values = np.asarray(image)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3) or not values.size:
        raise ValueError(
            f"expected images of shape (height, width, 3) or (height, width), got {values.shape} "
            f"at position {position}; the channels come last"
        )
    if np.issubdtype(values.dtype, np.floating):
        if not (values >= 0).all() or not (values <= 1).all():  # which NaN is not either
            raise ValueError(
                f"expected real numbers from 0 to 1, got {values.min()} to {values.max()} at "
                f"position {position}; scale them, or give whole numbers from 0 to 255 as uint8"
            )
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise ValueError(
            f"expected uint8, or real numbers from 0 to 1, got {values.dtype} at position "
            f"{position}"
        )
    return np.stack([values] * 3, axis=2) if values.ndim == 2 else values.copy()
