"""The model of large runs: what it says of layout, passes and time, against what is done."""

from __future__ import annotations

from dataclasses import asdict, replace

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.book.sources import find_sources
from analysis.chapters import scale
from analysis.chapters.scale import (
    Rates,
    Run,
    by_workers,
    facts,
    in_units,
    layout_of,
    plan,
    rates_table,
    read_rates,
    sizes,
)
from analysis.data import ImageDataset
from analysis.features import store as feature_store
from analysis.features.store import Builder, open_features
from analysis.figures import scale as figures
from analysis.statistics import blocks, histograms, signed_ks
from analysis.statistics.histograms import shards_of, signed_ks_of_shards

LAYERS = {"conv1": 30, "conv2": 50, "fc3": 120}
ONES = Rates(*[1.0] * len(Rates.__dataclass_fields__))
NONE = Rates(*[0.0] * len(Rates.__dataclass_fields__))


def run(n_images=100, **more):
    return Run(n_images, 5, LAYERS, images_per_batch=4, **more)


@pytest.fixture
def small_pieces(monkeypatch):
    """Chunks, blocks and groups of a size at which there are several."""
    monkeypatch.setattr(feature_store, "BLOCK_IMAGES", 16)
    monkeypatch.setattr(scale, "CHUNK_BYTES", 4 * 16 * 40)
    monkeypatch.setattr(feature_store, "CHUNK_BYTES", 4 * 16 * 40)
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 100 * 16)
    monkeypatch.setattr(blocks, "MOST_VALUES", 100 * 16)
    monkeypatch.setattr(histograms, "GROUP_BYTES", 4 * 100 * 5 * 24)


