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
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, KnownFeatures, whole_number
from analysis.transfer._tca_kernels import (
    KERNELS,
    Kernel,
    blocks,
    check_precomputed,
    kernel_for,
)
from analysis.transfer._tca_krylov import Operator
from analysis.transfer._tca_nystrom import ROWS, Landmarks
from analysis.transfer._tca_rows import StoredDomains, components_of, mapped, summed
from analysis.transfer._tca_solver import domain_weights, signs_of, transfer_components
from analysis.transfer.adaptation._domains import two_domains

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["TransferComponentAnalysis"]

SCALINGS = ("unit", "variance")
SOLVERS = ("exact", "nystrom")


class TransferComponentAnalysis(KnownFeatures, BaseEstimator):  # type: ignore[misc]
    """Components along which both domains vary much and their means differ little.

    Parameters
    ----------
    n_components : int
        How many.
    kernel : {"rbf", "linear", "poly", "precomputed"}
        exp(-gamma ‖x - z‖²), x·z, (gamma x·z + coef0)^degree, or values that are given in place of
        samples.
    gamma : float, optional
        Above 0. If not given, 1 / (2 median of ‖x - z‖²) over the pairs of samples of both domains
        for ``"rbf"`` (over those of 2,000 samples where there are more), and one over the number of
        features for ``"poly"``.
    mu : float
        Above 0. How much the size of w counts against the distance between the domains: the
        smaller, the closer the domains. The values of an RBF kernel are at most 1, so that μ = 1
        weighs more with it than with most linear ones.
    degree, coef0 : float
        Of the polynomial kernel.
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
        Of a radial or polynomial kernel: as given, or as chosen from the samples.

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
        degree: float = 3,
        coef0: float = 1.0,
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
        self.degree = degree
        self.coef0 = coef0
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

        With a precomputed kernel these are its rows: values between the samples of that domain and
        the samples of both, source first.

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
        if self.solver != "nystrom" or self.kernel == "precomputed":
            raise ValueError(
                "expected solver='nystrom' and a kernel of samples with a client, got "
                f"{self.solver!r} and {self.kernel!r}: every other way needs all samples at once"
            )
        number, n_landmarks = self._number(len(domains)), self._number_of_landmarks()
        n_source, n_target = len(domains.source), len(domains.target)
        self._kernel = self._kernel_of(domains.for_gamma(self.seed))
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

    def _number_of_landmarks(self) -> int:
        number = whole_number("n_landmarks", self.n_landmarks)
        if number < 1:
            raise ValueError(f"expected at least one landmark, got {number}")
        return number

    def _prepare(self, source: Floats, target: Floats) -> tuple[Operator, Operator]:
        """Rows times K; and what samples, or their kernel's values, are multiplied with."""
        self._references = None
        if self.kernel == "precomputed":
            check_precomputed(source, target, self.solver, self.seed)
            n_source = len(source)
            return lambda V: V[:, :n_source] @ source + V[:, n_source:] @ target, _same
        X = np.vstack([source, target])
        self._kernel = self._kernel_of(X)
        if self.solver == "nystrom":
            landmarks = Landmarks.drawn(self._kernel, X, self._number_of_landmarks(), self.seed)
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
        """Components of samples of either domain, shape (samples, n_components).

        With a precomputed kernel, X holds its values between these samples and those of both
        domains, source first.
        """
        X = self._samples(X)
        if self._references is None:
            mapped: Floats = X @ self._weights
            return mapped
        Z = np.empty((len(X), self._weights.shape[1]))
        for rows in blocks(len(X), ROWS):
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
        return kernel_for(X, self.kernel, self.gamma, self.degree, self.coef0, self.seed)

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
        if self.kernel in ("rbf", "poly"):
            self.gamma_ = self._kernel.gamma
        self.eigenvalues_, self.eigenvectors_ = values, (W / lengths[:, None]).T
        self.source_embedding_, self.target_embedding_ = Z[:n_source], Z[n_source:]


def _same(W: Floats) -> Floats:
    return W
