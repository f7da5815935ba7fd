"""Transfer component analysis: directions of much variance along which two domains differ little.

Conventions
-----------
Source: Pan, Tsang, Kwok and Yang, *Domain adaptation via transfer component analysis*, IEEE
Transactions on Neural Networks 22(2), 2011, sections III and IV. With K the kernel of the samples
of both domains (source first), H = I - 11ᵀ/n, and L = e eᵀ, where e is 1/n_S on the source and
-1/n_T on the target, the components are Z = K W with leading solutions of

    K H K w = λ (K L K + μ I) w.

mu
    The paper's: it weighs the size of w against the distance between the means of both domains.
    The packages adapt and skada put their mu on K L K; it is 1/μ.
scaling of w
    The eigenproblem leaves it open, and neighbours in Z depend on it. ``"unit"``: each w of length
    1, so that a component counts by its spread; accuracies were published with it (Long et al.,
    ICCV 2013). ``"variance"``: wᵀ K H K w = 1, the constraint as the paper writes it, by which
    components of hardly any variance count as much as the first.
sign
    The entry of w of largest size is positive.
what has no effect
    With a linear kernel and domains that are each centred, as z-scores of each domain by itself
    are, K e = 0: the distance between the means is gone before, and only variance is left.

The eigenproblem
----------------
It is solved with no matrix but the kernel's. With u = K e the right side is A = μ I + u uᵀ, so that

    A^(-1/2) = μ^(-1/2) (I - c û ûᵀ),  û = u/‖u‖,  c = 1 - (μ / (μ + ‖u‖²))^(1/2),

and y = A^(1/2) w is an eigenvector of the symmetric A^(-1/2) K H K A^(-1/2), λ the same. A basis of
the powers of K, applied to a block in which 1 and e are, holds u and with it the powers of that
operator: one product with K per vector, where the operator itself costs two. On such a basis the
operator is R Rᵀ with R = A^(-1/2) K H, whose coordinates are known without a further product.

In this, vectors are rows: a block of b vectors of length n is an array (b, n), contiguous, and
operators map such blocks to such blocks. With a symmetric matrix K that is ``V @ K``, which BLAS
does a third faster for thin blocks than ``K @ V.T``.

Landmarks
---------
The Nyström approximation has features whose inner products come near a kernel's values. Source:
Williams and Seeger, *Using the Nyström method to speed up kernel machines*, NIPS 2000. With C the
kernel's values between all samples and m landmarks, and W those among the landmarks, K is replaced
by C W⁺ Cᵀ, whose features are C W^(-1/2).

On a cluster
------------
Landmarks also serve where samples are read a block at a time. With features Φ (samples, r) of the
landmarks, K = Φ Φᵀ, and what its eigenproblem needs of all samples are sums over them: G = Φᵀ Φ,
and the sums of Φ over each domain. With G = V g Vᵀ, the columns of Q = Φ V g^(-1/2) are orthonormal
and span every w with λ > 0. With w = Q b,

    K = diag(g),   H = I - t tᵀ/n with t = Qᵀ 1,   K e = g · (Qᵀ e),

so that the problem is one of r × r, solved as above. A second pass over the samples gives W = Φ (V
g^(-1/2) b) and K W = Φ (V g^(1/2) b).

Blocks are cut by the arrays' chunks, computed with one thread, and summed in their order. So the
bits do not depend on the number of workers, nor on which of them were lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.linalg import eigh, svd
from sklearn.base import BaseEstimator
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms

from analysis.cluster import map_in_order
from analysis.statistics.blocks import conform, image_blocks_of, image_bounds_of, lean, require_lazy
from analysis.statistics.named import by_name, feature_names
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, KnownFeatures, checked_samples, whole_number
from analysis.transfer.adaptation import two_domains

if TYPE_CHECKING:
    from distributed import Client

SCALINGS = ("unit", "variance")
SOLVERS = ("exact", "nystrom")


class TransferComponentAnalysis(KnownFeatures, BaseEstimator):  # type: ignore[misc]
    """Components along which both domains vary much and their means differ little.

    Parameters
    ----------
    n_components : int
        How many.
    kernel : {"rbf", "linear"}
        exp(-gamma ‖x - z‖²) or x·z.
    gamma : float, optional
        Above 0. If not given, 1 / (2 median of ‖x - z‖²) over the pairs of samples of both domains
        (over those of 2,000 samples where there are more). Only for ``"rbf"``.
    mu : float
        Above 0. How much the size of w counts against the distance between the domains: the
        smaller, the closer the domains. The values of an RBF kernel are at most 1, so that μ = 1
        weighs more with it than with most linear ones.
    scaling : {"unit", "variance"}
        Length of the eigenvectors, see above.
    solver : {"exact", "nystrom"}
        ``"nystrom"`` replaces the kernel by the one that ``n_landmarks`` samples span, for more
        samples than a matrix (samples, samples) has room for.
    n_landmarks : int
        Of both domains together, drawn without regard to domain; only for ``"nystrom"``.
    allow_fewer : bool
        Whether to give fewer components where rounding errors leave no more, instead of an error.
    seed : int
        Of landmarks, of the samples whose distances give gamma, and of the vectors that the solver
        starts from; on these the exact components depend by rounding errors only.

    Attributes
    ----------
    eigenvalues_ : ndarray of float64, shape (n_components,)
        λ, descending: variance of a component over what it is penalised by.
    eigenvectors_ : ndarray of float64, shape (samples, n_components)
        W, rows in the order of the samples, source first.
    source_embedding_, target_embedding_ : ndarray of float64, shape (samples, n_components)
        Components of the samples of each domain, rows in their order.
    gamma_ : float
        Of a radial kernel: as given, or as chosen from the samples.

    Notes
    -----
    Exact components span what a dense generalised eigensolver's do to 1e-8 radians, by the solver's
    own estimate. It needs K and a few hundred vectors of length n for 64 components, more where
    eigenvalues hardly differ; where half as many vectors as samples would not do, and for few
    samples, the symmetric problem is solved densely. With a linear kernel of less than a third as
    many features as samples, and with landmarks, K is not formed.
    """

    _references: Floats | None

    def __init__(
        self,
        n_components: int = 64,
        kernel: str = "rbf",
        gamma: float | None = None,
        mu: float = 1.0,
        *,
        scaling: str = "unit",
        solver: str = "exact",
        n_landmarks: int = 1000,
        allow_fewer: bool = False,
        seed: int = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.mu = mu
        self.scaling = scaling
        self.solver = solver
        self.n_landmarks = n_landmarks
        self.allow_fewer = allow_fewer
        self.seed = seed

    @one_blas_thread
    def fit(
        self, X_source: ArrayLike, X_target: ArrayLike, *, client: Client | None = None
    ) -> Self:
        """Find the components from samples of both domains, (samples, features); no labels.

        With a client, and landmarks, the workers of that cluster read the samples from the store,
        which must be lazy DataArrays then, in two passes; here only what is by landmark or by
        component is held. The components are those of one process up to rounding, and the same
        bits for any number of workers.

        Raises
        ------
        ValueError
            Samples that do not fit together, unknown options, or more components than the kernel
            has directions that rounding errors do not reach; with a client, another solver, or
            samples in memory.
        FileNotFoundError
            A worker does not see the store.
        """
        self._check_options()
        if client is not None:
            return self._fit_on(client, StoredDomains.of(X_source, X_target))
        source, target = two_domains(X_source, X_target)
        number = self._number(len(source) + len(target))
        e = domain_weights(len(source), len(target))
        product, mapped = self._prepare(source, target)
        values, W = transfer_components(product, e, self.mu, number, self.seed)
        self._keep(values, W, product(W), len(source))
        self._weights = mapped(self.eigenvectors_)
        self._remember(X_source, source.shape[1])
        return self

    def _fit_on(self, client: Client, domains: StoredDomains) -> Self:
        if self.solver != "nystrom":
            raise ValueError(
                f"expected solver='nystrom' with a client, got {self.solver!r}: every other way "
                "needs all samples at once"
            )
        number, n_landmarks = self._number(len(domains)), int(self.n_landmarks)
        n_source, n_target = len(domains.source), len(domains.target)
        self._kernel = self._kernel_of(domains.drawn(MEDIAN_OF, self.seed, ordered=False))
        drawn = domains.drawn(n_landmarks, self.seed, ordered=True)
        landmarks = Landmarks.drawn(self._kernel, drawn, n_landmarks, self.seed)
        sums = summed(client, domains, landmarks)
        found = components_of(sums, n_source, n_target, self.mu, number)
        if len(found.values) < number and not self.allow_fewer:
            raise ValueError(
                f"expected n_components from 1 to {len(found.values)}, as many as these landmarks "
                f"span, got {number}"
            )
        W, Z = mapped(client, domains, landmarks, found)
        signs = signs_of(W)
        self._keep(found.values, W * signs, Z * signs, n_source)
        # Turned and scaled as the eigenvectors were.
        at = np.abs(W).argmax(axis=1)[: self.eigenvectors_.shape[1]]
        columns = np.arange(at.size)
        scales = self.eigenvectors_[at, columns] / W[columns, at]
        self._references = landmarks.samples
        self._weights = landmarks.root @ (found.embedding[:, : at.size] * scales)
        self._remember(domains.source, domains.source.shape[1])
        return self

    def _prepare(self, source: Floats, target: Floats) -> tuple[Operator, Operator]:
        """Rows times K; and what samples, or their kernel's values, are multiplied with."""
        self._references = None
        X = np.vstack([source, target])
        self._kernel = self._kernel_of(X)
        if self.solver == "nystrom":
            landmarks = Landmarks.drawn(self._kernel, X, int(self.n_landmarks), self.seed)
            made, self._references = landmarks.features(X), landmarks.samples
            return lambda V: V @ made @ made.T, lambda W: landmarks.root @ (made.T @ W)
        if self.kernel == "linear":
            if 3 * X.shape[1] < len(X):
                return lambda V: V @ X @ X.T, lambda W: X.T @ W
            K = self._kernel.within(X)
            return lambda V: V @ K, lambda W: X.T @ W
        K, self._references = self._kernel.within(X), X
        return lambda V: V @ K, _same

    def transform(self, X: ArrayLike) -> Floats:
        """Components of samples of either domain, shape (samples, n_components)."""
        X = self._samples(X)
        if self._references is None:
            mapped: Floats = X @ self._weights
            return mapped
        Z = np.empty((len(X), self._weights.shape[1]))
        for rows in gen_batches(len(X), ROWS):
            values = self._kernel.between(X[rows], self._references)
            np.matmul(values, self._weights, out=Z[rows])
        return Z

    transform_source = transform_target = transform

    def _check_options(self) -> None:
        expected = {"kernel": KERNELS, "scaling": SCALINGS, "solver": SOLVERS}
        for name, known in expected.items():
            if (given := getattr(self, name)) not in known:
                raise ValueError(f"expected {name} to be one of {', '.join(known)}, got {given!r}")
        if not self.mu > 0:
            raise ValueError(f"expected mu above 0, got {self.mu}")
        if whole_number("n_landmarks", self.n_landmarks) < 1:
            raise ValueError(f"expected at least one landmark, got {self.n_landmarks}")

    def _number(self, n: int) -> int:
        """How many components of n samples."""
        number = whole_number("n_components", self.n_components)
        if not 1 <= number < n:
            raise ValueError(
                f"expected n_components from 1 to {n - 1}, fewer than the {n} samples of both "
                f"domains, got {number}"
            )
        return number

    def _kernel_of(self, X: Floats) -> Kernel:
        """Kernel for samples of both domains; gamma from them where it is not given."""
        if self.gamma is not None and not self.gamma > 0:
            raise ValueError(f"expected a gamma above 0, or None, got {self.gamma}")
        if self.kernel == "linear":
            return Kernel("linear")
        return Kernel("rbf", median_gamma(X, self.seed) if self.gamma is None else self.gamma)

    def _keep(self, values: Floats, W: Floats, embedding: Floats, n_source: int) -> None:
        """Keep eigenvectors (k, n), with wᵀ A w = 1, and K W as they are to be scaled."""
        rank = int((values > 0).sum())
        if self.allow_fewer and rank:
            values, W, embedding = values[:rank], W[:rank], embedding[:rank]
        if rank < len(values):
            raise ValueError(
                f"expected n_components from 1 to {rank}, as many as rounding errors leave of this "
                f"kernel, got {self.n_components}"
            )
        lengths = np.sqrt(values) if self.scaling == "variance" else np.linalg.norm(W, axis=1)
        Z = (embedding / lengths[:, None]).T
        if self.kernel == "rbf":
            self.gamma_ = self._kernel.gamma
        self.eigenvalues_, self.eigenvectors_ = values, (W / lengths[:, None]).T
        self.source_embedding_, self.target_embedding_ = Z[:n_source], Z[n_source:]


