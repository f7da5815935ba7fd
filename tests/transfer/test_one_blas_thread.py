"""Small linear algebra has one BLAS thread, wherever it is called and however often."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

import analysis
from analysis.statistics.threads import in_threads, one_blas_thread
from analysis.transfer import FeatureAugmentation, split_accuracies, tca
from analysis.transfer.fusion import source_accuracy

PACKAGE = Path(analysis.__file__).parent
SOLVERS = ("numpy.linalg", "scipy.linalg")

# Whole matrices, factorised once or product after product of whole blocks: as many threads as there
# are, since on an idle machine two are faster and on a busy one hardly slower.
WITH_ALL_THREADS = {"analysis.transfer.pca"}

WATCH = """
import sys
from collections import Counter
import numpy as np
import scipy.linalg as sl
from threadpoolctl import threadpool_info, threadpool_limits

def threads():
    return max(i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas")

calls = Counter()
seen = {}  # module of the package that called a solver -> numbers of BLAS threads that it found

def watched(function):
    def wrapper(*args, **kwargs):
        module = sys._getframe(1).f_globals.get("__name__", "")
        if module.startswith("analysis."):
            calls[module] += 1
            if calls[module] < 10 or calls[module] % 100 == 0:  # to ask takes some milliseconds
                seen.setdefault(module, set()).add(threads())
        return function(*args, **kwargs)
    wrapper.__wrapped__ = function
    return wrapper

# Before the package is imported, so that names it imports are watched too.
for home in (np.linalg, sl, sl.lapack, sl.blas):
    for name in dir(home):
        found = getattr(home, name)
        if callable(found) and not isinstance(found, type) and not name.startswith("_"):
            setattr(home, name, watched(found))

from analysis import statistics, transfer
from analysis.data import load_dataset
from analysis.statistics.neighbours import neighbour_map
from analysis.transfer import *
from analysis.transfer import fusion, pca
from analysis.transfer.protocols import fit_split
from analysis.transfer.protocols import reduced_images

rng = np.random.default_rng(0)
ys, yt = np.arange(48) % 3, np.arange(36) % 3
centres = rng.normal(size=(3, 20))
Xs, Xt = (centres[y] + rng.normal(size=(y.size, 20)) for y in (ys, yt))
wide = np.hstack([Xs] * 4)
layers = np.repeat(["a", "b"], 10)
images = load_dataset("digits_rendered").subset(range(0, 60, 6))
descriptors = [fusion.Descriptor("global", "fc", "", fusion.Domains(Xs, Xt))]
both = fusion.Domains(*(np.hstack([X] * 9) for X in (Xs, Xt)))
wider = [fusion.Descriptor("global", "fc", "", both)]
how = fusion.Alignment(sizes=[4])
books = []

ENTRIES = {
    "TCA": lambda: TransferComponentAnalysis(3).fit(Xs, Xt),
    "TCA, many": lambda: TransferComponentAnalysis(2).fit(*np.split(rng.normal(size=(700, 5)), 2)),
    "TCA, landmarks": lambda: TransferComponentAnalysis(3, solver="nystrom").fit(Xs, Xt),
    "GFK": lambda: GeodesicFlowKernel(3).fit(Xs, Xt),
    "SA": lambda: SubspaceAlignment(3).fit(Xs, Xt),
    "CORAL": lambda: CorrelationAlignment().fit(Xs, Xt),
    "MMDT": lambda: MaxMarginDomainTransform().fit(Xs, ys, Xt, yt),
    "augmentation": lambda: FeatureAugmentation().fit(wide, ys, np.hstack([Xt] * 4), yt),
    "WideLinearSVC": lambda: WideLinearSVC().fit(wide, ys),
    "linear_svm": lambda: linear_svm().fit(wide, ys),
    "BatchedLinearSVC": lambda: BatchedLinearSVC().fit(Xs, ys),
    "BatchedLogisticRegression": lambda: BatchedLogisticRegression().fit(wide, ys),
    "recommend": lambda: recommend(Xs, ys, feature_layers=layers, seed=0, n_splits=2),
    "judge_candidates": lambda: judge_candidates(Xs, ys, layers, candidate_embeddings(layers)),
    "one_shot_accuracy": lambda: one_shot_accuracy(Xs, ys),
    "split_accuracies": lambda: split_accuracies(wide, ys, n_train=5, seed=0),
    "office_protocol": lambda: office_protocol(
        Xs, ys, Xt, yt, seed=0, n_source=5, n_splits=2, n_components=3
    ),
    "caltech_protocol": lambda: caltech_protocol({"a": wide}, ys, seed=0, n_train=5, n_validate=2),
    "fit_split": lambda: fit_split(whole, ys[:30], seed=0),
    "fusion_table": lambda: fusion.fusion_table(
        descriptors, ys, yt, alignments=[*fusion.ALIGNMENTS], how=how, label_free=True
    ),
    "fusion_table, wide": lambda: fusion.fusion_table(
        wider, ys, yt, alignments=["CORAL", "geodesic flow"], how=how
    ),
    "source_accuracy": lambda: fusion.source_accuracy(Xs, ys, fusion.predict_linear),
    "neighbour_map": lambda: neighbour_map(Xs, seed=0),
    "learn_codebook": lambda: books.append(
        learn_codebook(images, 8, seed=0, n_patches=200, patches=(16,))
    ),
    "bag_of_words": lambda: bag_of_words(images, books[0]),
    "llc": lambda: llc(images, books[0]),
    "gist": lambda: gist(images),
    "ChunkedPCA": lambda: pca.ChunkedPCA(3).fit(Xs),
}
threadpool_limits(2, user_api="blas")
with threadpool_limits(1):
    whole = reduced_images(wide, np.arange(30), np.arange(30, 48))
seen.clear()
told = {}
for name, entry in ENTRIES.items():
    entry()
    told[name] = {module: sorted(numbers) for module, numbers in seen.items()}
    seen.clear()
    calls.clear()
    assert threads() == 2, f"{name} leaves {threads()} threads behind"
print(repr(told))
"""


@pytest.fixture(scope="module")
def watched():
    """Of every public function, the modules that called solvers, and threads that they found."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", WATCH], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_every_solver_runs_on_one_thread(watched):
    several = {
        (name, module): numbers
        for name, modules in watched.items()
        for module, numbers in modules.items()
        if numbers != [1] and module not in WITH_ALL_THREADS
    }
    assert not several
    assert watched["ChunkedPCA"] == {"analysis.transfer.pca": [2]}  # so they were seen


