"""The drawn datasets: what they hold, what they share with the source task, how they are kept."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_drawings import SMALL

from analysis.data import CARDS, ImageDataset, drawn, load_dataset
from analysis.data.drawn import (
    DRAWN,
    DrawnImages,
    digits_rendered,
    drawing,
    glyphs_clean,
    glyphs_cluttered,
    source_drawn,
    wood_grain,
)
from analysis.data.glyphs import SOURCE_GLYPHS, render_glyph
from analysis.data.materials import MATERIALS

TARGETS = sorted(set(SMALL) - {"source_drawn"})


def calls(data: ImageDataset) -> set[tuple[object, ...]]:
    """Every call that draws one of the images, without its seed."""
    source = data.source
    assert isinstance(source, DrawnImages)
    return {
        (each.render, each.label, index, *((k, v) for k, v in each.options if k != "seed"))
        for each in source.drawings
        for index in range(each.n_images)
    }


def digests(data: ImageDataset) -> set[bytes]:
    return {data.source.digest(index) for index in range(len(data))}


# --- what they hold ---


@pytest.mark.parametrize("name", ["digits_rendered", "glyphs_clean", "glyphs_cluttered"])
def test_an_image_is_the_same_however_many_there_are(name):
    few, more = SMALL[name](), DRAWN[name]()
    size = len(more) // len(more.classes)
    for index, path in enumerate(few.paths[:6]):
        assert path == f"{few.classes[index // 3]}/{index % 3:04d}"
        other = more.paths.index(path)
        assert other == index // 3 * size + index % 3
    assert calls(few) < calls(more)
    assert SMALL[name](seed=1).fingerprint != few.fingerprint


@pytest.mark.parametrize(
    ("name", "smallest", "largest"), [("materials_unbalanced", 10, 320), ("wood_grain", 14, 160)]
)
def test_unequal_sizes_are_spread_in_equal_ratios(name, smallest, largest):
    sizes = np.bincount(load_dataset(name).labels)
    assert (sizes.min(), sizes.max()) == (smallest, largest)
    ratios = np.diff(np.log(np.sort(sizes)))
    np.testing.assert_allclose(ratios, ratios.mean(), atol=0.12)  # sizes are whole numbers
    assert (np.diff(sizes) < 0).any()
    assert (np.diff(sizes) > 0).any()
    other = np.bincount(DRAWN[name](seed=1).labels)
    assert (other != sizes).any()
    np.testing.assert_array_equal(np.sort(other), np.sort(sizes))


def test_source_task_has_both_styles_and_all_materials():
    train, val = source_drawn(), source_drawn("val")
    assert train.classes == val.classes
    assert len(train.classes) == len(SOURCE_GLYPHS) + len(MATERIALS) == 26
    assert (np.bincount(train.labels) == 250).all()
    assert (np.bincount(val.labels) == 25).all()
    styles = [dict(each.options).get("style") for each in train.source.drawings]
    sizes = np.array([each.n_images for each in train.source.drawings])
    assert sizes[[style == "clean" for style in styles]].sum() == 125 * len(SOURCE_GLYPHS)
    assert sizes[[style == "cluttered" for style in styles]].sum() == 125 * len(SOURCE_GLYPHS)


def test_impossible_wishes():
    with pytest.raises(ValueError, match="'train' or 'val', got 'test'"):
        source_drawn("test")
    with pytest.raises(ValueError, match="got 0 and 5"):
        wood_grain(0, 5)
    with pytest.raises(ValueError, match="negative"):
        digits_rendered(-1)


# --- the source task ---


def test_overlap_groups_are_what_the_classes_say():
    source = {name.partition(" ")[2] for name in source_drawn().classes}
    for name in TARGETS:
        shared = source & set(load_dataset(name).classes)
        expected = {"a": len(load_dataset(name).classes), "b": 10, "c": 0}
        assert len(shared) == expected[str(CARDS[name].overlap_group)], name
    assert source == {*SOURCE_GLYPHS, *MATERIALS}


def test_no_draw_is_shared_between_tasks():
    every = [DRAWN[name]() for name in DRAWN] + [source_drawn("val")]
    drawn = [calls(data) for data in every]
    assert len(set().union(*drawn)) == sum(map(len, drawn)) == sum(map(len, every))


def test_no_image_is_shared_between_tasks():
    every = [SMALL[name]() for name in SMALL] + [source_drawn("val", n_per_class=3)]
    assert len(set().union(*map(digests, every))) == sum(map(len, every))


# --- how they are kept ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAYERBOOK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def drawn_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is drawn from now on, and not found."""
    names: list[str] = []
    original = drawn._draw
    monkeypatch.setattr(
        drawn, "_draw", lambda name, *of: (names.append(name), original(name, *of))[1]
    )
    drawn._kept.cache_clear()
    return names