def _same(W: Floats) -> Floats:
    return W


KERNELS = ("linear", "rbf")
_BLOCK = 128
MEDIAN_OF = 2000
"""Samples whose distances give the width of a radial kernel, where there are more."""


@dataclass(frozen=True)
class Kernel:
    """Values of a kernel between samples.

    Attributes
    ----------
    name : {"linear", "rbf"}
        x·z, exp(-gamma ‖x - z‖²).
    gamma : float
        Of the radial kernel.
    """

    name: str
    gamma: float = 1.0

    def between(self, X: Floats, Z: Floats) -> Floats:
        """Values (samples of X, samples of Z)."""
        centre = Z.mean(axis=0)
        return self._of_products(self._left(self._right(X, centre)) @ self._right(Z, centre).T)

    def within(self, X: Floats) -> Floats:
        """Values (samples, samples): symmetric, each pair computed once, nothing else as large."""
        right = self._right(X, X.mean(axis=0))
        K = np.empty((len(X), len(X)))
        for rows in gen_batches(len(X), _BLOCK):
            part = self._of_products(self._left(right[rows]) @ right[rows.start :].T)
            size = len(part)
            part[:, :size] = (part[:, :size] + part[:, :size].T) / 2
            K[rows, rows.start :] = part
            K[rows.stop :, rows] = part[:, size:].T
        return K

    def _right(self, X: Floats, centre: Floats) -> Floats:
        """Columns whose products with those of :meth:`_left` are x·z, or -gamma ‖x - z‖²."""
        if self.name != "rbf":
            return X
        sides = np.empty((len(X), X.shape[1] + 2))
        np.subtract(X, centre, out=sides[:, :-2])
        sides[:, -2] = 1
        sides[:, -1] = -self.gamma * row_norms(sides[:, :-2], squared=True)
        sides[:, :-2] *= np.sqrt(2 * self.gamma)
        return sides

    def _left(self, right: Floats) -> Floats:
        if self.name != "rbf":
            return right
        left = right.copy()
        left[:, -2:] = right[:, :-3:-1]
        return left

    def _of_products(self, products: Floats) -> Floats:
        """Values, in the place of the products of both sides."""
        if self.name == "rbf":
            np.minimum(products, 0, out=products)
            np.exp(products, out=products)
        return products


