"""Estimators take features by name: those of the other domain, and those of new samples."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from analysis.statistics import FullNetworkEmbedding
from analysis.statistics.named import feature_names
from analysis.transfer import (
    BatchedLinearSVC,
    BatchedLogisticRegression,
    CorrelationAlignment,
    FeatureAugmentation,
    GeodesicFlowKernel,
    MaxMarginDomainTransform,
    RecommendedEmbedding,
    SubspaceAlignment,
    TransferComponentAnalysis,
    WideLinearSVC,
    linear_svm,
    office_protocol,
)
from analysis.transfer.fusion import Domains, domain_gap, fuse, keep_features
from analysis.transfer.pca import ChunkedPCA
from analysis.transfer.tca import StoredDomains

LAYERS = np.repeat(["conv1", "conv2", "fc"], [3, 4, 5])
UNITS = np.concatenate([np.arange(3), np.arange(4), np.arange(5)])
WIDTH = LAYERS.size
ORDERS = {
    "layers": np.array([7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6]),
    "units": np.array([2, 1, 0, 6, 5, 4, 3, 8, 7, 11, 10, 9]),
    "everything": np.random.default_rng(0).permutation(WIDTH),
}
ALIGNMENTS = [
    TransferComponentAnalysis(4),
    TransferComponentAnalysis(4, "linear"),
    TransferComponentAnalysis(3, solver="nystrom", n_landmarks=12),
    GeodesicFlowKernel(3),
    SubspaceAlignment(3),
    CorrelationAlignment(),
]
ADAPTED = [MaxMarginDomainTransform(), FeatureAugmentation(), FeatureAugmentation(linear_svm())]
CLASSIFIERS = [WideLinearSVC(), BatchedLinearSVC(), BatchedLogisticRegression(), linear_svm()]
TRANSFORMERS = [
    ChunkedPCA(4, max_bytes=1000),
    RecommendedEmbedding(["conv2", "fc"], weights="layers"),
    RecommendedEmbedding(values="discretised"),
    FullNetworkEmbedding(),
]
each_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)


def named(X):
    coords = {"layer": ("feature", LAYERS), "unit": ("feature", UNITS)}
    return xr.DataArray(X, dims=("image", "feature"), coords=coords)


def frame(X):
    return pd.DataFrame(X.to_numpy(), columns=feature_names(X))


FORMS = {
    "DataArray": lambda X: X,
    "transposed": lambda X: X.transpose(),
    "lazy": lambda X: X.chunk(image=7, feature=5),
    "DataFrame": frame,
}
each_case = pytest.mark.parametrize(
    ("order", "form"),
    [
        pytest.param(ORDERS[order], FORMS[form], id=f"{order} {form}")
        for order, form in zip([*ORDERS, "everything"], FORMS, strict=True)
    ],
)


def name_of(estimator):
    return type(estimator).__name__


def domains(n=(30, 24)):
    """Two domains of three classes, the second moved; features of unequal size."""
    rng = np.random.default_rng(1)
    centres, size = rng.normal(size=(3, WIDTH)), np.geomspace(0.3, 3, WIDTH)
    ys, yt = (np.arange(each) % 3 for each in n)
    source = (centres[ys] + 0.5 * rng.normal(size=(n[0], WIDTH))) * size
    target = (centres[yt] + 0.5 * rng.normal(size=(n[1], WIDTH))) * size + 0.4
    return named(source), ys, named(target), yt


def renamed(X):
    return X.assign_coords(layer=("feature", np.where(LAYERS == "fc", "fc7", LAYERS)))


def silently(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*arguments)


@pytest.mark.parametrize("method", ALIGNMENTS, ids=name_of)
class TestAlignments:
    @each_case
    def test_the_target_takes_the_order_of_the_source(self, method, order, form):
        source, _, target, _ = domains()
        plain = clone(method).fit(source.to_numpy(), target.to_numpy())
        found = silently(clone(method).fit, form(source), form(target[:, order]))
        for side, X in (("source", source), ("target", target)):
            expected = getattr(plain, f"transform_{side}")(X.to_numpy())
            new = silently(getattr(found, f"transform_{side}"), form(X[:, order[::-1]]))
            np.testing.assert_allclose(new, expected, atol=1e-8)
        assert found.n_features_in_ == plain.n_features_in_ == WIDTH
        assert found.feature_names_in_.tolist() == feature_names(source).tolist()

    def test_other_features_are_refused(self, method):
        source, _, target, _ = domains()
        for other in (renamed(target), target[:, :-1], target.assign_coords(unit=target.unit + 1)):
            with pytest.raises(ValueError, match="target samples with the same 12 features, in an"):
                clone(method).fit(source, other)
            with pytest.raises(ValueError, match="target samples with the same 12 features, in an"):
                clone(method).fit(frame(source), frame(other))
            with pytest.raises(ValueError, match="samples with the same 12 features, in any"):
                clone(method).fit(source, target).transform_target(other)

    def test_without_names_position_counts_with_a_warning(self, method):
        source, _, target, _ = domains()
        plain = silently(clone(method).fit, source.to_numpy(), target.to_numpy())
        assert not hasattr(plain, "feature_names_in_")
        with pytest.warns(UserWarning, match="target samples do not have valid feature names"):
            found = clone(method).fit(source, target.to_numpy())
        with pytest.warns(UserWarning, match="samples do not have valid feature names"):
            Z = found.transform_target(target.to_numpy())
        np.testing.assert_allclose(Z, plain.transform_target(target.to_numpy()))
        with pytest.warns(UserWarning, match="samples have feature names"):
            np.testing.assert_allclose(plain.transform_target(target), Z)


@pytest.mark.parametrize("method", ADAPTED, ids=name_of)
@each_case
def test_classifiers_of_two_domains_go_by_name(method, order, form):
    source, ys, target, yt = domains()
    plain = clone(method).fit(source.to_numpy(), ys, target.to_numpy(), yt)
    found = silently(clone(method).fit, form(source), ys, form(target[:, order]), yt)
    scores = plain.decision_function(target.to_numpy())
    for X in (target[:, order], target[:, order[::-1]], target):
        np.testing.assert_allclose(
            silently(found.decision_function, form(X)), scores, rtol=1e-4, atol=1e-4
        )
    with pytest.raises(ValueError, match="target samples with the same 12 features"):
        found.predict(X[:, 1:])
    with pytest.raises(ValueError, match="target samples with the same 12 features"):
        found.fit(source, ys, renamed(target), yt)


@pytest.mark.parametrize("method", CLASSIFIERS, ids=name_of)
@pytest.mark.parametrize("n", [30, 9])  # more and fewer images than features
@each_case
def test_classifiers_go_by_name(method, n, order, form):
    X, y, Z, _ = domains()
    X, y = X[:n], y[:n]
    plain = clone(method).fit(X.to_numpy(), y)
    found = silently(clone(method).fit, form(X), y)
    for each in (Z, Z[:, order]):
        np.testing.assert_allclose(
            silently(found.decision_function, form(each)),
            plain.decision_function(Z.to_numpy()),
            rtol=1e-4,
            atol=1e-4,
        )
        assert (silently(found.predict, form(each)) == plain.predict(Z.to_numpy())).all()
    assert found.n_features_in_ == WIDTH
    for other in (renamed(Z), Z[:, order[1:]]):
        with pytest.raises(ValueError, match="images with the same 12 features, in any order"):
            found.predict(form(other))
    with pytest.warns(UserWarning, match="images do not have valid feature names"):
        found.predict(Z.to_numpy())


@pytest.mark.parametrize("method", TRANSFORMERS, ids=name_of)
@pytest.mark.parametrize("form", [FORMS["DataArray"], FORMS["lazy"]], ids=["DataArray", "lazy"])
def test_transformers_go_by_name(method, form):
    X, _, Z, _ = domains()
    found = silently(clone(method).fit, form(X))
    expected = np.asarray(found.transform(form(Z)))
    for order in ORDERS.values():
        made = silently(found.transform, form(Z[:, order]))
        np.testing.assert_allclose(made, expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"images with the same 12 features|lacks \d of the"):
        found.transform(form(renamed(Z)))
    assert found.n_features_in_ == WIDTH


def test_a_pipeline_of_embedding_and_machine_goes_by_name():
    X, y, Z, _ = domains()
    machine = make_pipeline(FullNetworkEmbedding(), WideLinearSVC()).fit(X, y)
    for order in ORDERS.values():
        assert (silently(machine.predict, Z[:, order]) == machine.predict(Z)).all()


@each_order
def test_descriptors_of_two_domains_go_by_name(order):
    source, _, target, _ = domains()
    moved = target[:, order]
    kept = np.arange(WIDTH) % 3 == 0
    expected = keep_features(Domains(source, target), kept)
    found = keep_features(Domains(source, moved), kept)
    xr.testing.assert_identical(found.target.drop_attrs(), expected.target.drop_attrs())
    fused = fuse(Domains(source, moved), Domains(source.to_numpy(), target.to_numpy()))
    np.testing.assert_array_equal(fused.target, np.hstack([target.to_numpy()] * 2))
    assert domain_gap(source, moved) == pytest.approx(domain_gap(source, target))
    with pytest.raises(ValueError, match="with the same 12 features, in any order"):
        keep_features(Domains(source, renamed(target)), kept)


@each_order
def test_stored_domains_go_by_name_and_are_not_read(order):
    source, _, target, _ = (X.chunk(image=7) if hasattr(X, "chunk") else X for X in domains())
    both = StoredDomains.of(source, target[:, order])
    assert both.target.chunks is not None
    np.testing.assert_array_equal(both.rows([29, 30, 53])[1:], target[[0, 23]])
    with pytest.raises(ValueError, match="same layers of the same network"):
        StoredDomains.of(source, renamed(target))


def test_the_office_protocol_goes_by_name():
    source, ys, target, yt = domains()
    how = {"seed": 0, "n_source": 5, "n_target": 2, "n_splits": 2, "n_components": 3}
    found = office_protocol(source, ys, target[:, ORDERS["everything"]], yt, **how)
    pd.testing.assert_frame_equal(found, office_protocol(source, ys, target, yt, **how))
