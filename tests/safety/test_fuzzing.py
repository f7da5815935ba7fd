"""Every reader of files meets damaged ones: it succeeds, or raises its own error with the path.

Each reader is given whole files that were changed at random, and files of any bytes. What it may
raise is what its documentation says, and the message has to name the file; anything else, and a try
that takes longer than a minute, fails. The usual run tries some dozens for each reader, the same
each time; the long one thousands.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations import damaged
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

SHORT, LONG, SECONDS = 50, 2000, 60


@dataclass(frozen=True)
class Reader:
    """What is fuzzed.

    Attributes
    ----------
    what
        Its name in the table of the book.
    whole
        Gives files that it can read, in an empty folder.
    read
        Reads a damaged one, given its content and a folder of its own; gives the path that an
        error has to name.
    raises
        What it may raise.
    """

    what: str
    whole: Callable[[Path], list[bytes]]
    read: Callable[[bytes, Path], object]
    raises: tuple[type[Exception], ...] = (ValueError,)


def images(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (9, 11, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    made = []
    for ending in ("jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "jp2", "avif"):
        with contextlib.suppress(KeyError, ValueError, OSError):  # a Pillow without it
            picture.save(folder / f"x.{ending}", exif=exif)
            made.append((folder / f"x.{ending}").read_bytes())
    for mode, options in (("P", {}), ("1", {}), ("I;16", {}), ("LA", {}), ("CMYK", {})):
        file = folder / f"{mode[0]}.tif"
        grey = picture.convert("I") if mode == "I;16" else picture
        grey.convert(mode).save(file, **options)
        made.append(file.read_bytes())
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        picture.save(folder / "c.tif", compression=compression)
        made.append((folder / "c.tif").read_bytes())
    picture.save(folder / "a.gif", save_all=True, append_images=[picture.rotate(90)])
    picture.save(folder / "p.jpg", progressive=True)
    return [*made, (folder / "a.gif").read_bytes(), (folder / "p.jpg").read_bytes()]


def read_image(content: bytes, folder: Path) -> None:
    file = folder / "x.png"
    file.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damaged metadata
        assert open_image(file).mode == "RGB"


def archives(folder: Path) -> list[bytes]:
    (folder / "a b").mkdir()
    (folder / "a b/x.jpg").write_bytes(bytes(range(256)) * 3)
    (folder / "c.txt").write_text("text" * 9)
    made = []
    for mode in ("w", "w:gz"):
        for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode=mode, format=kind) as tar:
                tar.add(folder / "a b", "a b")
                tar.add(folder / "c.txt", "long/" * 30 + "c\N{LATIN SMALL LETTER E WITH ACUTE}")
            made.append(buffer.getvalue())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as zipped:
            zipped.write(folder / "a b/x.jpg", "a b/x.jpg")
            zipped.write(folder / "c.txt", "c\N{LATIN SMALL LETTER E WITH ACUTE}")
        made.append(buffer.getvalue())
    return made


def read_archive(content: bytes, folder: Path) -> None:
    file = folder / "x.zip"
    file.write_bytes(content)
    (folder / "box/into").mkdir(parents=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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
    (folder / "x.mat").write_bytes(content)
    assert len(read_matlab(folder / "x.mat", "fts", "labels")) == 2


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


def read_weights(ending: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        file = folder / f"x{ending}"
        file.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = network()
            _, state = match_names(read_state(file), module, str(file))
            load_state(module, state, str(file))
        assert all(isinstance(value, torch.Tensor) for value in state.values())

    return read


RUN = json.dumps({"task": "a", "seed": 1, "recipe": {"epochs": 3}})


def checkpoints(folder: Path) -> list[bytes]:
    write_checkpoint(folder / "c.pt", RUN, {"module": states(), "history": [{"loss": 1.0}]})
    return [(folder / "c.pt").read_bytes()]


def take_up(content: bytes, folder: Path) -> None:
    (folder / "c.pt").write_bytes(content)
    held = read_checkpoint(folder / "c.pt", RUN)
    assert held is not None and "run" not in held


def fitted(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    made = FullNetworkEmbedding().fit(rng.normal(size=(9, 6)).astype(np.float32))
    made.save(folder, classes=["a", "b"])
    (folder / "recommended.json").write_text('{"values": "standardised", "weights": "features"}')
    return folder


def parts_of_embedding(folder: Path) -> list[bytes]:
    fitted(folder)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def load_damaged(name: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        (fitted(folder) / name).write_bytes(content)
        if name == NUMBERS:  # else the checksum alone would tell
            facts = json.loads((folder / FACTS).read_text("utf-8"))
            facts["numbers_sha256"] = hashlib.sha256(content).hexdigest()
            (folder / FACTS).write_text(json.dumps(facts), "utf-8")
        loaded = FullNetworkEmbedding.load(folder)
        RecommendedEmbedding.load(folder)
        assert np.isfinite([loaded.lower, loaded.upper, *loaded.mean_, *loaded.scale_]).all()

    return read


def study_files(folder: Path) -> list[bytes]:
    return [
        b"title: A\ndatasets: [digits, materials]\nnetworks: [minivgg16@random]\ncrops: ten\n"
        b"seed: 0\nreference_images: photographs\n",
        b"title: &x [a, b]\ndatasets: [*x, *x]\nseed: 2001-01-01\n? [1, 2]\n: {a: 1}\n",
        b"a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n!!python/object:os.system x: y\n",
    ]


def read_yaml(content: bytes, folder: Path) -> None:
    (folder / "x.yml").write_bytes(content)
    study = read_study(folder / "x.yml")
    assert all(isinstance(value, str | int | list) for value in study.values())


LABELS = {
    "food101": ("food-101/meta/test.json", b'{"a": ["a/1", "a/2"], "b": ["b/1"]}'),
    "cub200": ("CUB_200_2011/images.txt", b"1 a/1.jpg\n2 b/1.jpg\n"),
    "catsdogs": ("annotations/list.txt", b"#Image\nabyss_1 1 1 1\nbull_dog_2 2 2 1\n"),
    "wood": ("names.txt", b"st1001.ppm sound_knot 1 2\nst1002.ppm dry_knot 3 4\n"),
    "places365": ("places365_val.txt", b"1.jpg 1\n2.jpg 0\n"),
    "ham10000": ("HAM10000_metadata.csv", b"lesion_id,image_id,dx\n1,I1,nv\n2,I2,mel\n"),
    "ph2": ("PH2Dataset/PH2_dataset.txt", b"|| IMD003 || || 0 || 1 ||\n|| IMD058 || || 2 ||\n"),
    "sun397": ("SUN397/ClassName.txt", b"/a/abbey\n/a/barn/outdoor\n"),
}


IMD = "PH2Dataset/PH2 Dataset images/IMD{0}/IMD{0}_Dermoscopic_Image/IMD{0}.bmp"
IMAGES = {
    "food101": "food-101/images/a/1.jpg,food-101/images/a/2.jpg,food-101/images/b/1.jpg",
    "cub200": "CUB_200_2011/images/a/1.jpg,CUB_200_2011/images/b/1.jpg",
    "catsdogs": "images/abyss_1.jpg,images/bull_dog_2.jpg",
    "wood": "st1001.ppm,st1002.ppm",
    "places365": "val_256/1.jpg,val_256/2.jpg",
    "ham10000": "HAM10000_images_part_1/I1.jpg,HAM10000_images_part_1/I2.jpg",
    "ph2": f"{IMD.format('003')},{IMD.format('058')}",
    "sun397": "SUN397/a/abbey/x.jpg,SUN397/a/barn/outdoor/x.jpg",
}


def label_files(folder: Path) -> list[bytes]:
    return [content for _, content in LABELS.values()]


def read_labels(content: bytes, folder: Path) -> None:
    """Every reader of labels with the same damaged file, and images that it may name."""
    tree = folder.parent / "tree"
    if not tree.exists():
        make_tree(tree)
    for name, (index, _) in LABELS.items():
        (tree / name / index).write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAYERBOOK_DATA", str(tree))
            try:
                data = load_dataset(name)
            except (ValueError, FileNotFoundError) as error:
                assert str(tree / name) in str(error) or name in str(error), name
            else:
                assert data.labels.max() < len(data.classes)
                inside = f"{tree / name}/"
                assert all(os.path.normpath(f).startswith(inside) for f in data.source.files)


def make_tree(tree: Path) -> None:
    """Make datasets in their official layouts, and see that they can be read."""
    for name, (index, whole) in LABELS.items():
        root = tree / name
        for file in IMAGES[name].split(","):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
        for file, text in (
            ("CUB_200_2011/image_class_labels.txt", "1 1\n2 2\n"),
            ("CUB_200_2011/classes.txt", "1 a\n2 b\n"),
            ("categories_places365.txt", "/a/x 0\n/a/y 1\n"),
        ):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text)
        (root / index).parent.mkdir(parents=True, exist_ok=True)
        (root / index).write_bytes(whole)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAYERBOOK_DATA", str(tree))
            assert len(load_dataset(name)) == 1 + IMAGES[name].count(",")


BIRDS = {
    "images.txt": b"1 a/1.jpg\n2 b/1.jpg\n",
    "image_class_labels.txt": b"1 1\n2 2\n",
    "classes.txt": b"1 a\n2 b\n",
    "bounding_boxes.txt": b"1 1 2 5 6\n2 0 0 3 3\n",
    "train_test_split.txt": b"1 1\n2 0\n",
    "parts/parts.txt": b"1 back\n2 left wing\n",
    "parts/part_locs.txt": b"1 1 1 1 1\n1 2 0 0 0\n2 1 3 4 1\n2 2 5 5 1\n",
}


def annotations(folder: Path) -> list[bytes]:
    return [*BIRDS.values()]


def read_annotations(content: bytes, folder: Path) -> None:
    """Each file of the annotation of birds in turn holds the damaged content."""
    root = folder / "cub200/CUB_200_2011"
    for damaged_one in BIRDS:
        for name, whole in BIRDS.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content if name == damaged_one else whole)
        for image in ("a/1.jpg", "b/1.jpg"):
            (root / "images" / image).parent.mkdir(parents=True, exist_ok=True)
            (root / "images" / image).touch()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAYERBOOK_DATA", str(folder))
            try:
                data = load_dataset("cub200")
                found = read_bird_annotations(data)
            except ValueError as error:
                assert str(root) in str(error), f"no path in: {error}"
            else:
                assert found.boxes.shape == (len(data), 4)
                assert found.places.shape == (len(data), len(found.parts), 2)


READERS = {
    "images": Reader("Damaged image files", images, read_image, (BrokenImageError,)),
    "archives": Reader("Damaged archives", archives, read_archive),
    "matlab": Reader("Damaged MATLAB files", matlab_files, read_mat),
    "pth": Reader("Damaged .pth files", weights, read_weights(".pth")),
    "safetensors": Reader("Damaged safetensors files", tensors, read_weights(".safetensors")),
    "checkpoints": Reader("Damaged checkpoints", checkpoints, take_up),
    "embedding": Reader(
        "Damaged descriptions of an embedding", parts_of_embedding, load_damaged("embedding.json")
    ),
    "numbers": Reader(
        "Damaged numbers of an embedding", parts_of_embedding, load_damaged("embedding.safetensors")
    ),
    "recommended": Reader(
        "Damaged recommendations", parts_of_embedding, load_damaged("recommended.json")
    ),
    "studies": Reader("Damaged study files", study_files, read_yaml),
    "birds": Reader("Damaged annotations of birds", annotations, read_annotations),
    "labels": Reader("Damaged label files of datasets", label_files, read_labels),
}


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Stop what takes longer, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"a try took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(reader: Reader, n: int, factory: pytest.TempPathFactory) -> int:
    """Try a reader; give how often."""
    base = factory.mktemp("fuzz")
    (base / "whole").mkdir()
    whole = reader.whole(base / "whole")
    tried = 0

    def attempt(content: bytes) -> None:
        nonlocal tried
        tried += 1
        folder = base / str(tried)
        folder.mkdir()
        with at_most(SECONDS):
            try:
                reader.read(content, folder)
            except reader.raises as error:
                assert str(folder) in str(error), f"no path in: {error}"
        shutil.rmtree(folder)

    for content in whole:
        attempt(content)
    settings(
        max_examples=n,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )(given(damaged(whole))(attempt))()
    return tried


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name, tmp_path_factory, withstood):
    n = 2 if name == "matlab" else SHORT // 2  # the one has a process for each file
    tried = fuzz(READERS[name], n, tmp_path_factory)
    assert tried >= n
    withstood("attack", READERS[name].what, tried=tried)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_thousands_of_damaged_files(name, tmp_path_factory, withstood):
    n = LONG // {"labels": 10, "birds": 10, "matlab": 20}.get(name, 1)  # which take long for each
    tried = fuzz(READERS[name], n, tmp_path_factory)
    assert tried >= n
    withstood("attack", READERS[name].what, tried=tried)


_NAME = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
)


@pytest.mark.parametrize(
    "n", [pytest.param(SHORT), pytest.param(LONG // 4, marks=pytest.mark.long)]
)
def test_folders_with_any_names(n, tmp_path_factory, withstood):
    """Listing: every image is listed once, or the folder is refused by name."""
    base, tried = tmp_path_factory.mktemp("names"), 0

    @settings(max_examples=n, derandomize=True, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.dictionaries(_NAME, st.lists(_NAME, max_size=4, unique=True), max_size=4))
    def attempt(tree: dict[str, list[str]]) -> None:
        nonlocal tried
        tried += 1
        root = base / str(tried)
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
