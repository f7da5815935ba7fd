"""The command line: help for newcomers, errors in one line, and commands end to end."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from PIL import Image
from scipy.stats import ks_2samp
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.chapters import Study

COMMANDS = [
    *("datasets", "networks", "fetch", "extract", "pretrain", "fine-tune"),
    *("dks", "report", "study", "book"),
]


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, base in (("dark", 0), ("light", 130)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            pixels = base + rng.integers(0, 120, (70, 80, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(
                tmp_path / "images" / name / f"{number}.png"
            )
    return f"folder:{tmp_path / 'images'}"


def test_help_comes_without_the_large_packages():
    code = (
        "import sys; from typer.testing import CliRunner; from analysis.__main__ import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "print(*{'torch', 'xarray', 'pandas', 'numba', 'papermill'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_command_is_listed_and_explains_itself_with_an_example():
    listed = run("--help").output
    for command in COMMANDS:
        assert command in listed
        result = run(command, "--help")
        assert result.exit_code == 0
        assert f"Example: layerbook {command}" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["dks", "digit", "minivgg16"], "unknown dataset 'digit'"),
        (["dks", "digits", "minivgg61"], "unknown network 'minivgg61'"),
        (["extract", "digits", "minivgg16@random", "--layers", "conv9_9"], "conv9_9"),
        (["fetch", "digit"], "unknown dataset 'digit'"),
        (["book", "no-such-study"], "no study file 'no-such-study'"),
    ],
)
def test_errors_are_one_line(arguments, told):
    result = run(*arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    message = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(message) == 1
    assert told in message[0]


def test_debug_shows_where():
    result = run("--debug", "fetch", "digit")
    assert isinstance(result.exception, ValueError)


def test_datasets_and_networks_are_listed():
    lines = run("datasets").output.splitlines()
    (digits,) = (line.split() for line in lines if line.startswith("digits "))
    assert digits[1:3] == ["1,797", "10"]
    assert "comes along" in " ".join(digits)
    assert any("layerbook fetch textures" in line for line in lines)
    (line,) = (line for line in run("networks").output.splitlines() if line.startswith("minivgg16"))
    assert "2,080" in line


def test_dks_writes_every_pair_and_prints_the_strongest(images, tmp_path):
    result = run("dks", images, "minivgg16@random", "--crops", "center", "--out", "d.csv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "d.csv")
    assert list(table.columns) == ["class", "layer", "unit", "d_ks"]
    assert len(table) == 2 * 2080

    features = run("extract", images, "minivgg16@random", "--crops", "center", "--out", "x.zarr")
    assert features.exit_code == 0, features.output
    with xr.open_dataarray(tmp_path / "x.zarr", engine="zarr") as stored:
        values = stored.sel(feature=(stored.layer == "conv3_2") & (stored.unit == 5)).values[:, 0]
        light = stored.label.values == 1
    row = table[(table["class"] == "light") & (table.layer == "conv3_2") & (table.unit == 5)]
    assert abs(row.d_ks.item()) == pytest.approx(ks_2samp(values[light], values[~light]).statistic)

    strongest = table[table.layer == "conv3_2"].d_ks.max()
    printed = [line.split() for line in result.output.splitlines() if line.startswith("conv3_2")]
    assert [f"{strongest:+.3f}", "presence"] in [[row[1], row[3]] for row in printed]


def test_features_are_not_written_over_something_else(images, tmp_path):
    (tmp_path / "x.zarr").write_text("mine")
    result = run("extract", images, "minivgg16@random", "--crops", "center", "--out", "x.zarr")
    assert result.exit_code == 1
    assert "x.zarr exists already" in result.output
    assert (tmp_path / "x.zarr").read_text() == "mine"


def test_a_study_of_a_folder_is_written_to_be_edited(images, tmp_path):
    said = run("study", images, "--out", "mine.yml")
    assert said.exit_code == 0, said.output
    assert "layerbook book mine.yml" in said.output
    written = yaml.safe_load((tmp_path / "mine.yml").read_text("utf-8"))
    assert written["title"] == "images"
    assert written["datasets"] == written["reference_images"] == [images]
    assert "max_images" not in written
    Study(**written, progress=False)
    again = run("study", images, "--out", "mine.yml")
    assert again.exit_code == 1
    assert "exists; choose another" in again.output
