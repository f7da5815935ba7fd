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
    options = {"crops": "center", "batch_size": 8, "layers": ["conv1_1", "conv3_1"], **more}
    return extract(data, net, store=store, client=client, progress=False, **options)


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


def test_a_cluster_writes_the_same_bytes_as_one_process(client, data, net, tmp_path):
    few = data.subset(range(20))
    torch.set_num_threads(2)
    run(few, net, tmp_path / "one", crops="ten")
    run(few, net, tmp_path / "two", client, crops="ten")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sorted(path.suffix for path in (tmp_path / "two").iterdir()) == [".lock", ".zarr"]


def kill_a_worker(cluster: LocalCluster) -> None:
    """SIGKILL to a worker while it computes a shard."""
    while True:
        for state in list(cluster.scheduler.workers.values()):
            if any("Job" in str(task.key) for task in state.processing):
                os.kill(cluster.workers[state.name].pid, signal.SIGKILL)
                return
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
    withstood("fault", "A worker of a cluster is killed in the middle of a shard", tried=2)


def test_what_one_has_begun_the_other_goes_on_with(
    client, data, net, whole, tmp_path, caplog, monkeypatch
):
    write, done = BlockWriter.write, []

    def stopping(self, block, values):
        if len(done) == 3:
            raise KeyboardInterrupt
        write(self, block, values)
        done.append(block)

    def three_of_them(client, function, items):
        yield from map_in_order(client, function, [items[number] for number in (7, 0, 4)])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(BlockWriter, "write", stopping)
        run(data, net, tmp_path / "a")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(extraction, "map_in_order", three_of_them)
        run(data, net, tmp_path / "b", client)
    with caplog.at_level(logging.INFO):
        run(data, net, tmp_path / "a", client)
        run(data, net, tmp_path / "b")
    assert caplog.text.count("continuing after 48 images") == 2
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(whole)


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


def draw(folder: Path, images) -> str:
    for number, image in enumerate(images):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        image.save(folder / "ab"[number % 2] / f"{number:02d}.png")
    return f"folder:{folder}"


def test_trouble_is_told_as_in_one_process(client, data, net, tmp_path, withstood):
    few = data.subset(range(40))
    pictures = load_dataset(draw(tmp_path / "images", few))
    (tmp_path / "images" / "b" / "31.png").write_bytes(b"no image")
    broken = load_backbone("minivgg16", weights="random", seed=0)
    with torch.no_grad():
        next(broken.module.parameters())[1] = float("nan")
    for images, network, kind, told in (
        (few, broken, ValueError, f"not finite for image {few.paths[0]!r}"),
        (pictures, net, OSError, "31.png"),
    ):
        messages = []
        for where in (None, client):
            with pytest.raises(kind) as caught:
                run(images, network, tmp_path / "store", where)
            messages.append(str(caught.value))
            assert not list((tmp_path / "store").glob("*.zarr"))
        assert messages[0] == messages[1]
        assert told in messages[0]
    withstood("fault", "A network gives values that are no numbers", tried=2)


def test_the_command_line_takes_a_cluster(cluster, data, monkeypatch, tmp_path):
    spelled = draw(tmp_path / "images", data.subset(range(6)))
    monkeypatch.setenv("LAYERBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(extraction.Job, "run", None)
    command = ["extract", spelled, "minivgg16@random", "--cluster"]
    done = CliRunner().invoke(app, [*command, cluster.scheduler_address])
    assert done.exit_code == 0, done.output
    assert "6 images" in done.output
    refused = CliRunner().invoke(app, [*command, "nowhere"])
    assert refused.exit_code == 1
    assert "expected a scheduler's address" in refused.output
