"""The exact and the binned distance against slow, literal versions, and what must hold of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import ks_2samp

from analysis.statistics import rank_features, signed_ks

FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5]),  # ties
    st.floats(allow_nan=False, width=32),
    st.sampled_from([np.inf, -np.inf, 1e-45, -1e-45]),
)


@st.composite
def problems(draw, elements=FLOATS, dtype=np.float32):
    n, f = draw(st.integers(2, 24)), draw(st.integers(1, 20))
    X = draw(hnp.arrays(dtype, (n, f), elements=elements))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(-2, 3)))
    labels[:2] = 7, 8
    return X, labels


def naive_gaps(X, labels, edges_of=None):
    """Yield, by class and feature, the integer gaps (F_out - F_in) n_in n_out at every place."""
    for c, label in enumerate(np.unique(labels)):
        for j in range(X.shape[1]):
            x = X[:, j].astype(np.float64)
            inner, outer = x[labels == label], x[labels != label]
            if edges_of is None:
                counts = [((inner <= v).sum(), (outer <= v).sum()) for v in np.unique(x)]
            else:
                edges = edges_of(x)
                counts = np.cumsum([np.histogram(s, edges)[0] for s in (inner, outer)], axis=1).T
            gaps = [int(o) * inner.size - int(i) * outer.size for i, o in counts]
            yield c, j, gaps, inner.size * outer.size


def naive(X, labels, edges_of=None):
    D = np.full((np.unique(labels).size, X.shape[1]), np.nan)
    for c, j, gaps, scale in naive_gaps(X, labels, edges_of):
        D[c, j] = (max(gaps) if max(gaps) > -min(gaps) else min(gaps)) / scale
    return D


def scipy_ks(inner, outer):
    """SciPy's statistic in double precision; since 1.18 it computes in that of the samples."""
    return ks_2samp(inner.astype(np.float64), outer.astype(np.float64), method="asymp")


