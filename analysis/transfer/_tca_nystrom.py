"""Features whose inner products come near a kernel's values: the Nyström approximation.

Source: Williams and Seeger, *Using the Nyström method to speed up kernel machines*, NIPS 2000. With
C the kernel's values between all samples and m landmarks, and W those among the landmarks, K is
replaced by C W⁺ Cᵀ, whose features are C W^(-1/2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import eigh

from analysis.transfer._tca_kernels import Kernel, blocks
from analysis.transfer.adaptation._domains import Floats

__all__ = ["ROWS", "Landmarks"]

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
        for rows in blocks(len(X), ROWS):
            np.matmul(self.kernel.between(X[rows], self.samples), self.root, out=made[rows])
        return made