def median_gamma(X: Floats, seed: int) -> float:
    """1 / (2 median of ‖x - z‖²) over all pairs of samples (samples, features).

    Of more than 2,000 samples, over the pairs of 2,000 that are drawn.

    Raises
    ------
    ValueError
        If half of the pairs coincide.
    """
    if len(X) > MEDIAN_OF:
        X = X[np.random.default_rng(seed).choice(len(X), MEDIAN_OF, replace=False)]
    X = X - X.mean(axis=0)
    squares = row_norms(X, squared=True)
    distances = squares[:, None] + squares - 2 * (X @ X.T)
    median = float(np.median(distances[np.triu_indices(len(X), 1)]))
    if not median > len(X) * np.finfo(np.float64).eps * squares.max():
        raise ValueError(
            "expected samples that differ, to choose gamma by the median distance, but at least "
            "half of the pairs coincide: give gamma"
        )
    return 1 / (2 * median)


_DENSE = 600
_SQUARED = 1e-8
"""Below this share of the largest, eigenvalues are not taken from squares."""


def domain_weights(n_source: int, n_target: int) -> Floats:
    """Weights e, shape (n,): e·z is the mean over the source minus that over the target."""
    return np.concatenate([np.full(n_source, 1 / n_source), np.full(n_target, -1 / n_target)])


