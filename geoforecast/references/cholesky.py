"""Small symmetric systems, solved for each pixel inside compiled loops.

LAPACK's call costs more than the work for a few unknowns.

Source:
    Golub & Van Loan (2013), Matrix computations, 4th ed., section 4.2.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@numba.njit(nogil=True, cache=True)
def factor(a: Floats, n: int) -> None:
    """Turn the first n rows of a positive definite matrix into its lower factor, in place."""
    for i in range(n):
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = np.sqrt(total) if i == j else total / a[j, j]


@numba.njit(nogil=True, cache=True)
def substitute(a: Floats, n: int, b: Floats) -> None:
    """Solve for one right-hand side, in place, with what factor() left."""
    for i in range(n):
        total = b[i]
        for k in range(i):
            total -= a[i, k] * b[k]
        b[i] = total / a[i, i]
    for i in range(n - 1, -1, -1):
        total = b[i]
        for k in range(i + 1, n):
            total -= a[k, i] * b[k]
        b[i] = total / a[i, i]
