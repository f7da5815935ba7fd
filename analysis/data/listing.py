"""Listing the images of a folder: which files, which class each, nothing opened yet."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from analysis.data.decoding import IMAGE_SUFFIXES, first_bytes, is_image, unread_format

__all__ = ["Listing", "by_index", "class_folders", "composed", "files_of", "is_there", "links_out"]

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
    absent : int
        Files that the dataset's own index names and that are not there.
    left_out : tuple of (str, str)
        Relative path of what looks like an image and belongs to no class or is in a format that is
        not read, and why it is left out.
    """

    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    absent: int = 0
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
        path = f"{name}/{file}".lstrip("/")
        why = unread_format(file) or unread_format(file, first_bytes(root / path, inside=root))
        if why is not None:
            yield path, why
    inner = [f"{name}/{folder}" for folder in folders if name and not is_image(folder)]
    for place in inner:  # grows while it is gone through
        why = f"folders inside class folders are passed over, as {place} is; move it into {name}"
        if (root / place).is_symlink():
            yield place, "folders inside class folders are passed over, and this is a link to one"
            continue
        try:
            images, deeper, others = _contents(root / place)
        except OSError as error:
            yield place, f"folders inside class folders are passed over: {error.strerror}"
            continue
        yield from ((f"{place}/{file}", why) for file in images)
        yield from ((f"{place}/{file}", why) for file in others if unread_format(file))
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
    _refuse_splits(root, folders)
    if not folders:
        lying = f"{len(strays)} images lie directly in" if strays else "there are no folders in"
        raise ValueError(f"expected one sub-folder per class, but {lying} {root}")
    if strays:
        raise ValueError(
            f"{len(strays)} images lie directly in {root}, beside its class folders, and would "
            f"belong to no class ({strays[0]}); move them into the folder of their class"
        )
    contents = {name: files_of(root / name) for name in folders}
    left_out = [row for name in ("", *folders) for row in _left_out(root, name)]
    if empty := [name for name, images in contents.items() if not images]:
        raise ValueError(_say_empty(root, empty, left_out, all_of_them=len(empty) == len(folders)))
    return Listing(
        root=root,
        files=tuple(f"{name}/{file}" for name, files in contents.items() for file in files),
        labels=tuple(label for label, files in enumerate(contents.values()) for _ in files),
        classes=tuple(composed(name) for name in folders),
        left_out=tuple(sorted((_printable(path), why) for path, why in left_out)),
    )


def _refuse_splits(root: Path, folders: list[str]) -> None:
    """Refuse folders that are called like the parts of a split and hold the classes themselves."""
    if not folders or not {name.lower() for name in folders} <= _SPLITS:
        return
    parts = [
        name
        for name in folders
        if any(_contents(root / name / inner)[0] for inner in _contents(root / name)[1])
    ]
    if parts:
        raise ValueError(
            f"{root} is divided into {', '.join(folders)}, which hold the classes: name one of "
            f"them, such as folder:{root.as_posix()}/{parts[0]}"
        )


def by_index(root: Path, entries: Iterable[tuple[str, int]], classes: Iterable[str]) -> Listing:
    """Files and labels as a dataset's own index gives them; files that are not there are counted.

    Raises
    ------
    ValueError
        If none of the files is there, the index names one outside of the folder, or a label is of
        no class.
    """
    listed, classes = list(entries), tuple(classes)
    outside = next((file for file, _ in listed if not _stays_inside(file)), None)
    if outside is not None:
        raise ValueError(f"the dataset's index names {outside!r:.200}, which is not in {root}")
    unknown = next((row for row in listed if not 0 <= row[1] < len(classes)), None)
    if unknown is not None:
        raise ValueError(
            f"the dataset's index gives {unknown[0]!r} class {unknown[1]} (counted from 0), and "
            f"there are {len(classes)} classes"
        )
    there = [(file, label) for file, label in listed if is_there(root / file)]
    if not there:
        raise ValueError(f"none of the {len(listed)} images of the dataset's index is in {root}")
    return Listing(
        root=root,
        files=tuple(file for file, _ in there),
        labels=tuple(label for _, label in there),
        classes=classes,
        absent=len(listed) - len(there),
    )


def _stays_inside(file: str) -> bool:
    """Whether a relative path leads to a place below where it starts, by its spelling."""
    path = PurePosixPath(file.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and not PureWindowsPath(file).drive


def is_there(file: Path) -> bool:
    """Whether a path is one of a file."""
    try:
        return file.is_file()
    except OSError:  # no name that the file system could hold
        return False


def _contents(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Images, folders and other files of a folder, each sorted; hidden ones left out."""
    images: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            kind = folders if _is_folder(entry) else images if is_image(entry.name) else others
            kind.append(entry.name)
    _refuse_odd_names(folder, images + folders + [name for name in others if unread_format(name)])
    return sorted(images, key=composed), sorted(folders, key=composed), sorted(others)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _refuse_odd_names(folder: Path, names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if not is_unicode(name):
            raise ValueError(
                f"the name {name!a} in {folder} is not Unicode, so that no table could hold it; "
                "rename it"
            )
        other = seen.setdefault(composed(name), name)
        if other != name:
            raise ValueError(
                f"{other!a} and {name!a} in {folder} are one name in two spellings of "
                "Unicode; rename one"
            )


def _say_empty(
    root: Path, empty: list[str], left_out: list[tuple[str, str]], *, all_of_them: bool
) -> str:
    nested = next((name for name in empty if _contents(root / name)[1]), None)
    told = next(((path, why) for path, why in left_out if path.partition("/")[0] in empty), None)
    if nested:
        hint = f"{nested} holds only folders: name the folder whose sub-folders are the classes"
    elif told:
        hint = f"of {told[0]}: {told[1]}"
    else:
        hint = f"images are files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
    which = (
        f"the {len(empty)} class folders" if all_of_them else f"class folder(s) {', '.join(empty)}"
    )
    return f"no images in {which} of {root}; {hint}"