def transfer_components(
    product: Operator, e: Floats, mu: float, k: int, seed: int
) -> tuple[Floats, Floats]:
    """Leading eigenvectors, with wᵀ (K L K + μ I) w = 1.

    Parameters
    ----------
    product : callable
        V @ K for rows V (b, n).
    e : ndarray of float64, shape (n,)
        As :func:`domain_weights`.
    mu : float
        Above 0.
    k : int
        How many; below n.
    seed : int
        Of the vectors that the basis starts from.

    Returns
    -------
    values : ndarray of float64, shape (k,)
        Descending. Zero where rounding errors reach.
    vectors : ndarray of float64, shape (k, n)
        One per row; the entry of largest size is positive.
    """
    n = e.size
    ones = np.full(n, n**-0.5)
    found = None
    if n > max(_DENSE, 8 * k):
        drawn = np.random.default_rng(seed).standard_normal((BLOCK - 2, n))
        found = leading(
            product,
            np.vstack([ones, e, drawn]),
            lambda basis: _project(basis, basis.rows @ e, basis.rows @ ones, mu, k),
            k,
            n // 2,
        )
    whitening = _Whitening(product(e[None])[0], mu)
    values, y = _densely(product, whitening, n, k) if found is None else found[:2]
    return values, settle_signs(whitening(y))


