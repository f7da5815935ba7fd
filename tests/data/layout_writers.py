"""Miniatures of every dataset in its official layout, as its archive unpacks.

Each writer gets the dataset's folder and returns what the loader should list, as
``{relative path: class name}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Writer = Callable[[Path], dict[str, str]]


def write_image(path: Path, grey: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".png": "PNG", ".ppm": "PPM"}
    Image.new("RGB", (12, 10), (grey, 40, 200)).save(path, kind[path.suffix.lower()])


def _writer(
    base: str,
    listed: Mapping[str, str] | Iterable[str],
    *,
    beside: Iterable[str] = (),
    texts: Mapping[str, str] | None = None,
    tables: Mapping[str, Mapping[str, object]] | None = None,
) -> Writer:
    """Writer of images below a base folder; what is beside them, texts and MATLAB tables as well.

    Without classes of their own, images are of the class of the folder that they lie in.
    """
    expected = listed if isinstance(listed, Mapping) else {f: f.split("/")[0] for f in listed}

    def write(folder: Path) -> dict[str, str]:
        for number, file in enumerate(
            [*(f"{base}/{file}".lstrip("/") for file in expected), *beside]
        ):
            write_image(folder / file, grey=number)
        for file, text in (texts or {}).items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        for file, content in (tables or {}).items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            savemat(folder / file, content)
        return dict(expected)

    return write


_FOLDERS = {  # where the class folders lie, and what is in them
    "stanforddogs": (
        "Images",
        ("n02085620-Chihuahua/n_7.jpg", "n02085782-Japanese_spaniel/n_2.jpg"),
    ),
    "textures": ("dtd/images", ("banded/banded_0002.jpg", "zigzagged/zigzagged_0001.jpg")),
    "mit67": ("Images", ("airport_inside/a_1.jpg", "winecellar/w_1.jpg")),
    "supermarket_produce": (
        "tropical-fruits-DB-1024x768",
        ("fuji_apple/1.jpg", "taiti_lime/1.jpg"),
    ),
}
_OFFICE = ("back_pack/frame_0001.jpg", "trash_can/frame_0001.jpg")
_BIRDS = ("001.Black_footed_Albatross/B_1.jpg", "002.Laysan_Albatross/L_1.jpg")
_KNOTS = {"st1001.ppm": "sound_knot", "st1002.ppm": "dry_knot"}
_SYNSETS = np.array(
    [[(1, "n02119789", "kit fox")], [(2, "n01440764", "tench")]],
    dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")],
)
_DEVKIT = "ILSVRC2012_devkit_t12/data"
_FOOD = {"apple_pie": ["apple_pie/2"], "waffles": ["waffles/5", "waffles/7"]}
_PLACES = [f"Places365_val_{n:08d}.jpg" for n in (1, 2)]
_SKIN = ("HAM10000_images_part_1/ISIC_0027419.jpg", "HAM10000_images_part_2/ISIC_0034320.jpg")
_PH2 = "PH2 Dataset images/{0}/{0}_Dermoscopic_Image/{0}.bmp"
_PH2_ROWS = "|| Name || Histology || Clinical ||\n{}\nend\n".format(
    "\n".join(
        f"|| {case} ||      || {code} || 1 || 3 ||" for case, code in (("IMD003", 0), ("IMD058", 2))
    )
)

WRITERS: dict[str, Writer] = {
    **{name: _writer(base, files) for name, (base, files) in _FOLDERS.items()},
    **{
        f"office31/{domain}": _writer(f"domain_adaptation_images/{domain}/images", _OFFICE)
        for domain in ("amazon", "dslr", "webcam")
    },
    **{
        f"office_caltech10/{domain}": _writer(domain, _OFFICE)
        for domain in ("amazon", "caltech10", "dslr", "webcam")
    },
    "caltech101": _writer(
        "caltech-101/101_ObjectCategories",
        ("BACKGROUND_Google/image_0001.jpg", "Faces/image_0001.jpg", "Faces/image_0002.jpg"),
        texts={
            "caltech-101/101_ObjectCategories/BACKGROUND_Google/tmp": "not an image",
            "caltech-101/Annotations.tar": "",
        },
    ),
    "caltech256": _writer(
        "256_ObjectCategories",
        ("001.ak47/001_0001.jpg", "056.dog/056_0001.jpg", "257.clutter/257_0001.jpg"),
        beside=("256_ObjectCategories/056.dog/greg/vision309/extra.jpg",),
    ),
    "flowers102": _writer(
        "",
        {f"jpg/image_{n:05d}.jpg": f"{label:03d}" for n, label in enumerate((3, 1, 1, 2), 1)},
        tables={"imagelabels.mat": {"labels": np.array([[3, 1, 1, 2]], np.uint8)}},
    ),
    "cub200": _writer(
        "CUB_200_2011",
        {f"images/{file}": file.split("/")[0] for file in _BIRDS},
        texts={
            "CUB_200_2011/images.txt": "".join(f"{n} {f}\n" for n, f in enumerate(_BIRDS, 1)),
            "CUB_200_2011/image_class_labels.txt": "1 1\n2 2\n",
            "CUB_200_2011/classes.txt": "".join(
                f"{n} {file.split('/')[0]}\n" for n, file in enumerate(_BIRDS, 1)
            ),
            "attributes.txt": "1 has_bill_shape::curved\n",
        },
    ),
    "catsdogs": _writer(
        "",
        {
            "images/Abyssinian_1.jpg": "Abyssinian",
            "images/american_bulldog_10.jpg": "american_bulldog",
        },
        beside=("images/unlisted_1.jpg",),
        texts={
            "annotations/list.txt": "#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\n"
            "american_bulldog_10 2 2 1\n"
        },
    ),
    "food101": _writer(
        "food-101",
        {f"images/{image}.jpg": name for name, images in _FOOD.items() for image in images},
        beside=("food-101/images/apple_pie/1.jpg", "food-101/images/waffles/3.jpg"),
        texts={"food-101/meta/test.json": json.dumps(_FOOD)},
    ),
    "wood": _writer(
        "", _KNOTS, texts={"names.txt": "".join(f"{f} {name} 1 2\n" for f, name in _KNOTS.items())}
    ),
    "imagenet": _writer(
        "val",
        {f"ILSVRC2012_val_{n:08d}.JPEG": w for n, w in ((1, "n01440764"), (2, "n02119789"))},
        texts={f"{_DEVKIT}/ILSVRC2012_validation_ground_truth.txt": "2\n1\n"},
        tables={f"{_DEVKIT}/meta.mat": {"synsets": _SYNSETS}},
    ),
    "imagenet_sample": _writer(
        "", {f"{name}.JPEG": name for name in ("n01440764_tench", "n01443537_goldfish")}
    ),
    "sun397": _writer(
        "SUN397",
        {
            "a/abbey/sun_a.jpg": "abbey",
            "a/apartment_building/outdoor/sun_b.jpg": "apartment_building/outdoor",
        },
        texts={"SUN397/ClassName.txt": "/a/abbey\n/a/apartment_building/outdoor\n"},
    ),
    "places365": _writer(
        "",
        {f"val_256/{_PLACES[0]}": "airplane_cabin", f"val_256/{_PLACES[1]}": "airfield"},
        texts={
            "categories_places365.txt": "/a/airfield 0\n/a/airplane_cabin 1\n",
            "places365_val.txt": f"{_PLACES[0]} 1\n{_PLACES[1]} 0\n",
        },
    ),
    "fruits360": _writer(
        "Training",
        ("Apple Red 1/0_100.jpg", "Kiwi/r_1_100.jpg"),
        beside=("Test/Apple Red 1/3_100.jpg",),
    ),
    "ham10000": _writer(
        "",
        dict(zip(_SKIN, ("bkl", "nv"), strict=True)),
        texts={
            "HAM10000_metadata.csv": "lesion_id,image_id,dx,dx_type\nHAM_1,ISIC_0034320,nv,histo\n"
            "HAM_0,ISIC_0027419,bkl,histo\n"
        },
    ),
    "ph2": _writer(
        "PH2Dataset",
        {_PH2.format("IMD003"): "common nevus", _PH2.format("IMD058"): "melanoma"},
        beside=("PH2Dataset/PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.bmp",),
        texts={"PH2Dataset/PH2_dataset.txt": _PH2_ROWS},
    ),
    "corel1000": _writer(
        "",
        {
            f"image.orig/{n}.jpg": c
            for n, c in ((0, "africa"), (99, "africa"), (100, "beaches"), (999, "food"))
        },
    ),
}