def test_every_module_that_solves_was_watched(watched):
    """A module with new linear algebra has to be called above."""
    reached = {module for modules in watched.values() for module in modules}
    solving = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if _solves(ast.parse(path.read_text("utf-8")))
    }
    assert solving == reached & solving


def _solves(tree: ast.Module) -> bool:
    """Whether a module calls a solver of NumPy or SciPy; lengths of vectors do not count."""
    for node in ast.walk(tree):
        found = isinstance(node, ast.ImportFrom) and node.module in SOLVERS
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.linalg":
            found = node.attr not in {"norm", "LinAlgError"}
        if found:
            return True
    return False


def test_tasks_on_a_cluster_run_on_one_thread(monkeypatch):
    seen = []

    def features(lazy, landmarks):
        seen.append(threads())
        yield np.eye(3)

    monkeypatch.setattr(tca, "_features", features)
    block, landmarks = (0, None), SimpleNamespace(root=np.eye(3))
    with threadpool_limits(2, user_api="blas"):
        tca._sums(block, landmarks=landmarks)
        tca._map(block, landmarks=landmarks, both=np.eye(3))
    assert seen == [1, 1]


class Recording(LogisticRegression):
    """A classifier that is not ours."""

    seen: ClassVar[list[int]] = []

    def fit(self, X, y):
        self.seen.append(threads())
        return super().fit(X, y)


def test_classifiers_that_are_given_run_on_one_thread_too():
    X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3

    def predict(X, y, X_new):
        return Recording().fit(X, y).predict(X_new)

    with threadpool_limits(2, user_api="blas"):
        FeatureAugmentation(Recording()).fit(X, y, X + 1, y)
        split_accuracies(X, y, n_train=4, n_splits=2, seed=0, classifier=Recording())
        source_accuracy(X, y, predict, n_folds=3)
        in_threads(lambda _: predict(X, y, X), range(3))
    assert Recording.seen == [1] * (1 + 2 + 3 + 3)


def threads() -> int:
    return max(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")


def test_the_limit_holds_until_the_last_one_has_left():
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread:
            with one_blas_thread:
                assert threads() == 1
            assert threads() == 1
        assert threads() == 2


def test_also_side_by_side_and_after_errors():
    @one_blas_thread
    def within(number: int) -> int:
        found = threads()
        if number % 3 == 0:
            raise KeyError(number)
        return found

    with threadpool_limits(2, user_api="blas"):
        with ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(within, number) for number in range(40)]
        assert {task.result() for task in tasks if task.exception() is None} == {1}
        assert sum(task.exception() is not None for task in tasks) == 14
        assert threads() == 2