class _Whitening:
    """A^(-1/2) of A = μ I + u uᵀ, applied to rows (b, n)."""

    def __init__(self, u: Floats, mu: float) -> None:
        squared = float(u @ u)
        self._direction = u / np.sqrt(squared) if squared > 0 else u
        self._shrinkage = 1 - np.sqrt(mu / (mu + squared))
        self._scale = mu**-0.5

    def __call__(self, rows: Floats) -> Floats:
        along = self._shrinkage * (rows @ self._direction)
        whitened: Floats = (rows - np.outer(along, self._direction)) * self._scale
        return whitened


def _densely(product: Operator, whitening: _Whitening, n: int, k: int) -> tuple[Floats, Floats]:
    """Leading λ and y (k, n), from matrices (n, n)."""
    R = whitening(product(np.eye(n)).T).T
    return leading_squares(R - R.mean(axis=1, keepdims=True), k)[:2]


def _project(basis: KrylovBasis, e: Floats, ones: Floats, mu: float, k: int) -> Found:
    """Vectors y in a basis of powers of K; of e and 1/√n, the coordinates are given.

    What the operator makes of y leaves the basis in two ways: through the newest block, which is
    known, and through what K makes of that block, estimated by what it made of the one before.
    """
    m, image = basis.size, basis.image
    whitening = _Whitening((e[:m] @ image)[:m], mu)
    R = whitening(image.T).T
    values, y, after = leading_squares(R - np.outer(R @ ones, ones), k)
    values_of_k = whitening(y) @ image
    values_of_k -= np.outer(values_of_k @ ones, ones)
    newest = image[basis.last, m:]
    size = np.linalg.norm(image[basis.last, basis.last], 2) + 2 * np.linalg.norm(newest, 2)
    residuals = np.linalg.norm(values_of_k[:, basis.last] @ newest, axis=1)
    residuals += size * np.linalg.norm(values_of_k[:, m:], axis=1)
    return Found(values, y, worst_angle(values, residuals / np.sqrt(mu), after))


def leading_squares(R: Floats, k: int) -> tuple[Floats, Floats, float]:
    """Find k leading eigenvalues (descending) and eigenvectors (k, m) of R Rᵀ, and the next value.

    Values that rounding errors of R reach are 0.
    """
    m = len(R)
    ascending, columns = eigh(R @ R.T, subset_by_index=[max(m - k - 1, 0), m - 1])
    values, vectors = ascending[::-1], columns[:, ::-1].T
    if values[k - 1] < _SQUARED * values[0]:
        columns, sizes, _ = svd(R, full_matrices=False)
        sizes = np.where(sizes > m * np.finfo(np.float64).eps * sizes[0], sizes, 0.0)
        values, vectors = sizes**2, columns.T
    after = float(values[k]) if k < m else 0.0
    return values[:k], np.ascontiguousarray(vectors[:k]), after


def settle_signs(rows: Floats) -> Floats:
    """Rows (k, n), turned so that the entry of largest size of each is positive."""
    return rows * signs_of(rows)


def signs_of(rows: Floats) -> Floats:
    """Sign of the entry of largest size of each row (k, n), shape (k, 1)."""
    largest = np.abs(rows).argmax(axis=1)
    return np.where(rows[np.arange(len(rows)), largest] < 0, -1.0, 1.0)[:, None]


Operator = Callable[[Floats], Floats]

