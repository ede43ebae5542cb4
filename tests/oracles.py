"""What the package computes piece by piece, computed at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.consensus.projections import noise_sums, noise_threshold

Floats = NDArray[np.float64]


def noise_covariance(differences: Floats) -> Floats:
    """Estimate the noise covariance (band, band) from neighbour differences (pair, band).

    The differences are of z-scored spectra, so that the unit of a band does not
    matter. A difference of two pixels holds the noise twice, hence the half.
    """
    threshold = noise_threshold(np.einsum("pb,pb->p", differences, differences))
    total, count = noise_sums(differences, threshold)
    return total / max(1, 2 * count)
