"""Miniatures of every dataset in its official layout, as its archive unpacks.

Each writer gets the dataset's folder and returns what the loader should list, as
``{relative path: class name}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Expected = dict[str, str]


def write_image(path: Path, grey: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".png": "PNG", ".ppm": "PPM"}
    Image.new("RGB", (12, 10), (grey, 40, 200)).save(path, kind[path.suffix.lower()])


def _write(base: Path, files: Iterable[str]) -> None:
    for number, file in enumerate(files):
        write_image(base / file, grey=number % 250)


def _class_folders(base: Path, files: Iterable[str], prefix: str) -> Expected:
    listed = sorted(files)
    _write(base / prefix, listed)
    return {file: file.partition("/")[0] for file in listed}


def caltech101(folder: Path) -> Expected:
    base = folder / "caltech-101"
    files = ["BACKGROUND_Google/image_0001.jpg", "Faces/image_0001.jpg", "Faces/image_0002.jpg"]
    expected = _class_folders(base, files, "101_ObjectCategories")
    (base / "101_ObjectCategories/BACKGROUND_Google/tmp").write_text("not an image")
    (base / "Annotations.tar").write_bytes(b"")
    return expected


def caltech256(folder: Path) -> Expected:
    files = ["001.ak47/001_0001.jpg", "056.dog/056_0001.jpg", "257.clutter/257_0001.jpg"]
    expected = _class_folders(folder, files, "256_ObjectCategories")
    write_image(folder / "256_ObjectCategories/056.dog/greg/vision309/extra.jpg")
    return expected


def flowers102(folder: Path) -> Expected:
    _write(folder / "jpg", [f"image_{n:05d}.jpg" for n in range(1, 5)])
    savemat(folder / "imagelabels.mat", {"labels": np.array([[3, 1, 1, 2]], np.uint8)})
    names = ("003", "001", "001", "002")
    return {f"jpg/image_{n:05d}.jpg": name for n, name in enumerate(names, 1)}


def cub200(folder: Path) -> Expected:
    base = folder / "CUB_200_2011"
    files = ["001.Black_footed_Albatross/B_1.jpg", "002.Laysan_Albatross/L_1.jpg"]
    _write(base / "images", files)
    (base / "images.txt").write_text("".join(f"{n} {f}\n" for n, f in enumerate(files, 1)))
    (base / "image_class_labels.txt").write_text("1 1\n2 2\n")
    (base / "classes.txt").write_text("1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    (folder / "attributes.txt").write_text("1 has_bill_shape::curved\n")
    return {f"images/{file}": file.partition("/")[0] for file in files}


def catsdogs(folder: Path) -> Expected:
    _write(folder / "images", ["Abyssinian_1.jpg", "american_bulldog_10.jpg", "unlisted_1.jpg"])
    (folder / "annotations").mkdir()
    (folder / "annotations/list.txt").write_text(
        "#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\namerican_bulldog_10 2 2 1\n"
    )
    return {
        "images/Abyssinian_1.jpg": "Abyssinian",
        "images/american_bulldog_10.jpg": "american_bulldog",
    }


def stanforddogs(folder: Path) -> Expected:
    files = ["n02085620-Chihuahua/n02085620_7.jpg", "n02085782-Japanese_spaniel/n02085782_2.jpg"]
    return _class_folders(folder, files, "Images")


def food101(folder: Path) -> Expected:
    base = folder / "food-101"
    test = {"apple_pie": ["apple_pie/2"], "waffles": ["waffles/5", "waffles/7"]}
    trained = ["apple_pie/1.jpg", "waffles/3.jpg"]
    _write(base / "images", trained + [f"{i}.jpg" for images in test.values() for i in images])
    (base / "meta").mkdir()
    (base / "meta/test.json").write_text(json.dumps(test))
    return {f"images/{image}.jpg": name for name, images in test.items() for image in images}


def textures(folder: Path) -> Expected:
    files = ["images/banded/banded_0002.jpg", "images/zigzagged/zigzagged_0001.jpg"]
    _write(folder / "dtd", files)
    return {file.removeprefix("images/"): file.split("/")[1] for file in files}


def mit67(folder: Path) -> Expected:
    files = ["airport_inside/a_1.jpg", "winecellar/w_1.jpg"]
    return _class_folders(folder, files, "Images")


def wood(folder: Path) -> Expected:
    _write(folder, ["st1001.ppm", "st1002.ppm"])
    (folder / "names.txt").write_text("st1001.ppm sound_knot 1 2\nst1002.ppm dry_knot 3 4\n")
    return {"st1001.ppm": "sound_knot", "st1002.ppm": "dry_knot"}


def imagenet(folder: Path) -> Expected:
    _write(folder / "val", [f"ILSVRC2012_val_{n:08d}.JPEG" for n in (1, 2)])
    data = folder / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n")
    synsets = np.array(
        [(1, "n02119789", "kit fox"), (2, "n01440764", "tench")],
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")],
    )
    savemat(data / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    return {
        "ILSVRC2012_val_00000001.JPEG": "n01440764",
        "ILSVRC2012_val_00000002.JPEG": "n02119789",
    }


def imagenet_sample(folder: Path) -> Expected:
    files = ["n01440764_tench.JPEG", "n01443537_goldfish.JPEG"]
    _write(folder, files)
    return {file: Path(file).stem for file in files}


def sun397(folder: Path) -> Expected:
    base = folder / "SUN397"
    _write(base, ["a/abbey/sun_a.jpg", "a/apartment_building/outdoor/sun_b.jpg"])
    (base / "ClassName.txt").write_text("/a/abbey\n/a/apartment_building/outdoor\n")
    return {
        "a/abbey/sun_a.jpg": "abbey",
        "a/apartment_building/outdoor/sun_b.jpg": "apartment_building/outdoor",
    }


def places365(folder: Path) -> Expected:
    _write(folder / "val_256", ["Places365_val_00000001.jpg", "Places365_val_00000002.jpg"])
    (folder / "categories_places365.txt").write_text("/a/airfield 0\n/a/airplane_cabin 1\n")
    (folder / "places365_val.txt").write_text(
        "Places365_val_00000001.jpg 1\nPlaces365_val_00000002.jpg 0\n"
    )
    return {
        "val_256/Places365_val_00000001.jpg": "airplane_cabin",
        "val_256/Places365_val_00000002.jpg": "airfield",
    }


def _office31(domain: str) -> Callable[[Path], Expected]:
    def write(folder: Path) -> Expected:
        files = ["back_pack/frame_0001.jpg", "trash_can/frame_0001.jpg"]
        return _class_folders(folder, files, f"domain_adaptation_images/{domain}/images")

    return write


def _office_caltech10(domain: str) -> Callable[[Path], Expected]:
    def write(folder: Path) -> Expected:
        return _class_folders(folder, ["backpack/frame_0001.jpg", "mug/frame_0001.jpg"], domain)

    return write


def fruits360(folder: Path) -> Expected:
    _write(folder / "Test", ["Apple Red 1/3_100.jpg"])
    return _class_folders(folder, ["Apple Red 1/0_100.jpg", "Kiwi/r_1_100.jpg"], "Training")


def supermarket_produce(folder: Path) -> Expected:
    files = ["fuji_apple/fuji_apple_001.jpg", "taiti_lime/taiti_lime_001.jpg"]
    return _class_folders(folder, files, "tropical-fruits-DB-1024x768")


def ham10000(folder: Path) -> Expected:
    _write(folder / "HAM10000_images_part_1", ["ISIC_0027419.jpg"])
    _write(folder / "HAM10000_images_part_2", ["ISIC_0034320.jpg"])
    (folder / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type\nHAM_1,ISIC_0034320,nv,histo\nHAM_0,ISIC_0027419,bkl,histo\n"
    )
    return {
        "HAM10000_images_part_1/ISIC_0027419.jpg": "bkl",
        "HAM10000_images_part_2/ISIC_0034320.jpg": "nv",
    }


def ph2(folder: Path) -> Expected:
    base = folder / "PH2Dataset"
    cases = {"IMD003": 0, "IMD058": 2}
    files = {
        f"PH2 Dataset images/{case}/{case}_Dermoscopic_Image/{case}.bmp": code
        for case, code in cases.items()
    }
    _write(base, files)
    write_image(base / "PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.bmp")
    rows = "".join(
        f"|| {case} ||      || {code} || 1 | 2 || 3 ||\n" for case, code in cases.items()
    )
    (base / "PH2_dataset.txt").write_text(
        "|| Name || Histology || Clinical ||\n" + rows + "\nend\n"
    )
    return dict(zip(files, ("common nevus", "melanoma"), strict=True))


def corel1000(folder: Path) -> Expected:
    _write(folder / "image.orig", ["0.jpg", "99.jpg", "100.jpg", "999.jpg"])
    names = {"0.jpg": "africa", "99.jpg": "africa", "100.jpg": "beaches", "999.jpg": "food"}
    return {f"image.orig/{file}": name for file, name in names.items()}


WRITERS: dict[str, Callable[[Path], Expected]] = {
    writer.__name__: writer
    for writer in (
        caltech101,
        caltech256,
        flowers102,
        cub200,
        catsdogs,
        stanforddogs,
        food101,
        textures,
        mit67,
        wood,
        imagenet,
        imagenet_sample,
        sun397,
        places365,
        fruits360,
        supermarket_produce,
        ham10000,
        ph2,
        corel1000,
    )
}
WRITERS |= {f"office31/{domain}": _office31(domain) for domain in ("amazon", "dslr", "webcam")}
WRITERS |= {
    f"office_caltech10/{domain}": _office_caltech10(domain)
    for domain in ("amazon", "caltech10", "dslr", "webcam")
}