BLOCK = 16
_TOLERANCE = 1e-8
_CLOSEST = 1e-6
_EPS = float(np.finfo(np.float64).eps)


class Found(NamedTuple):
    """Approximations to leading eigenvectors.

    Attributes
    ----------
    values : ndarray of float64, shape (k,)
        Eigenvalues, descending.
    vectors : ndarray of float64, shape (k, n)
        In the coordinates of a basis or, in the end, of the samples.
    angle : float
        Estimated angle, in radians, between their span and the exact one.
    """

    values: Floats
    vectors: Floats
    angle: float


class KrylovBasis:
    """Orthonormal vectors that span the powers of an operator, applied to a block of vectors.

    Block Lanczos with complete orthogonalisation, twice. Where the powers are exhausted, directions
    that rounding errors choose take their place; what the attributes say stays true.

    Attributes
    ----------
    size : int
        Vectors that the operator has been applied to; b more are held.
    """

    def __init__(self, operator: Operator, start: Floats) -> None:
        self._operator = operator
        self._block, n = start.shape
        self._rows = np.empty((8 * self._block, n))
        self._image = np.zeros((8 * self._block, 8 * self._block))
        self._rows[: self._block] = np.linalg.qr(start.T)[0].T
        self.size = 0

    @property
    def rows(self) -> Floats:
        """The vectors, shape (size + b, n)."""
        return self._rows[: self.size + self._block]

    @property
    def image(self) -> Floats:
        """Coordinates (size, size + b) of the operator's values: operator(rows[:size])."""
        return self._image[: self.size, : self.size + self._block]

    @property
    def last(self) -> slice:
        """The vectors that the operator was applied to last."""
        return slice(self.size - self._block, self.size)

    @property
    def exhausted(self) -> bool:
        """Whether the operator makes nothing of the vectors it was applied to last."""
        made = np.abs(self._image[self.last]).max()
        return bool(made <= self._rows.shape[1] * _EPS * np.abs(self._image).max())

    def extend(self) -> None:
        """Apply the operator to the newest block."""
        b, m = self._block, self.size + self._block
        self._make_room(m + b)
        values = self._operator(self._rows[self.size : m])
        inside, rest = self._split(values, m)
        fresh, lengths = np.linalg.qr(rest.T)
        if np.abs(lengths.diagonal()).min() <= 1e-8 * np.abs(self._image).max(initial=_EPS):
            _, rest = self._split(np.ascontiguousarray(fresh.T), m)
            fresh, turned = np.linalg.qr(rest.T)
            lengths = turned @ lengths
        self._rows[m : m + b] = fresh.T
        self._image[self.size : m, :m] = inside
        self._image[self.size : m, m : m + b] = lengths.T
        self.size = m

    def _split(self, values: Floats, m: int) -> tuple[Floats, Floats]:
        """Coordinates in the first m vectors, and what is orthogonal to them."""
        rows = self._rows[:m]
        first = values @ rows.T
        values = values - first @ rows
        second = values @ rows.T
        values -= second @ rows
        return first + second, values

    def _make_room(self, needed: int) -> None:
        if needed > len(self._rows):
            held, room = self.size + self._block, int(1.5 * needed)
            rows = np.empty((room, self._rows.shape[1]))
            rows[:held] = self._rows[:held]
            image = np.zeros((room, room))
            image[: len(self._image), : len(self._image)] = self._image
            self._rows, self._image = rows, image


def leading(
    operator: Operator,
    start: Floats,
    project: Callable[[KrylovBasis], Found],
    k: int,
    limit: int,
) -> Found | None:
    """Grow a basis until the vectors found in it are exact to 1e-8 radians.

    Parameters
    ----------
    operator : callable
        Maps (b, n) to (b, n).
    start : ndarray of float64, shape (b, n)
        First vectors.
    project : callable
        Finds k vectors, in the coordinates of a basis.
    k : int
        How many are wanted.
    limit : int
        Most vectors of the basis.

    Returns
    -------
    Found or None
        None where the basis would outgrow the limit.
    """
    basis = KrylovBasis(operator, start)
    due, before = 3 * k, None
    while basis.size + 2 * len(start) <= limit:
        basis.extend()
        if basis.size < due:
            continue
        found = project(basis)
        if found.angle <= _TOLERANCE or basis.exhausted:
            return Found(found.values, found.vectors @ basis.rows[: basis.size], found.angle)
        due = _next_check(basis.size, found.angle, before)
        before = basis.size, found.angle
    return None