def wide(n=300, f=40, classes=7, seed=0):
    """Gaussian, rectified, rounded and one-sided features side by side."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, f)).astype(np.float32)
    X[:, ::4] = np.maximum(X[:, ::4], 0.5) - 0.5
    X[:, 1::4] = X[:, 1::4].round(1)
    X[:, 2::8] = np.minimum(X[:, 2::8], 0)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    X[labels == 3] += rng.standard_normal(f).astype(np.float32).round(1)
    return X, labels


@settings(max_examples=150, deadline=None)
@given(problems())
def test_equals_the_literal_definition_to_the_bit(problem):
    X, labels = problem
    expected = naive(X, labels)
    np.testing.assert_array_equal(signed_ks(X, labels), expected)
    np.testing.assert_array_equal(signed_ks(rank_features(X), labels), expected)


@pytest.mark.parametrize("ties", [False, True])
def test_equals_scipy(ties):
    X, labels = wide()
    if ties:
        X = X.round(1)
    D = signed_ks(X, labels)
    gaps = {(c, j): (max(g), -min(g)) for c, j, g, _ in naive_gaps(X, labels)}
    for (c, j), (positive, negative) in gaps.items():
        scipy = scipy_ks(X[labels == c, j], X[labels != c, j])
        assert abs(abs(D[c, j]) - scipy.statistic) < 1e-12
        if positive != negative:  # SciPy lets rounding decide otherwise
            assert abs(D[c, j] + scipy.statistic_sign * scipy.statistic) < 1e-12


def test_equal_gaps_count_as_negative():
    X = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    labels = np.array([0, 0, 1, 0, 0])  # the inner image in the middle: gaps +1/2 and -1/2
    assert signed_ks(X, labels)[1, 0] == -0.5
    scipy = scipy_ks(X[2], X[[0, 1, 3, 4], 0])
    assert -scipy.statistic_sign * scipy.statistic == -0.5


def test_positive_is_higher_inside():
    X = np.array([[0.0], [0.0], [5.0], [6.0]])
    np.testing.assert_array_equal(signed_ks(X, ["b", "b", "a", "a"]), [[1.0], [-1.0]])


@settings(max_examples=60, deadline=None)
@given(problems())
def test_bounds_and_symmetries(problem):
    X, labels = problem
    D = signed_ks(X, labels)
    assert (np.abs(D) <= 1).all()
    assert not np.signbit(D[D == 0]).any()
    assert (D[:, [np.unique(x + 0.0).size == 1 for x in X.T]] == 0).all()

    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(signed_ks(X[order], labels[order]), D)
    np.testing.assert_array_equal(signed_ks(X[:, ::-1], labels), D[:, ::-1])

    mirrored = signed_ks(-X, labels)
    for c, j, gaps, _ in naive_gaps(X, labels):
        same = D[c, j] == mirrored[c, j]
        assert same if max(gaps) == -min(gaps) else mirrored[c, j] == -D[c, j]


@settings(max_examples=40, deadline=None)
@given(problems(elements=st.integers(-50, 50), dtype=np.float32))
def test_a_rising_map_changes_nothing(problem):
    X, labels = problem
    D = signed_ks(X, labels)
    for mapped in (
        X**3,
        X + 100,
        np.arctan(X.astype(np.float64)),
        np.argsort(np.argsort(np.unique(X)))[np.searchsorted(np.unique(X), X)],
    ):
        np.testing.assert_array_equal(signed_ks(mapped, labels), D)


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]
)
def test_every_type_is_taken_without_loss(dtype):
    X, labels = wide(n=60, f=20)
    unsigned = np.dtype(dtype).kind in "ub"
    values = (20 * (np.abs(X) if unsigned else X)).astype(dtype)
    np.testing.assert_array_equal(
        signed_ks(values, labels), naive(values.astype(np.float64), labels)
    )


@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e-9, 1e-15])
def test_float64_however_close(scale):
    X, labels = wide()
    X = 1 + scale * X.astype(np.float64)  # apart in the upper half of the bits, or only below it
    X[:, 1::3] -= 1
    np.testing.assert_array_equal(signed_ks(X, labels), naive(X, labels))


@pytest.mark.parametrize("largest", [2**24 - 1, 2**24 + 1, 2**53])
def test_integers_up_to_the_limits_of_floats(largest):
    X = largest - np.arange(12)[:, None] % 5
    labels = np.arange(12) % 3
    np.testing.assert_array_equal(signed_ks(X, labels), naive(X - largest, labels))
    assert (signed_ks(X, X[:, 0] >= largest - 1) == [[-1.0], [1.0]]).all()


def test_memory_layout_does_not_matter():
    X, labels = wide()
    D = signed_ks(X, labels)
    frozen = X.copy()
    frozen.flags.writeable = False
    for same in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X[::-1][::-1], frozen):
        np.testing.assert_array_equal(signed_ks(same, labels), D)


@pytest.mark.parametrize("n_images", [2**15 - 1, 2**15, 2**15 + 1, 70_000])
def test_many_images(n_images):
    rng = np.random.default_rng(0)
    X = np.maximum(rng.standard_normal((n_images, 2)), 0).astype(np.float32)
    X[:, 1] = rng.standard_normal(n_images)
    labels = np.arange(n_images) % 3
    labels[-1] = 3
    D = signed_ks(X, labels)
    for c in (0, 3):
        for j in range(2):
            scipy = scipy_ks(X[labels == c, j], X[labels != c, j])
            assert abs(D[c, j] + scipy.statistic_sign * scipy.statistic) < 1e-12


def test_one_image_per_class():
    X, _ = wide(n=120, f=9)
    labels = np.arange(120)
    np.testing.assert_array_equal(signed_ks(X, labels), naive(X, labels))


@pytest.mark.long
def test_more_classes_than_16_bits_number():
    n = 2**16 + 2
    D = signed_ks(np.arange(n, dtype=np.float64)[:, None], np.arange(n))
    assert D[-1, 0] == 1
    assert D[0, 0] == -1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_result(threads):
    X, labels = wide(n=2000, f=200)
    for bins in (None, 100):
        expected = signed_ks(X, labels, bins=bins, threads=1)
        np.testing.assert_array_equal(signed_ks(X, labels, bins=bins, threads=threads), expected)
    ranked = signed_ks(rank_features(X, threads=threads), labels, threads=threads)
    np.testing.assert_array_equal(ranked, signed_ks(X, labels, threads=1))


@pytest.mark.parametrize("bins", [2, 7, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_bins_are_those_of_numpy(bins, dtype):
    X, labels = wide(n=200, f=24)
    X = (X * 40).astype(dtype)
    X[:, 5] = 3
    expected = naive(X, labels, lambda x: np.histogram_bin_edges(x, bins))
    expected[:, 5] = 0
    np.testing.assert_array_equal(signed_ks(X, labels, bins=bins), expected)


@settings(max_examples=40, deadline=None)
@given(problems(elements=st.floats(-1e6, 1e6, width=32)), st.integers(2, 200))
def test_bins_never_widen_a_gap(problem, bins):
    X, labels = problem
    binned = signed_ks(X, labels, bins=bins)
    assert (np.abs(binned) <= np.abs(signed_ks(X, labels))).all()


@pytest.mark.parametrize("given_as", [np.asarray, rank_features])
def test_nan_is_refused_by_count_and_place(given_as):
    X, labels = wide()
    X[[3, 9], 17] = np.nan
    X[4, 31] = -np.nan
    with pytest.raises(ValueError, match=r"3 NaN in 2 features; .* feature 17, NaN for 2 of 300"):
        signed_ks(given_as(X), labels)
    with pytest.raises(ValueError, match="3 NaN in 2 features"):
        signed_ks(X.astype(np.float64), labels, bins=100)


@pytest.mark.parametrize(
    ("X", "labels", "bins", "message"),
    [
        (np.ones((4, 2)), [0, 0, 1], None, r"each of the 4 images.*\(3,\)"),
        (np.ones((4, 2)), [[0, 0, 1, 1]], None, r"\(1, 4\)"),
        (np.ones((4, 2)), [5, 5, 5, 5], None, r"two classes, got only \[5\]"),
        (np.ones((4, 2)), [0, 1, np.nan, 1], None, "1 NaN"),
        (np.ones((0, 2)), [], None, r"at least one image.*\(0, 2\)"),
        (np.ones((2, 0)), [0, 1], None, "one feature"),
        (np.ones(4), [0, 0, 1, 1], None, r"\(images, features\), got \(4,\)"),
        (np.ones((2, 2), complex), [0, 1], None, "real numbers"),
        (np.array([["a"], ["b"]]), [0, 1], None, "real numbers"),
        (np.array([[2**60], [2**60 + 1]]), [0, 1], None, "subtract an offset"),
        (np.ones((4, 2)), [0, 0, 1, 1], 1, "integer from 2, got 1"),
        (np.ones((4, 2)), [0, 0, 1, 1], 2.5, "got 2.5"),
        (np.array([[0.0, 1], [0, np.inf]]), [0, 1], 100, "feature 1"),
        (np.array([[-1e308], [1e308]]), [0, 1], 100, "finite range"),
    ],
)
def test_errors_say_what_came(X, labels, bins, message):
    with pytest.raises(ValueError, match=message):
        signed_ks(X, labels, bins=bins)


def test_errors_of_ranks_and_threads():
    X, labels = wide()
    with pytest.raises(ValueError, match="give X itself"):
        signed_ks(rank_features(X), labels, bins=100)
    with pytest.raises(ValueError, match="threads from 1"):
        signed_ks(X, labels, threads=0)