def test_layout_is_that_of_a_store(small_pieces, tmp_path):
    images = ImageDataset.from_arrays(np.zeros((100, 1, 1, 3), np.uint8), np.arange(100) // 20)
    group = tmp_path / "drawn.zarr"
    builder = Builder(group, images, LAYERS, {}, layout_of(run()).rows)
    for block in builder.missing:
        builder.writer.write(block, np.ones((len(block), run().n_features), np.float32))
    builder.finish()
    layout = layout_of(run())
    X = open_features(group)
    assert X.chunks[1] == layout.columns == (30, 40, 10, 40, 40, 40)
    assert len(X.chunks[0]) == layout.blocks == 7
    files = [path for name in LAYERS for path in (group / name / "c").rglob("*") if path.is_file()]
    assert len(files) == layout.chunks == 42
    assert sizes(run(), ONES)["raw"] == X.nbytes


def counted(read, n_images=100):
    """Bytes of the chunks that are read, over those of the features, chunk by chunk."""
    layout = layout_of(run(n_images))
    values = []

    def load(block_info):
        shape = block_info[None]["chunk-shape"]
        values.append(np.prod(shape))
        return np.random.default_rng(block_info[None]["num-chunks"][0]).random(shape, np.float32)

    rows = tuple(min(layout.rows, n_images - at) for at in range(0, n_images, layout.rows))
    data = dask.array.map_blocks(
        load, chunks=(rows, layout.columns), meta=np.empty((0, 0), np.float32)
    )
    read(xr.DataArray(data, dims=("image", "feature")))
    return sum(values) / run(n_images).n_values


def test_passes_are_those_that_are_made(small_pieces):
    labels = np.arange(100) * 5 // 100
    passes = plan(run(), ONES).set_index("stage")["passes"]
    exact = counted(lambda X: signed_ks(X, labels, threads=1))
    assert passes["exact distances"] == passes["thresholds"] == pytest.approx(exact)
    assert exact > 2

    in_three = counted(lambda X: signed_ks_of_shards(shards_of(X, 3), labels))
    assert passes["distances on bins, from shards"] == pytest.approx(in_three)
    assert in_three > 2.5


def test_a_wide_memory_makes_one_pass():
    passes = plan(run(), ONES).set_index("stage")["passes"]
    assert passes["exact distances"] == 1
    assert passes["distances on bins, from shards"] == 2
    labels = np.arange(100) * 5 // 100
    assert counted(lambda X: signed_ks(X, labels)) == 1
    assert counted(lambda X: signed_ks_of_shards(shards_of(X, 3), labels)) == 2


@pytest.mark.parametrize("rate", ["image", "exact", "extent", "count", "rank"])
def test_time_grows_with_the_number_of_images(rate):
    rates = replace(NONE, **{rate: 2.0})
    once, twice = (plan(run(n), rates)["core_seconds"] for n in (100, 200))
    np.testing.assert_allclose(twice, 2 * once)
    assert (once > 0).sum() == 1
    assert once.max() == 2.0 * (100 if rate == "image" else run().n_values)


@pytest.mark.parametrize("name", asdict(ONES))
def test_every_rate_counts(name):
    disk = name.startswith("disk") or name == "stored"
    base = ONES if disk else replace(ONES, disk_read=1e30, disk_write=1e30)
    hours = []
    for value in (1.0, 2.0):
        rates = replace(base, **{name: value})
        hours.append(by_workers(plan(run(), rates), rates, [1, 10**9], 1.0)["hours"].sum())
    assert hours[0] != hours[1]


def test_workers_share_the_time_until_the_disk_is_the_limit():
    rates = replace(ONES, disk_read=4.0 * run().n_values, disk_write=1e30)
    times = by_workers(plan(run(), rates), rates, [1, 2, 10**6], price=3.0)
    exact = times[times["stage"] == "exact distances"].set_index("workers")
    assert exact["hours"][2] == exact["hours"][1] / 2
    assert exact["hours"][10**6] == exact["disk_hours"][1] == pytest.approx(1 / 3600)
    np.testing.assert_allclose(times["cost"], 3.0 * times["hours"] * times["workers"])
    assert exact["cost"][2] == exact["cost"][1] < exact["cost"][10**6]


def test_thresholds_cost_more_with_more_shuffles():
    seconds = [
        plan(run(n_shuffles=n), ONES).set_index("stage")["core_seconds"]["thresholds"]
        for n in (1, 2)
    ]
    assert seconds[1] - seconds[0] == run().n_values + 5 * run().n_features


@pytest.mark.parametrize("crops", ["ten", "whole"])
def test_plans_are_made_of_the_rates_that_were_measured(crops):
    measured, runs = read_rates(find_sources().rates, crops, n_images=1_281_167, n_classes=1000)
    assert set(measured) == {"date", "processor", "dataset", "network"}
    assert runs["vgg16"][0].n_features == 12416
    for run_of_network, rates in runs.values():
        assert all(0 < value < np.inf for value in asdict(rates).values())
        stages = plan(run_of_network, rates)
        assert (stages["core_seconds"] > 0).all()
        assert (stages["memory"] > 0).all()
        found = facts(run_of_network, rates, stages, price=2.0)
        assert {type(value) for value in found.values()} <= {int, float, str}  # to be glued
        assert found["total_cost"] == pytest.approx(2 * found["total_hours"])
        assert len(rates_table(rates)) == len(asdict(rates))


def test_figures_show_every_stage_and_network():
    plans = [in_units(plan(run(n), ONES)).assign(network=f"net {n}") for n in (100, 1000)]
    ax = figures.plot_core_hours(pd.concat(plans), price=0.5)
    assert len(ax.lines) == 2
    assert ax.get_yticklabels()[0].get_text() == "Extraction"
    shares = [100 * own["core_hours"].max() / own["core_hours"].sum() for own in plans]
    assert {own.loc[own["core_hours"].idxmax(), "stage"] for own in plans} == {"TCA by landmarks"}
    low, high = sorted(shares)
    assert ax.get_title() == f"TCA by landmarks takes {low:.1f}% to {high:.1f}% of the core-hours"
    plans[1]["core_hours"] = plans[1]["core_hours"].to_numpy()[::-1]
    ax = figures.plot_core_hours(pd.concat(plans), price=0.5)
    assert ax.get_title() == "Which stage costs most depends on the network"
    times = by_workers(plan(run(), ONES), ONES, [1, 8], price=1.0)
    ax = figures.plot_time_by_workers(times)
    assert len(ax.lines) == len(scale.STAGES)
    assert all((line.get_xdata() == [1, 8]).all() for line in ax.lines)
    one, eight = (times.loc[times["workers"] == n, "hours"].sum() for n in (1, 8))
    assert (
        ax.get_title()
        == f"All stages: {one:,.1f} hours on 1 worker, {eight:,.1f} hours on 8 workers"
    )
