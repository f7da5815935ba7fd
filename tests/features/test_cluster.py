"""Extraction on a cluster of two worker processes."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.cluster import connect, map_in_order
from analysis.data import load_dataset
from analysis.features import extract, extraction
from analysis.features import store as feature_store
from analysis.features.store import BlockWriter
from analysis.networks import load_backbone


@pytest.fixture
def client(cluster):
    with connect(cluster.scheduler_address) as connected:
        yield connected


@pytest.fixture(scope="module")
def data():
    return load_dataset("digits").subset(range(150))


@pytest.fixture(scope="module")
def net():
    return load_backbone("minivgg16", weights="random", seed=0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(feature_store, "BLOCK_IMAGES", 16)


def run(data, net, store, client=None, **more):
    how = {"crops": "center", "batch_size": 8, "progress": False, **more}
    return extract(data, net, store=store, client=client, **how)


def contents(store: Path) -> dict[Path, bytes]:
    """Every file of the finished groups of a store."""
    found = (path for path in store.glob("*.zarr/**/*") if path.is_file())
    return {path.relative_to(store): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def whole(data, net, tmp_path_factory):
    """The store of one process that nobody disturbed."""
    store = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_store, "BLOCK_IMAGES", 16)
        run(data, net, store)
    return store


def names(store: Path) -> list[str]:
    return sorted(path.suffix for path in store.iterdir())


@pytest.mark.parametrize("crops", ["center", "ten"])
def test_a_cluster_writes_the_same_bytes_as_one_process(client, data, net, tmp_path, crops):
    few = data.subset(range(70))
    torch.set_num_threads(2)
    run(few, net, tmp_path / "one", crops=crops)
    run(few, net, tmp_path / "two", client, crops=crops)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert names(tmp_path / "two") == [".lock", ".zarr"]


def kill_a_worker(cluster: LocalCluster) -> str:
    """SIGKILL to a worker while it computes a shard; the name of the task."""
    while True:
        for state in list(cluster.scheduler.workers.values()):
            tasks = [task.key for task in state.processing if "Job" in str(task.key)]
            if tasks:
                os.kill(cluster.workers[state.name].pid, signal.SIGKILL)
                return tasks[0]
        time.sleep(0.01)


def test_workers_killed_in_the_middle_of_their_shards_change_no_bit(
    cluster, client, data, net, whole, tmp_path, withstood
):
    suspected = set()

    def kill_twice():
        for at_least in (1, 4):
            while len(list(tmp_path.glob("*.partial/done/*"))) < at_least:
                time.sleep(0.01)
            kill_a_worker(cluster)
            # The scheduler notes of a task that its worker died with it.
            while not (found := {t.key for t in cluster.scheduler.tasks.values() if t.suspicious}):
                time.sleep(0.01)
            suspected.update(found)

    killer = threading.Thread(target=kill_twice, daemon=True)
    killer.start()
    run(data, net, tmp_path, client)
    killer.join(timeout=60)
    assert not killer.is_alive()
    assert suspected
    assert contents(tmp_path) == contents(whole)
    assert names(tmp_path) == [".lock", ".zarr"]
    withstood("fault", "A worker of a cluster is killed in the middle of a shard", tried=2)


def stop_after(blocks: int):
    """A ``BlockWriter.write`` that stops the run after some blocks."""
    write, done = BlockWriter.write, []

    def stopping(self, block, values):
        if len(done) == blocks:
            raise KeyboardInterrupt
        write(self, block, values)
        done.append(block)

    return stopping


def test_what_one_process_has_begun_a_cluster_goes_on_with(
    client, data, net, whole, tmp_path, caplog, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(BlockWriter, "write", stop_after(3))
        run(data, net, tmp_path)
    with caplog.at_level(logging.INFO):
        run(data, net, tmp_path, client)
    assert "continuing after 48 images" in caplog.text
    assert contents(tmp_path) == contents(whole)


def test_what_a_cluster_has_begun_one_process_goes_on_with(
    client, data, net, whole, tmp_path, caplog, monkeypatch
):
    def three_of_them(client, function, items):
        chosen = [items[number] for number in (7, 0, 4)]
        yield from map_in_order(client, function, chosen)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(extraction, "map_in_order", three_of_them)
        run(data, net, tmp_path, client)
    with caplog.at_level(logging.INFO):
        run(data, net, tmp_path)
    assert "continuing after 48 images" in caplog.text
    assert contents(tmp_path) == contents(whole)


def test_a_shard_that_is_done_is_not_computed_again(tmp_path):
    (tmp_path / "done").mkdir()
    writer = BlockWriter(tmp_path, {"conv1": 3}, {})
    (tmp_path / "done" / "0000000016").touch()
    block = range(16, 32)
    shard = extraction.Job(None, None, None, writer)
    with pytest.raises(FileNotFoundError, match=r"does not find .* must see the store"):
        shard(block)
    writer.group.mkdir()
    assert shard(block) == 16
    with pytest.raises(AttributeError, match="run"):
        shard(range(16))


def test_trouble_is_told_as_in_one_process(client, data, tmp_path, withstood):
    def message(data, net, client, kind):
        with pytest.raises(kind) as caught:
            run(data, net, tmp_path / "store", client)
        assert not list((tmp_path / "store").glob("*.zarr"))
        return str(caught.value)

    broken = load_backbone("minivgg16", weights="random", seed=0)
    with torch.no_grad():
        next(broken.module.parameters())[1] = float("nan")
    few = data.subset(range(40))
    one, two = (message(few, broken, where, ValueError) for where in (None, client))
    assert one == two
    assert "not finite for image" in one
    assert few.paths[0] in one

    for number, image in enumerate(few):
        (tmp_path / "images" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "images" / str(number % 2) / f"{number:02d}.png")
    pictures = load_dataset(f"folder:{tmp_path / 'images'}")
    (tmp_path / "images" / "1" / "31.png").write_bytes(b"no image")
    net = load_backbone("minivgg16", weights="random", seed=0)
    one, two = (message(pictures, net, where, OSError) for where in (None, client))
    assert one == two
    assert "31.png" in one
    withstood("fault", "A network gives values that are no numbers", tried=2)


def test_the_command_line_takes_a_cluster(cluster, monkeypatch, tmp_path):
    for number, image in enumerate(load_dataset("digits").subset(range(6))):
        (tmp_path / "images" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "images" / "ab"[number % 2] / f"{number}.png")
    monkeypatch.setenv("LAYERBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(extraction.Job, "run", None)
    command = ["extract", f"folder:{tmp_path / 'images'}", "minivgg16@random", "--cluster"]
    done = CliRunner().invoke(app, [*command, cluster.scheduler_address])
    assert done.exit_code == 0, done.output
    assert "6 images" in done.output
    refused = CliRunner().invoke(app, [*command, "nowhere"])
    assert refused.exit_code == 1
    assert "expected a scheduler's address" in refused.output
