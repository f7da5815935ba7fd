"""Every reader of files meets damaged ones: it succeeds, or raises its own error with the path.

Each reader is given whole files that were changed at random, and files of any bytes. What it may
raise is what its documentation says, and the message has to name the file; anything else fails. The
usual run tries some dozens for each reader, the same each time; the long one thousands.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as save_tensors
from scipy.io import savemat

from analysis import load_dataset
from analysis.chapters.study import read_study
from analysis.data.annotations import read_bird_annotations
from analysis.data.decoding import BrokenImageError, open_image
from analysis.data.download import unpack
from analysis.data.matlab import read_matlab
from analysis.networks.training import read_checkpoint, write_checkpoint
from analysis.networks.weights import load_state, match_names, read_state
from analysis.statistics import FullNetworkEmbedding
from analysis.statistics.embedding import FACTS, NUMBERS
from analysis.transfer import RecommendedEmbedding

SHORT, LONG = 20, 2000


TELLING = (b"\0", b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"../", b"\n")


@st.composite
def damaged(draw: st.DrawFn, whole: Sequence[bytes]) -> bytes:
    """A whole file with one to six changes, as a fuzzer makes them, or any bytes at all.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    whole
        Files that can be read; parts of one may end up in another.
    """
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=2000))
    content = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 64)))
        block = draw(st.one_of(st.sampled_from(TELLING), st.binary(min_size=1, max_size=64)))
        other = draw(st.sampled_from(whole))
        flipped = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in content[start : start + 1])
        middle, last = draw(
            st.sampled_from(
                [
                    (flipped, content[start + 1 :]),
                    (b"", b""),  # cut
                    (b"", content[stop:]),  # drop
                    (content[start:stop] * draw(st.integers(2, 41)), content[stop:]),  # repeat
                    (b"", other[draw(st.integers(0, len(other))) :]),  # splice
                    (block, content[start:]),  # insert
                    (block, content[start + len(block) :]),  # overwrite
                ]
            )
        )
        content = content[:start] + middle + last
    return content


def put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def images(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (9, 11, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for ending in ("jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "jp2", "avif"):
        with contextlib.suppress(KeyError, ValueError, OSError):  # a Pillow without it
            picture.save(folder / f"x.{ending}", exif=exif)
    for mode in ("P", "1", "I;16", "LA", "CMYK"):
        grey = picture.convert("I") if mode == "I;16" else picture
        grey.convert(mode).save(folder / f"{mode[0]}.tif")
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        picture.save(folder / f"{compression}.tif", compression=compression)
    picture.save(folder / "a.gif", save_all=True, append_images=[picture.rotate(90)])
    picture.save(folder / "p.jpg", progressive=True)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def read_image(content: bytes, folder: Path) -> None:
    assert open_image(put(folder / "x.png", content)).mode == "RGB"


def archives(folder: Path) -> list[bytes]:
    photo = put(folder / "a b/x.jpg", bytes(range(256)) * 3)
    text = put(folder / "c.txt", b"text" * 9)
    made = []
    for mode in ("w", "w:gz"):
        for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode=mode, format=kind) as tar:
                tar.add(photo.parent, "a b")
                tar.add(text, "long/" * 30 + "c\N{LATIN SMALL LETTER E WITH ACUTE}")
            made.append(buffer.getvalue())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as zipped:
            zipped.write(photo, "a b/x.jpg")
            zipped.write(text, "c\N{LATIN SMALL LETTER E WITH ACUTE}")
        made.append(buffer.getvalue())
    return made


def read_archive(content: bytes, folder: Path) -> None:
    file = put(folder / "x.zip", content)
    (folder / "box/into").mkdir(parents=True)
    try:
        unpack(file, folder / "box/into")
    finally:
        assert [path.name for path in (folder / "box").iterdir()] == ["into"]
        assert sorted(path.name for path in folder.iterdir()) == ["box", "x.zip"]
        assert not [path for path in folder.rglob("*") if path.is_symlink()]


def matlab_files(folder: Path) -> list[bytes]:
    made = []
    for compressed in (False, True):
        counts = np.arange(3 * 800, dtype=np.float64).reshape(3, 800) % 5
        named = {"fts": counts, "labels": np.array([[1], [2], [10]])}
        rows = np.array([(1, "n01", "x")], dtype=[("ID", "O"), ("WNID", "O"), ("words", "O")])
        others = {
            "labels": np.array([[1, 2]], np.uint8),
            "fts": rows,
            "cell": np.array(["a"], object),
        }
        for content in (named, others):
            savemat(folder / "x.mat", content, do_compression=compressed)
            made.append((folder / "x.mat").read_bytes())
    return made


def read_mat(content: bytes, folder: Path) -> None:
    assert len(read_matlab(put(folder / "x.mat", content), "fts", "labels")) == 2


def states() -> dict[str, torch.Tensor]:
    rows = torch.arange(12.0).reshape(3, 4)
    return {"a.weight": rows, "a.bias": rows[0, :3].half(), "n": torch.tensor(3), "b": rows[:, 1]}


def network() -> torch.nn.Module:
    module = torch.nn.Module()
    module.a = torch.nn.Linear(4, 3)
    module.register_buffer("n", torch.tensor(0))
    module.register_buffer("b", torch.zeros(3))
    return module


def weights(folder: Path) -> list[bytes]:
    made = []
    for zipped in (True, False):
        for content in (states(), {"state_dict": states(), "epoch": 3, "name": "x"}):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
            made.append(buffer.getvalue())
    return made


def tensors(folder: Path) -> list[bytes]:
    return [save_tensors({name: value.clone() for name, value in states().items()})]


def read_weights(content: bytes, folder: Path, ending: str) -> None:
    file = put(folder / f"x{ending}", content)
    module = network()
    _, state = match_names(read_state(file), module, str(file))
    load_state(module, state, str(file))
    assert all(isinstance(value, torch.Tensor) for value in state.values())


RUN = json.dumps({"task": "a", "seed": 1, "recipe": {"epochs": 3}})


def checkpoints(folder: Path) -> list[bytes]:
    write_checkpoint(folder / "c.pt", RUN, {"module": states(), "history": [{"loss": 1.0}]})
    return [(folder / "c.pt").read_bytes()]


def take_up(content: bytes, folder: Path) -> None:
    held = read_checkpoint(put(folder / "c.pt", content), RUN)
    assert held is not None and "run" not in held


def embedding(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    made = FullNetworkEmbedding().fit(rng.normal(size=(9, 6)).astype(np.float32))
    made.save(folder, classes=["a", "b"])
    put(folder / "recommended.json", b'{"values": "standardised", "weights": "features"}')
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def load_damaged(content: bytes, folder: Path, name: str) -> None:
    embedding(folder)
    put(folder / name, content)
    if name == NUMBERS:  # else the checksum alone would tell
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        facts["numbers_sha256"] = hashlib.sha256(content).hexdigest()
        (folder / FACTS).write_text(json.dumps(facts), "utf-8")
    loaded = FullNetworkEmbedding.load(folder)
    RecommendedEmbedding.load(folder)
    assert np.isfinite([loaded.lower, loaded.upper, *loaded.mean_, *loaded.scale_]).all()


def study_files(folder: Path) -> list[bytes]:
    return [
        b"title: A\ndatasets: [digits, materials]\nnetworks: [minivgg16@random]\ncrops: ten\n"
        b"seed: 0\nreference_images: photographs\n",
        b"title: &x [a, b]\ndatasets: [*x, *x]\nseed: 2001-01-01\n? [1, 2]\n: {a: 1}\n",
        b"a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n!!python/object:os.system x: y\n",
    ]


def read_yaml(content: bytes, folder: Path) -> None:
    study = read_study(put(folder / "x.yml", content))
    assert all(isinstance(value, str | int | list) for value in study.values())


IMD = "PH2Dataset/PH2 Dataset images/IMD{0}/IMD{0}_Dermoscopic_Image/IMD{0}.bmp"
#: By dataset: the file of its labels, what is in it, and images.
LABELS: dict[str, tuple[str, bytes, list[str]]] = {
    "food101": (
        "food-101/meta/test.json", b'{"a": ["a/1", "a/2"], "b": ["b/1"]}',
        [f"food-101/images/{name}.jpg" for name in ("a/1", "a/2", "b/1")],
    ),
    "cub200": (
        "CUB_200_2011/images.txt", b"1 a/1.jpg\n2 b/1.jpg\n",
        ["CUB_200_2011/images/a/1.jpg", "CUB_200_2011/images/b/1.jpg"],
    ),
    "catsdogs": (
        "annotations/list.txt", b"#Image\nabyss_1 1 1 1\nbull_dog_2 2 2 1\n",
        ["images/abyss_1.jpg", "images/bull_dog_2.jpg"],
    ),
    "wood": (
        "names.txt", b"st1001.ppm sound_knot 1 2\nst1002.ppm dry_knot 3 4\n",
        ["st1001.ppm", "st1002.ppm"],
    ),
    "places365": (
        "places365_val.txt", b"1.jpg 1\n2.jpg 0\n", ["val_256/1.jpg", "val_256/2.jpg"]
    ),
    "ham10000": (
        "HAM10000_metadata.csv", b"lesion_id,image_id,dx\n1,I1,nv\n2,I2,mel\n",
        ["HAM10000_images_part_1/I1.jpg", "HAM10000_images_part_1/I2.jpg"],
    ),
    "ph2": (
        "PH2Dataset/PH2_dataset.txt", b"|| IMD003 || || 0 || 1 ||\n|| IMD058 || || 2 ||\n",
        [IMD.format("003"), IMD.format("058")],
    ),
    "sun397": (
        "SUN397/ClassName.txt", b"/a/abbey\n/a/barn/outdoor\n",
        ["SUN397/a/abbey/x.jpg", "SUN397/a/barn/outdoor/x.jpg"],
    ),
}  # fmt: skip
BESIDE = {
    "CUB_200_2011/image_class_labels.txt": b"1 1\n2 2\n",
    "CUB_200_2011/classes.txt": b"1 a\n2 b\n",
    "categories_places365.txt": b"/a/x 0\n/a/y 1\n",
}


def read_labels(content: bytes, folder: Path) -> None:
    """Every reader of labels with the same damaged file, and images that it may name."""
    tree = folder.parent / "tree"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERBOOK_DATA", str(tree))
        for name, (index, whole, images) in LABELS.items():
            if not (tree / name).exists():
                official = BESIDE | dict.fromkeys(images, b"") | {index: whole}
                for file, in_file in official.items():
                    put(tree / name / file, in_file)
                assert len(load_dataset(name)) == len(images)
            put(tree / name / index, content)
            try:
                data = load_dataset(name)
            except (ValueError, FileNotFoundError) as error:
                assert str(tree / name) in str(error) or name in str(error), name
            else:
                assert data.labels.max() < len(data.classes)
                inside = f"{tree / name}/"
                assert all(os.path.normpath(f).startswith(inside) for f in data.source.files)


BIRDS = {
    "images.txt": b"1 a/1.jpg\n2 b/1.jpg\n",
    "image_class_labels.txt": b"1 1\n2 2\n",
    "classes.txt": b"1 a\n2 b\n",
    "bounding_boxes.txt": b"1 1 2 5 6\n2 0 0 3 3\n",
    "train_test_split.txt": b"1 1\n2 0\n",
    "parts/parts.txt": b"1 back\n2 left wing\n",
    "parts/part_locs.txt": b"1 1 1 1 1\n1 2 0 0 0\n2 1 3 4 1\n2 2 5 5 1\n",
}


def read_annotations(content: bytes, folder: Path) -> None:
    """Each file of the annotation of birds in turn holds the damaged content."""
    root = folder / "cub200/CUB_200_2011"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERBOOK_DATA", str(folder))
        for damaged_one in BIRDS:
            files = BIRDS | {"images/a/1.jpg": b"", "images/b/1.jpg": b"", damaged_one: content}
            for name, in_file in files.items():
                put(root / name, in_file)
            try:
                data = load_dataset("cub200")
                found = read_bird_annotations(data)
            except ValueError as error:
                assert str(root) in str(error), f"no path in: {error}"
            else:
                assert found.boxes.shape == (len(data), 4)
                assert found.places.shape == (len(data), len(found.parts), 2)


#: Name in the table of the book, maker of files that can be read, and the reader. It is given a
#: damaged one, and a folder of its own that an error has to name.
READERS: dict[str, tuple[str, Callable[[Path], list[bytes]], Callable[[bytes, Path], object]]] = {
    "images": ("Damaged image files", images, read_image),
    "archives": ("Damaged archives", archives, read_archive),
    "matlab": ("Damaged MATLAB files", matlab_files, read_mat),
    "pth": ("Damaged .pth files", weights, partial(read_weights, ending=".pth")),
    "safetensors": (
        "Damaged safetensors files", tensors, partial(read_weights, ending=".safetensors")
    ),
    "checkpoints": ("Damaged checkpoints", checkpoints, take_up),
    "embedding": (
        "Damaged descriptions of an embedding", embedding, partial(load_damaged, name=FACTS)
    ),
    "numbers": ("Damaged numbers of an embedding", embedding, partial(load_damaged, name=NUMBERS)),
    "recommended": (
        "Damaged recommendations", embedding, partial(load_damaged, name="recommended.json")
    ),
    "studies": ("Damaged study files", study_files, read_yaml),
    "birds": ("Damaged annotations of birds", lambda folder: [*BIRDS.values()], read_annotations),
    "labels": (
        "Damaged label files of datasets",
        lambda folder: [content for _, content, _ in LABELS.values()],
        read_labels,
    ),
}  # fmt: skip
SLOW = {"labels": 10, "birds": 10, "matlab": 20}  # how many times as long each takes


def examples(n: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=n,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )


many = pytest.mark.parametrize("n", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])


@many
@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name, n, tmp_path, withstood):
    what, make, read = READERS[name]
    (tmp_path / "whole").mkdir()
    whole = make(tmp_path / "whole")
    tried = 0

    def attempt(content: bytes) -> None:
        nonlocal tried
        tried += 1
        folder = tmp_path / str(tried)
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata and the like
            try:
                read(content, folder)
            except (BrokenImageError, ValueError) as error:
                assert name == "images" or isinstance(error, ValueError)
                assert str(folder) in str(error), f"no path in: {error}"
        shutil.rmtree(folder)

    for content in whole:
        attempt(content)
    examples(max(2, n // SLOW.get(name, 1)))(given(damaged(whole))(attempt))()
    withstood("attack", what, tried=tried)


_NAME = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
)


@many
def test_folders_with_any_names(n, tmp_path, withstood):
    """Listing: every image is listed once, or the folder is refused by name."""
    tried = 0

    @examples(n)
    @given(st.dictionaries(_NAME, st.lists(_NAME, max_size=4, unique=True), max_size=4))
    def attempt(tree: dict[str, list[str]]) -> None:
        nonlocal tried
        tried += 1
        root = tmp_path / str(tried)
        root.mkdir()
        made = []
        for name, files in tree.items():
            with contextlib.suppress(OSError):  # no name on this file system
                (root / name).mkdir()
                for file in files:
                    (root / name / f"{file}.png").touch()
                    made.append((name, f"{file}.png"))
        try:
            data = load_dataset(f"folder:{root}")
        except ValueError as error:
            assert str(root) in str(error)
        else:
            wanted = [f"{a}/{b}" for a, b in made if not (a.startswith(".") or b.startswith("."))]
            wanted = [path for path in wanted if not path.startswith("__MACOSX/")]
            assert sorted(file.removeprefix(f"{root}/") for file in data.source.files) == sorted(
                wanted
            )
            assert len(set(data.paths)) == len(data)

    attempt()
    withstood("attack", "Folders and files of any names", tried=tried)