def _next_check(size: int, angle: float, before: tuple[int, float] | None) -> int:
    """Size at which the angle will be small enough if it falls as it did; at most a third more."""
    furthest = size + size // 3
    if before is None or not 0 < angle < min(before[1], 1.0):
        return size + size // 8
    rate = np.log(before[1] / angle) / (size - before[0])
    return min(furthest, size + int(np.log(angle / _TOLERANCE) / rate))


def worst_angle(values: Floats, residuals: Floats, after: float) -> float:
    """Estimated angle of a span, from lengths of residuals and the first eigenvalue left out.

    Eigenvalues that are equal to six digits count as six digits apart: no method tells their
    vectors apart. Residuals as small as rounding errors count as none.
    """
    residuals = np.where(residuals <= 16 * _EPS * values[0], 0.0, residuals)
    gaps = np.maximum(values - after, np.maximum(_CLOSEST * values, 16 * _EPS * values[0]))
    return float((residuals / gaps).max())


ROWS = 2048
"""Samples whose kernel values are held at once."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Samples that stand for all.

    Attributes
    ----------
    kernel : Kernel
        The kernel that is approximated.
    samples : ndarray of float64, shape (m, features)
        The landmarks.
    root : ndarray of float64, shape (m, r)
        W^(-1/2) W^(0) in the eigenvectors of W, without those that rounding errors reach.
    """

    kernel: Kernel
    samples: Floats
    root: Floats

    @classmethod
    def drawn(cls, kernel: Kernel, X: Floats, m: int, seed: int) -> Self:
        """Draw m of the samples (samples, features), or take all where there are no more."""
        if m < len(X):
            X = X[np.sort(np.random.default_rng(seed).choice(len(X), m, replace=False))]
        values, vectors = eigh(kernel.within(X), driver="evd")
        kept = values > len(X) * np.finfo(np.float64).eps * np.abs(values).max()
        return cls(kernel, X, vectors[:, kept] / np.sqrt(values[kept]))

    def features(self, X: Floats) -> Floats:
        """Features of samples, shape (samples, r)."""
        made = np.empty((len(X), self.root.shape[1]))
        for rows in gen_batches(len(X), ROWS):
            np.matmul(self.kernel.between(X[rows], self.samples), self.root, out=made[rows])
        return made


_ROWS_PER_TASK = 4 * ROWS


@dataclass(frozen=True)
class StoredDomains:
    """Samples of both domains, source first, that workers read for themselves.

    Attributes
    ----------
    source, target : DataArray, dims (image, feature)
        Lazy.
    """

    source: xr.DataArray
    target: xr.DataArray

    @classmethod
    def of(cls, X_source: Any, X_target: Any) -> StoredDomains:
        """Check arrays of the store.

        Raises
        ------
        ValueError
            Values in memory, other dimensions, other features, fewer than two samples.
        """
        source, target = (require_lazy(conform(require_lazy(X))) for X in (X_source, X_target))
        target = by_name(target, feature_names(source), "target samples")
        if source.shape[1] != target.shape[1]:
            raise ValueError(
                f"expected {source.shape[1]} features as in the source samples, but target samples "
                f"have {target.shape[1]}: take both from the same layers of the same network"
            )
        if min(len(source), len(target)) < 2:
            raise ValueError(
                f"expected at least two samples of each domain, got {len(source)} and {len(target)}"
            )
        return cls(source, target)

    def __len__(self) -> int:
        return len(self.source) + len(self.target)

    def rows(self, chosen: Any) -> Floats:
        """Read some samples, in the order given."""
        chosen = np.asarray(chosen)
        ordered, back = np.unique(chosen, return_inverse=True)
        of_source = ordered[ordered < len(self.source)]
        of_target = ordered[ordered >= len(self.source)] - len(self.source)
        parts = [self.source[of_source].values, self.target[of_target].values]
        return checked_samples(np.concatenate(parts)[back], "samples of both domains")

    def drawn(self, number: int, seed: int, *, ordered: bool) -> Floats:
        """Draw so many samples; all where there are no more."""
        if number >= len(self):
            return self.rows(np.arange(len(self)))
        chosen = np.random.default_rng(seed).choice(len(self), number, replace=False)
        return self.rows(np.sort(chosen) if ordered else chosen)

    def blocks(self) -> Iterator[tuple[int, xr.DataArray]]:
        """Blocks of samples; the number of the first is its place among those of both domains."""
        for X, start in ((self.source, 0), (self.target, len(self.source))):
            for first, last in pairwise(image_bounds_of(X, _ROWS_PER_TASK)):
                yield start + first, lean(X[first:last])


