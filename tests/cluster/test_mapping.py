"""Working through a list on two worker processes, and finding them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from distributed.protocol.pickle import dumps

from analysis import cluster as room
from analysis.cluster import connect, map_in_order


@pytest.fixture
def client(cluster):
    with connect(cluster.scheduler_address) as connected:
        yield connected


def test_results_come_in_order_and_few_are_under_way(client, monkeypatch):
    monkeypatch.setattr(room, "_TASKS_PER_THREAD", 2)

    def slow(number):
        import time

        time.sleep(0.05 if number % 3 == 0 else 0)
        return number * number

    taken = []

    def items():
        for number in range(30):
            taken.append(number)
            yield number

    for number, result in enumerate(map_in_order(client, slow, items())):
        assert result == number * number
        assert len(taken) <= number + 4
    assert len(taken) == 30
    assert list(map_in_order(client, slow, [])) == []
    assert list(map_in_order(client, slow, [3, 3])) == [9, 9]


class Large:
    """A function that notes, in a file, every process that it comes to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.content = folder, os.urandom(10**6)

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        with (self.folder / str(os.getpid())).open("a") as arrivals:
            arrivals.write("x")

    def __call__(self, number: int) -> int:
        if number == 7 and not (self.folder / "killed").exists():
            (self.folder / "killed").touch()
            os._exit(1)
        return number + len(self.content)


def test_a_function_travels_once_to_each_worker_and_not_with_tasks(
    cluster, client, tmp_path, monkeypatch
):
    sizes = []
    submit = client.submit

    def weighed(*args, **kwargs):
        sizes.append(len(dumps(args)))
        return submit(*args, **kwargs)

    monkeypatch.setattr(client, "submit", weighed)
    results = list(map_in_order(client, Large(tmp_path), range(40)))
    assert results == [number + 10**6 for number in range(40)]
    arrivals = [file.read_text() for file in tmp_path.glob("[0-9]*")]
    assert set(arrivals) <= {"x", "xx"}  # twice where Dask makes again what has just arrived
    assert len(arrivals) in {2, 3}  # one came back after its death, in time for a task or not
    assert sizes[0] > 10**6 > 1000 > max(sizes[1:])


def test_a_function_outlives_all_workers_that_held_it(cluster, client, tmp_path):
    (tmp_path / "killed").touch()
    for n_killed in (2, 1):
        cluster.wait_for_workers(2)
        results = map_in_order(client, Large(tmp_path), range(12))
        assert next(results) == 10**6
        for worker in list(cluster.workers.values())[:n_killed]:
            os.kill(worker.pid, signal.SIGKILL)
        assert list(results) == [number + 10**6 for number in range(1, 12)]


def test_large_functions_travel_without_warnings(client, recwarn):
    content = os.urandom(11 * 10**6)
    assert list(map_in_order(client, lambda number: len(content) + number, [1, 2]))[1] == 11000002
    assert not [warning for warning in recwarn if "large graph" in str(warning.message)]


@pytest.mark.parametrize("n_items", [3, 40])
def test_a_scheduler_that_is_gone_is_told(n_items):
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        connect(cluster.scheduler_address) as client,
    ):
        results = map_in_order(client, abs, range(n_items))
        assert next(results) == 0
        cluster.close()
        with pytest.raises(ConnectionError, match=r"the cluster is gone.* is kept"):
            list(results)


def test_errors_of_the_function_are_raised_as_they_are(client):
    def picky(number):
        if number == 2:
            raise LookupError("no 2")
        return number

    results = map_in_order(client, picky, range(6))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(LookupError, match="no 2"):
        next(results)


def test_who_stops_asking_leaves_nothing_under_way(cluster, client, monkeypatch):
    monkeypatch.setattr(room, "_TASKS_PER_THREAD", 10)

    def sleep(number):
        import time

        time.sleep(0.2)

    results = map_in_order(client, sleep, range(1000))
    next(results)
    assert len(cluster.scheduler.tasks) > 10
    results.close()
    patience = time.monotonic() + 30
    while cluster.scheduler.tasks and time.monotonic() < patience:
        time.sleep(0.05)
    assert not cluster.scheduler.tasks


def test_what_kills_every_worker_is_given_up(cluster, client, monkeypatch):
    def deadly(number):
        import os

        os._exit(1)

    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 1)
    with pytest.raises(RuntimeError, match="gave up after 2 workers died on the same task"):
        list(map_in_order(client, deadly, [0]))


def test_a_cluster_that_loses_its_workers_for_good_is_given_up(monkeypatch, caplog, withstood):
    monkeypatch.setattr(room, "_TASKS_PER_THREAD", 1)
    monkeypatch.setattr(room, "_SECONDS_WITHOUT_NEWS", 0.1)
    monkeypatch.setattr(room, "_SECONDS_WITHOUT_WORKERS", 1)
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        connect(cluster.scheduler_address) as client,
    ):
        results = map_in_order(client, abs, range(-3, 0))
        assert next(results) == 3
        cluster.scale(0)
        with pytest.raises(ConnectionError, match=r"no workers for 1 s; start some .* is kept"):
            list(results)
    assert "the cluster has no workers; waiting for some" in caplog.text
    withstood("fault", "A cluster loses all of its workers, and none come back", tried=1)


def test_a_function_that_runs_out_of_time_is_no_cluster_without_news(client):
    def late(number):
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError, match="too late"):
        list(map_in_order(client, late, [1]))


def test_a_cluster_that_does_not_answer_or_fit_is_refused(cluster, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(room, "_SECONDS_TO_ANSWER", 1)
        with pytest.raises(ConnectionError, match="no scheduler answers at 'tcp://127"):
            connect("tcp://127.0.0.1:9")
        with (
            LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
            pytest.raises(ConnectionError, match="has no workers"),
        ):
            connect(empty.scheduler_address)
    with pytest.raises(ValueError, match="expected a scheduler's address"):
        connect("nowhere")
    usual = Client.get_versions

    def of_an_older_zarr(self, packages):
        found = usual(self, packages=packages)
        return found | {"client": {"packages": {**found["client"]["packages"], "zarr": "0.0"}}}

    monkeypatch.setattr(Client, "get_versions", of_an_older_zarr)
    with pytest.raises(ValueError, match=r"has zarr [\d.]+, here it is 0\.0; install the same"):
        connect(cluster.scheduler_address)