def test_nothing_is_drawn_before_an_image_is_asked_for(home, drawn_here):
    data = load_dataset("source_drawn")
    assert len(data.subset([5, 3])) == 2
    assert len(pickle.dumps(data.source)) < 100_000
    assert not drawn_here
    assert not home.exists()


def test_what_is_kept_is_not_drawn_again(home, drawn_here):
    first = glyphs_clean(1)
    pixels = [image.tobytes() for image in first]
    (file,) = (home / "drawn").iterdir()
    assert file.name.startswith("glyphs_clean-")
    drawn._kept.cache_clear()  # as in another process
    again = glyphs_clean(1)
    copy = pickle.loads(pickle.dumps(again.subset([7, 2])))
    assert [image.tobytes() for image in copy] == [pixels[7], pixels[2]]
    assert again.fingerprint == first.fingerprint
    assert drawn_here == ["glyphs_clean"]
    held = again.source._held().arrays
    assert isinstance(held, np.memmap)
    assert not held.flags.writeable


def test_other_arguments_sources_and_versions_are_kept_apart(home, drawn_here, monkeypatch):
    one = (drawing(render_glyph, 0, 1, style="clean", stream=0, seed=0),)
    other = (drawing(render_glyph, 0, 1, style="clean", stream=0, seed=1),)
    keys = [drawn._key(one), drawn._key(other)]
    with monkeypatch.context() as patch:
        patch.setattr(drawn, "version", lambda _: "0")
        keys.append(drawn._key(one))
    with monkeypatch.context() as patch:
        patch.setattr(drawn.inspect, "getsource", lambda module: f"'''{module.__name__}'''")
        keys.append(drawn._key(one))
    assert len(set(keys)) == 4
    assert drawn._key(one) == keys[0]


@pytest.mark.parametrize("damage", [b"", b"nonsense", "truncated", "other shape"])
def test_a_damaged_file_is_drawn_again(damage, home, drawn_here, caplog):
    expected = wood_grain(1, 1)[2].tobytes()
    (file,) = (home / "drawn").iterdir()
    if damage == "other shape":
        np.save(file, np.zeros((2, 96, 96, 3), np.uint8))
    else:
        file.write_bytes(file.read_bytes()[:9000] if isinstance(damage, str) else damage)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # the first replaces the damaged file
            drawn._kept.cache_clear()
            assert wood_grain(1, 1)[2].tobytes() == expected
    assert drawn_here == ["wood_grain", "wood_grain"]
    assert str(file) in caplog.text


def test_without_a_place_to_keep_them_they_are_drawn_all_the_same(home, drawn_here, caplog):
    home.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        data = wood_grain(1, 1)
        assert data[0].tobytes() == data[0].tobytes()
    assert len(set(drawn_here)) == len(drawn_here) == 1
    assert "wood_grain is drawn anew by every process" in caplog.text
    assert pickle.loads(pickle.dumps(data))[1].tobytes() == data[1].tobytes()
    assert not data.source._held().arrays.flags.writeable


def test_two_processes_at_once(home):
    code = "from analysis.data.drawn import wood_grain; print(wood_grain(1, 3).fingerprint)"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert outputs == {wood_grain(1, 3).fingerprint}
    assert [file.suffix for file in (home / "drawn").iterdir()] == [".npy"]


def test_threads_draw_once(home, drawn_here):
    assert len(glyphs_cluttered(1).fingerprint) == 64  # hashed by many threads
    assert drawn_here == ["glyphs_cluttered"]