class Sums(NamedTuple):
    """G (r, r), and the sums of features over the source and over the target (r,)."""

    products: Floats
    source: Floats
    target: Floats


class Coordinates(NamedTuple):
    """Components in terms of Φ.

    Attributes
    ----------
    values : ndarray of float64, shape (k,)
        λ, descending; zero where rounding errors reach.
    vectors, embedding : ndarray of float64, shape (r, k)
        W and K W are Φ times these.
    """

    values: Floats
    vectors: Floats
    embedding: Floats


def summed(client: Client, domains: StoredDomains, landmarks: Landmarks) -> Sums:
    """Sum over all samples, in their order."""
    r, n_source = landmarks.root.shape[1], len(domains.source)
    total = Sums(np.zeros((r, r)), np.zeros(r), np.zeros(r))
    task = partial(_sums, landmarks=landmarks)
    for first, (products, features) in map_in_order(client, task, domains.blocks()):
        total.products[:] += products
        (total.source if first < n_source else total.target)[:] += features
    return total


def _sums(
    block: tuple[int, xr.DataArray], *, landmarks: Landmarks
) -> tuple[int, tuple[Floats, Floats]]:
    first, lazy = block
    r = landmarks.root.shape[1]
    products, features = np.zeros((r, r)), np.zeros(r)
    with one_blas_thread:
        for made in _features(lazy, landmarks):
            products += made.T @ made
            features += made.sum(axis=0)
    return first, (products, features)


def mapped(
    client: Client, domains: StoredDomains, landmarks: Landmarks, found: Coordinates
) -> tuple[Floats, Floats]:
    """W and K W, shape (k, samples), by a pass over all samples."""
    k = found.values.size
    W, Z = np.empty((k, len(domains))), np.empty((k, len(domains)))
    both = np.hstack([found.vectors, found.embedding])
    task = partial(_map, landmarks=landmarks, both=both)
    for first, part in map_in_order(client, task, domains.blocks()):
        rows = slice(first, first + len(part))
        W[:, rows], Z[:, rows] = part[:, :k].T, part[:, k:].T
    return W, Z


def _map(
    block: tuple[int, xr.DataArray], *, landmarks: Landmarks, both: Floats
) -> tuple[int, Floats]:
    first, lazy = block
    with one_blas_thread:
        parts = [made @ both for made in _features(lazy, landmarks)]
    return first, np.concatenate(parts)


def _features(lazy: xr.DataArray, landmarks: Landmarks) -> Iterator[Floats]:
    """Φ of some samples at a time; what is held beside them is as large."""
    for _, block in image_blocks_of(lazy):
        samples = checked_samples(block, "samples of both domains")
        yield landmarks.features(samples)


def components_of(sums: Sums, n_source: int, n_target: int, mu: float, k: int) -> Coordinates:
    """Leading components, at most as many as Φ has independent columns, from the sums."""
    n = n_source + n_target
    g, V = eigh(sums.products, driver="evd")
    kept = g > len(g) * np.finfo(np.float64).eps * np.abs(g).max()
    g, V = g[kept], V[:, kept]
    roots = np.sqrt(g)
    whitening = _Whitening(roots * ((sums.source / n_source - sums.target / n_target) @ V), mu)
    t = (sums.source + sums.target) @ V / roots
    share = min(float(t @ t) / n, 1.0)  # of 1 that lies in the span
    centred = np.diag(g) - np.outer(g * t, t) * ((1 - np.sqrt(1 - share)) / float(t @ t))
    R = whitening(centred.T).T
    values, y, _ = leading_squares(R, min(k, len(g)))
    b = whitening(y).T
    return Coordinates(values, V @ (b / roots[:, None]), V @ (b * roots[:, None]))
