"""Transfer components by landmarks on two worker processes: those of one, and always the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import subspace_angles

from analysis.transfer import TransferComponentAnalysis, tca
from analysis.transfer.tca import Landmarks, StoredDomains, components_of

N, WIDTH = (130, 170), 30


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(tca, "_ROWS_PER_TASK", 50)


def samples(seed, n):
    rng = np.random.default_rng(seed)
    spread = np.arange(1, WIDTH + 1) ** -0.5
    X = rng.normal(size=(n, WIDTH)) * spread + 0.4 * seed
    return X.astype(np.float32)


def lazy(seed, n, folder: Path | None = None, kills: int = 0):
    """Samples that kill the process that computes them, the first few times."""

    def load(block_info):
        for number in range(kills):
            try:
                (folder / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        (rows, columns) = block_info[None]["array-location"]
        return samples(seed, n)[slice(*rows), slice(*columns)]

    chunks = ((25,) * (n // 25) + ((n % 25,) if n % 25 else ()), (10, 20))
    meta = np.empty((0, 0), np.float32)
    data = dask.array.map_blocks(load, chunks=chunks, meta=meta)
    return xr.DataArray(data, dims=("image", "feature"))


def components(**options):
    return TransferComponentAnalysis(6, solver="nystrom", n_landmarks=80, seed=3, **options)


def fitted(found):
    names = ("eigenvalues_", "eigenvectors_", "source_embedding_", "target_embedding_")
    return [getattr(found, name) for name in names]


@pytest.mark.parametrize("scaling", ["unit", "variance"])
@pytest.mark.parametrize("options", [{"kernel": "rbf"}, {"kernel": "linear"}])
def test_the_components_are_those_of_one_process(options, scaling, client):
    source, target = samples(0, N[0]), samples(1, N[1])
    here = components(scaling=scaling, **options).fit(source, target)
    there = components(scaling=scaling, **options)
    there.fit(lazy(0, N[0]), lazy(1, N[1]), client=client)
    assert subspace_angles(there.eigenvectors_, here.eigenvectors_).max() < 1e-6
    assert_allclose(there.eigenvalues_, here.eigenvalues_, rtol=1e-7)
    for mine, theirs in zip(fitted(there)[1:], fitted(here)[1:], strict=True):
        assert_allclose(mine, theirs, atol=1e-6 * np.abs(theirs).max())
    assert_allclose(there.transform(source), there.source_embedding_, atol=1e-7)
    assert_allclose(there.transform(target[:9]), here.transform(target[:9]), atol=1e-6)
    if options["kernel"] == "rbf":
        assert there.gamma_ == here.gamma_


def test_a_killed_worker_changes_no_bit(client, tmp_path, withstood):
    undisturbed = components().fit(lazy(0, N[0]), lazy(1, N[1]), client=client)
    # Landmarks are read here, by this process: let only what workers read be fatal.
    disturbed = components()
    killed = tmp_path / "0"
    killed.touch()
    source, target = lazy(0, N[0]), lazy(1, N[1], tmp_path, kills=1)
    drawn = StoredDomains.drawn

    def then_fatal(*args, **kwargs):
        found = drawn(*args, **kwargs)
        if kwargs["ordered"]:  # the landmarks, which are read last
            killed.unlink()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredDomains, "drawn", then_fatal)
        disturbed.fit(source, target, client=client)
    assert killed.exists()
    for mine, theirs in zip(fitted(disturbed), fitted(undisturbed), strict=True):
        assert_array_equal(mine, theirs)
    withstood("fault", "A worker of a cluster is killed while it maps samples", tried=1)


def test_small_problem_is_the_eigenproblem(monkeypatch):
    """Sums over all samples at once, against the dense matrices."""
    X = np.vstack([samples(0, N[0]), samples(1, N[1])]).astype(np.float64)
    model = components(gamma=0.05)
    made = Landmarks.drawn(model._kernel_of(X), X, 80, 3).features(X)
    n_source, n = N[0], len(X)
    sums = tca.Sums(made.T @ made, made[:n_source].sum(0), made[n_source:].sum(0))
    found = components_of(sums, *N, 1.0, 6)
    K, H = made @ made.T, np.eye(n) - 1 / n
    e = np.concatenate([np.full(N[0], 1 / N[0]), np.full(N[1], -1 / N[1])])
    W = made @ found.vectors
    left, right = K @ H @ K @ W, K @ np.outer(e, e) @ K @ W + W
    assert_allclose(left, right * found.values, atol=1e-9 * np.abs(left).max())
    assert_allclose(W.T @ right, np.eye(6), atol=1e-9)
    assert_allclose(made @ found.embedding, K @ W, atol=1e-9)


def test_what_cannot_be_done_on_a_cluster_is_refused(client):
    lazily = lazy(0, N[0]), lazy(1, N[1])
    with pytest.raises(ValueError, match="solver='nystrom'"):
        TransferComponentAnalysis(6).fit(*lazily, client=client)
    with pytest.raises(ValueError, match="leave client out"):
        components().fit(samples(0, N[0]), samples(1, N[1]), client=client)
    with pytest.raises(ValueError, match="same layers of the same network"):
        components().fit(lazily[0], lazily[1][:, :10], client=client)
    with pytest.raises(ValueError, match="at least two samples"):
        components().fit(lazily[0], lazily[1][:1], client=client)
    broken = xr.where(lazily[1] > 1, np.nan, lazily[1]).transpose("image", "feature")
    with pytest.raises(ValueError, match="finite samples of both domains"):
        components(gamma=0.1).fit(lazily[0], broken, client=client)
    few = TransferComponentAnalysis(60, "linear", solver="nystrom", n_landmarks=90)
    with pytest.raises(ValueError, match=r"n_components from 1 to \d+"):
        few.fit(*lazily, client=client)
