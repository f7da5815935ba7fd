"""What estimators and protocols are given besides features: labels, numbers, sparse matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline

from analysis.statistics import (
    ClassHistograms,
    FeatureRanges,
    binning_bound,
    ks_p_values,
    mutual_information,
    noise_thresholds,
    shuffled_distances,
    signed_ks,
    signed_ks_of_shards,
    subsample_classes,
)
from analysis.statistics.neighbours import neighbour_shares
from analysis.statistics.similarity import compare_nearest_classes, nearest_images
from analysis.transfer import (
    BatchedLinearSVC,
    BatchedLogisticRegression,
    CorrelationAlignment,
    FeatureAugmentation,
    GeodesicFlowKernel,
    MaxMarginDomainTransform,
    SubspaceAlignment,
    TransferComponentAnalysis,
    WideLinearSVC,
    affordable_n_train,
    caltech_protocol,
    candidate_embeddings,
    compare_features,
    judge_candidates,
    linear_svm,
    office_protocol,
    one_shot_accuracy,
    one_shot_by_layer,
    recommend,
    split_accuracies,
    training_size_curve,
)
from analysis.transfer.fusion import (
    Alignment,
    Descriptor,
    Domains,
    domain_gap,
    fusion_table,
    source_accuracy,
)
from analysis.transfer.pca import ChunkedPCA

RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(40, 12)), RNG.normal(size=(30, 12))
Y, W = np.arange(40) % 4, np.arange(30) % 4
LAYERS = np.repeat(["conv1", "fc"], 6)
NAMED = xr.DataArray(
    X,
    dims=("image", "feature"),
    coords={"layer": ("feature", LAYERS), "unit": ("feature", np.arange(12))},
)
GLOBAL = [Descriptor("global", "fc", "", Domains(X, Z))]

# Public functions of labels: of the images of X, or of both domains.
OF_LABELS = {
    "signed_ks": lambda y: signed_ks(X, y),
    "ks_p_values": lambda y: ks_p_values(X, y),
    "mutual_information": lambda y: mutual_information(X, y),
    "binning_bound": lambda y: binning_bound(X, y),
    "noise_thresholds": lambda y: noise_thresholds(X, y),
    "shuffled_distances": lambda y: shuffled_distances(X, y),
    "signed_ks_of_shards": lambda y: signed_ks_of_shards([X[:9], X[9:]], y),
    "ClassHistograms": lambda y: ClassHistograms.of(X, y, FeatureRanges.of(X)),
    "subsample_classes": lambda y: subsample_classes(y, 2, seed=0),
    "nearest_images": lambda y: nearest_images(X, y),
    "compare_nearest_classes": lambda y: compare_nearest_classes(X, y),
    "neighbour_shares, class": lambda y: neighbour_shares(X, y, Y),
    "neighbour_shares, domain": lambda y: neighbour_shares(X, Y, y),
    "one_shot_accuracy": lambda y: one_shot_accuracy(X, y),
    "one_shot_by_layer": lambda y: one_shot_by_layer(NAMED, y),
    "split_accuracies": lambda y: split_accuracies(X, y, n_train=3, seed=0),
    "compare_features": lambda y: compare_features({"a": X}, y, n_train=3, seed=0),
    "affordable_n_train": lambda y: affordable_n_train(y, 5),
    "caltech_protocol": lambda y: caltech_protocol({"a": X}, y, seed=0),
    "training_size_curve": lambda y: training_size_curve({"a": X}, y, seed=0),
    "recommend": lambda y: recommend(NAMED, y, seed=0),
    "judge_candidates": lambda y: judge_candidates(X, y, LAYERS, candidate_embeddings(LAYERS)),
    "source_accuracy": lambda y: source_accuracy(X, y, lambda *_: Y[:8]),
    "WideLinearSVC": lambda y: WideLinearSVC().fit(X, y),
    "linear_svm": lambda y: linear_svm().fit(X, y),
    "BatchedLinearSVC": lambda y: BatchedLinearSVC().fit(X, y),
    "BatchedLogisticRegression": lambda y: BatchedLogisticRegression().fit(X, y),
}
OF_BOTH = {
    "MaxMarginDomainTransform": lambda y, z: MaxMarginDomainTransform().fit(X, y, Z, z),
    "FeatureAugmentation": lambda y, z: FeatureAugmentation().fit(X, y, Z, z),
    "office_protocol": lambda y, z: office_protocol(X, y, Z, z, seed=0),
    "fusion_table": lambda y, z: fusion_table(GLOBAL, y, z, alignments=["none"]),
}
MISSING = {
    "NaN": lambda y: np.where(np.arange(y.size) == 5, np.nan, y),
    "None among texts": lambda y: [None if k == 5 else f"c{v}" for k, v in enumerate(y)],
    "NaN among texts": lambda y: [np.nan if k == 5 else f"c{v}" for k, v in enumerate(y)],
    "NaT": lambda y: np.where(np.arange(y.size) == 5, np.datetime64("NaT"), y.astype("M8[D]")),
    "pandas' strings": lambda y: pd.Series(y.astype(str), dtype="string").where(
        np.arange(y.size) != 5
    ),
    "categories": lambda y: pd.Series(y).where(np.arange(y.size) != 5).astype("category"),
    "masked": lambda y: np.ma.array(y, mask=np.arange(y.size) == 5),
}
FIFTH = r"got 1 NaN, None or .* first at position 5"
each_gap = pytest.mark.parametrize("gap", MISSING.values(), ids=MISSING)


@pytest.mark.parametrize("function", OF_LABELS.values(), ids=OF_LABELS)
@each_gap
def test_a_missing_label_is_no_class(function, gap):
    with pytest.raises(ValueError, match=FIFTH):
        function(gap(Y))


@pytest.mark.parametrize("function", OF_BOTH.values(), ids=OF_BOTH)
@each_gap
def test_nor_in_either_of_two_domains(function, gap):
    with pytest.raises(ValueError, match=FIFTH):
        function(gap(Y), W)
    whole = [f"c{v}" for v in Y] if "text" in gap.__code__.co_consts else Y
    with pytest.raises(ValueError, match=FIFTH):
        function(whole, gap(W))


@pytest.mark.parametrize("function", OF_LABELS.values(), ids=OF_LABELS)
@pytest.mark.parametrize(
    "mixed",
    [["1", *Y[1:].tolist()], np.array([0.5, *Y[1:].astype(str)], object),
     pd.Series([True, *Y[1:].astype(str)])],
    ids=["text among numbers", "number among texts", "truth value among texts"],
)  # fmt: skip
def test_text_and_numbers_are_not_mixed(function, mixed):
    with pytest.raises(ValueError, match=r"labels of one kind, got .* and .*: name classes"):
        function(mixed)


@pytest.mark.parametrize("function", OF_BOTH.values(), ids=OF_BOTH)
@pytest.mark.parametrize("text", [np.ndarray.tolist, np.array, pd.Series, pd.Categorical])
def test_nor_between_two_domains(function, text):
    for labels in ((text(Y.astype(str)), W), (Y, text(W.astype(str)))):
        with pytest.raises(ValueError, match="labels of one kind, got"):
            function(*labels)


@pytest.mark.parametrize("method", [MaxMarginDomainTransform(), FeatureAugmentation()])
class TestUnlabelledTargets:
    @pytest.mark.parametrize("where", [slice(None), slice(3, 4), slice(10, 20)])
    @pytest.mark.parametrize("dtype", [int, float, object])
    def test_minus_one_is_no_class_of_the_target(self, method, where, dtype):
        labels = W.astype(dtype)
        labels[where] = -1
        first = where.start or 0
        with pytest.raises(ValueError, match=f"-1, which marks .* at position {first}: leave"):
            clone(method).fit(X, Y, Z, labels)

    def test_unless_it_is_one_of_the_source(self, method):
        fitted = clone(method).fit(X, Y % 2 * 2 - 1, Z, W % 2 * 2 - 1)
        assert fitted.classes_.tolist() == [-1, 1]


FITTED = {
    "TCA": (TransferComponentAnalysis(3), (X, Z), ["transform", "transform_source"]),
    "TCA, landmarks": (TransferComponentAnalysis(3, solver="nystrom"), (X, Z), ["transform"]),
    "GFK": (GeodesicFlowKernel(3), (X, Z), ["transform", "transform_target"]),
    "SA": (SubspaceAlignment(3), (X, Z), ["transform_source", "transform_target"]),
    "CORAL": (CorrelationAlignment(), (X, Z), ["transform_source", "transform_target"]),
    "MMDT": (MaxMarginDomainTransform(), (X, Y, Z, W), ["predict", "decision_function"]),
    "augmentation": (FeatureAugmentation(), (X, Y, Z, W), ["predict", "decision_function"]),
    "WideLinearSVC": (WideLinearSVC(), (X, Y), ["predict", "decision_function"]),
    "WideLinearSVC, wide": (WideLinearSVC(), (X[:9], Y[:9]), ["predict", "decision_function"]),
    "linear_svm": (linear_svm(), (X, Y), ["predict", "decision_function"]),
    "BatchedLinearSVC": (BatchedLinearSVC(), (X, Y), ["predict", "decision_function"]),
    "Batched, logistic": (BatchedLogisticRegression(), (X, Y), ["predict", "decision_function"]),
    "ChunkedPCA": (ChunkedPCA(3), (X,), ["transform"]),
}
each_estimator = pytest.mark.parametrize(
    ("estimator", "given", "methods"), FITTED.values(), ids=FITTED
)


@each_estimator
def test_before_fit_scikit_learns_error_says_so(estimator, given, methods):
    for name in methods:
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(clone(estimator), name)(Z)


@each_estimator
def test_a_fit_that_is_refused_leaves_nothing_fitted(estimator, given, methods):
    tried = clone(estimator)
    with pytest.raises(ValueError, match=r"finite|differ"):
        tried.fit(np.full_like(given[0], np.nan), *given[1:])
    if not isinstance(tried, ChunkedPCA | Pipeline):  # they have begun by then
        with pytest.raises(NotFittedError):
            getattr(tried, methods[0])(Z)


@each_estimator
def test_every_estimator_knows_how_many_features_it_was_given(estimator, given, methods):
    fitted = clone(estimator).fit(*given)
    assert fitted.n_features_in_ == 12
    for name in methods:
        with pytest.raises(ValueError, match="12 features"):
            getattr(fitted, name)(Z[:, :7])


@each_estimator
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_array, sp.coo_matrix])
def test_sparse_samples_are_taken_as_dense_ones(estimator, given, methods, form):
    few = [np.where(np.abs(each) < 1, 0, each) if each.ndim == 2 else each for each in given]
    dense = clone(estimator).fit(*few)
    sparse = clone(estimator).fit(*(form(each) if each.ndim == 2 else each for each in few))
    for name in methods:
        expected = getattr(dense, name)(few[0])
        np.testing.assert_allclose(getattr(sparse, name)(form(few[0])), expected)


@pytest.mark.parametrize(
    "function",
    [lambda X: signed_ks(X, Y), lambda X: noise_thresholds(X, Y).t_plus,
     lambda X: one_shot_accuracy(X, Y), lambda X: domain_gap(X, Z),
     lambda X: source_accuracy(X, Y, lambda X, y, T: y[: len(T)]),
     lambda X: nearest_images(X, Y).to_numpy(),
     lambda X: split_accuracies(X, Y, n_train=3, seed=0)["accuracy"]],
)  # fmt: skip
def test_functions_take_sparse_features_as_dense_ones(function):
    few = np.where(np.abs(X) < 1, 0, X)
    np.testing.assert_array_equal(function(sp.csr_array(few)), function(few))


NUMBERS = {
    "TCA": lambda k: TransferComponentAnalysis(k).fit(X, Z).transform(Z),
    "TCA, landmarks": lambda k: (
        TransferComponentAnalysis(k, solver="nystrom", n_landmarks=4 * k).fit(X, Z).transform(Z)
    ),
    "GFK": lambda k: GeodesicFlowKernel(k).fit(X, Z).transform(Z),
    "SA": lambda k: SubspaceAlignment(k).fit(X, Z).transform_target(Z),
    "ChunkedPCA": lambda k: ChunkedPCA(k).fit(X).transform(Z),
    "office_protocol": lambda k: office_protocol(
        X, Y, Z, W, seed=0, n_source=5, n_target=2, n_splits=1, n_components=k
    )["accuracy"],
    "fusion_table": lambda k: fusion_table(
        GLOBAL, Y, W, alignments=["TCA"], how=Alignment(sizes=[k])
    )["accuracy"],
}


@pytest.mark.parametrize("function", NUMBERS.values(), ids=NUMBERS)
class TestNumbersOfComponents:
    @pytest.mark.parametrize("kind", [float, np.float32, np.int64, np.uint8])
    def test_whole_numbers_of_any_type(self, function, kind):
        np.testing.assert_array_equal(function(kind(5)), function(5))

    @pytest.mark.parametrize("number", [5.5, np.nan, np.inf, "5", True, [5]], ids=str)
    def test_what_is_no_whole_number(self, function, number):
        with pytest.raises(ValueError, match="to be a whole number, such as 20, got"):
            function(number)

    def test_none(self, function):
        if function is NUMBERS["TCA, landmarks"]:
            function = lambda k: TransferComponentAnalysis(k, solver="nystrom").fit(X, Z)  # noqa: E731
        with pytest.raises(ValueError, match="to be a whole number, such as 20, got None"):
            function(None)


@pytest.mark.parametrize("method", [TransferComponentAnalysis(3), GeodesicFlowKernel(3)])
@pytest.mark.parametrize("labels", [Y, [f"c{v}" for v in Y], pd.Series(Y), None], ids=type)
def test_a_pipeline_whose_labels_come_in_place_of_the_target_is_told(method, labels):
    with pytest.raises(ValueError, match=r"fit\(X_source, X_target\).*a Pipeline gives labels"):
        make_pipeline(clone(method), WideLinearSVC()).fit(X, labels)
