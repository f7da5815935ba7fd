"""Listing the images of a folder: which files, which class each, nothing opened yet."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from analysis.data.decoding import IMAGE_SUFFIXES, is_image, looks_like_an_image

_LOG = logging.getLogger(__name__)
_SPLITS = frozenset(
    {"dev", "eval", "test", "testing", "train", "training", "val", "valid", "validation"}
)


@dataclass(frozen=True)
class Listing:
    """Files of a dataset.

    Attributes
    ----------
    root : Path
        Folder that the paths are relative to.
    files : tuple of str
        Relative paths as the file system spells them.
    labels : tuple of int
        Position of each file's class in ``classes``.
    classes : tuple of str
        Class names.
    left_out : tuple of (str, str)
        Relative path of what looks like an image and belongs to no class or is in a format that is
        not read, and why it is left out.
    """

    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The relative paths in composed Unicode, so that they agree between file systems."""
        return tuple(composed(file) for file in self.files)


def composed(name: str) -> str:
    """Compose the Unicode of a file name: macOS writes the decomposed form into archives."""
    return unicodedata.normalize("NFC", name)


def is_unicode(name: str) -> bool:
    """Whether a file name is text, and not bytes that mean none."""
    return name.isascii() or name == name.encode("utf-8", "replace").decode("utf-8")


def _printable(name: str) -> str:
    return composed(name).encode("utf-8", "backslashreplace").decode("utf-8")


def files_of(folder: Path) -> list[str]:
    """Names of the images directly in a folder, sorted; what else there is is counted in the log.

    Whatever is called like an image is listed, also a folder, a pipe or a broken link: opening it
    tells what is wrong with it, so that it is named among the broken files.

    Raises
    ------
    ValueError
        If a name is not Unicode, or the same as another one but for the composition of Unicode.
    """
    images, folders, others = _contents(folder)
    if others:
        endings = Counter(Path(name).suffix.lower() or "no ending" for name in others)
        counts = ", ".join(f"{n} x {ending}" for ending, n in sorted(endings.items()))
        _LOG.info("%s: %d files are not images: %s", folder, len(others), counts)
    return sorted(images + [name for name in folders if is_image(name)], key=composed)


def _left_out(root: Path, name: str = "") -> Iterator[tuple[str, str]]:
    """Name what looks like an image in a class folder, or below it, and is none of its files."""
    _, folders, others = _contents(root / name)
    for file in others:
        why = looks_like_an_image(root / name / file, inside=root)
        if why is not None:
            yield f"{name}/{file}".lstrip("/"), why
    inner = [f"{name}/{folder}" for folder in folders if name and not is_image(folder)]
    passed_over = "folders inside class folders are passed over"
    for place in inner:  # grows while it is gone through
        if (root / place).is_symlink():
            yield place, f"{passed_over}, and this is a link to one"
            continue
        images, deeper, others = _contents(root / place)
        why = f"{passed_over}, as {place} is; move it into {name}"
        looked_at = (root / place / file for file in others)
        images += [file.name for file in looked_at if looks_like_an_image(file, inside=root)]
        yield from ((f"{place}/{file}", why) for file in images)
        inner += [f"{place}/{folder}" for folder in deeper]


def links_out(root: Path) -> list[str]:
    """Names of the folders directly in a folder that are links to places outside of it."""
    inside = root.resolve()
    return [
        name for name in _contents(root)[1] if not (root / name).resolve().is_relative_to(inside)
    ]


def class_folders(root: Path) -> Listing:
    """One sub-folder per class, images directly inside; classes and files in sorted order.

    Raises
    ------
    ValueError
        If there are no class folders, if one holds no image, if images lie beside the folders, if
        the folders are parts of a split, each with its own class folders, or if a name is not
        Unicode, or the same as another one but for the composition of Unicode.
    """
    strays, folders, _ = _contents(root)
    if folders and {name.lower() for name in folders} <= _SPLITS:
        inner = [root / part / name for part in folders for name in _contents(root / part)[1]]
        if (
            part := next((folder.parent for folder in inner if _contents(folder)[0]), None)
        ) is not None:
            raise ValueError(
                f"{root} is divided into {', '.join(folders)}, which hold the classes: name one of "
                f"them, such as folder:{part.as_posix()}"
            )
    if strays or not folders:
        example = f" ({strays[0]})" if strays else ""
        raise ValueError(
            f"expected one sub-folder per class in {root}, got {len(folders)} folders, and beside "
            f"them {len(strays)} images, which belong to no class{example}"
        )
    contents = {name: files_of(root / name) for name in folders}
    left_out = [row for name in ("", *folders) for row in _left_out(root, name)]
    if empty := [name for name, images in contents.items() if not images]:
        rows = (f"; {path}: {why}" for path, why in left_out if path.partition("/")[0] in empty)
        raise ValueError(
            f"no images in class folder(s) {', '.join(empty)} of {root}: name the folder whose "
            f"sub-folders are the classes, of files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
            f"{next(rows, '')}"
        )
    return Listing(
        root=root,
        files=tuple(f"{name}/{file}" for name, files in contents.items() for file in files),
        labels=tuple(label for label, files in enumerate(contents.values()) for _ in files),
        classes=tuple(composed(name) for name in folders),
        left_out=tuple(sorted((_printable(path), why) for path, why in left_out)),
    )


def by_index(root: Path, entries: Iterable[tuple[str, int]], classes: Iterable[str]) -> Listing:
    """Files and labels as a dataset's own index gives them; files that are not there are left out.

    Raises
    ------
    ValueError
        If none of the files is there, the index names one outside of the folder, or a label is of
        no class.
    """
    listed, classes = list(entries), tuple(classes)
    for file, label in listed:
        path = PurePosixPath(file.replace("\\", "/"))
        leads_out = path.is_absolute() or ".." in path.parts or PureWindowsPath(file).drive
        if leads_out or not 0 <= label < len(classes):
            raise ValueError(
                f"the dataset's index names {file!r:.200}, which is not in {root}, or gives it the "
                f"label {label}, of {len(classes)} classes"
            )
    there = [(file, label) for file, label in listed if is_there(root / file)]
    if not there:
        raise ValueError(f"none of the {len(listed)} images of the dataset's index is in {root}")
    return Listing(
        root=root,
        files=tuple(file for file, _ in there),
        labels=tuple(label for _, label in there),
        classes=classes,
    )


def is_there(file: Path) -> bool:
    """Whether a path is one of a file."""
    return os.path.isfile(file)  # noqa: PTH113 - also where no file system could hold the name


def _contents(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Images, folders and other files of a folder, each sorted; hidden ones left out."""

    def fail(error: OSError) -> None:
        raise error

    folders, files = (
        sorted((name for name in names if name[0] != "." and name != "__MACOSX"), key=composed)
        for names in next(os.walk(folder, onerror=fail))[1:]
    )
    images = [name for name in files if is_image(name)]
    seen: dict[str, str] = {}
    for name in images + folders:
        if not is_unicode(name):
            raise ValueError(
                f"the name {name!a} in {folder} is not Unicode, so that no table could hold it; "
                "rename it"
            )
        if (other := seen.setdefault(composed(name), name)) != name:
            raise ValueError(
                f"{other!a} and {name!a} in {folder} are one name in two spellings of Unicode; "
                "rename one"
            )
    return images, folders, [name for name in files if not is_image(name)]
