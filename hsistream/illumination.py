"""What is done to every spectrum, by itself, before anything is measured.

Captures differ in their light: exposure, slope, shade. A *feature* is a value of
a spectrum after its light was changed; there is one for each good band, and one
more for the brightness where that is kept. A pixel's features depend on its own
spectrum and on nothing else, to the last bit: not on the pixels beside it, nor
on how many are changed at once. The loops are therefore compiled, and add up in
the order of the bands; they release the interpreter lock and use one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.compiled import compiled

BRIGHTNESS = "+brightness"
"""Ending of the names that keep the logarithm of the brightness as one more feature."""

BRIGHTNESS_FLOOR = 1e-9
"""Brightness of a spectrum that is zero in every band, in the units of the data."""

FEATURE_RESOLUTION = 1e-5
"""Features that differ by less are equal: single precision and a low contrast do that much."""

BLOCK_PX = 256
"""Pixels that are changed at once, so that their spectra stay near the processor."""

HULL_BLOCK_PX = 32
"""The same for the hull, which turns its block to have the bands of a pixel side by side."""

Features = NDArray[np.float32]


def features(
    name: str,
    spectra: NDArray[Any],
    wavelengths_nm: Sequence[float] | NDArray[np.float64] = (),
) -> Features:
    """Change the light of every spectrum, by itself.

    Parameters
    ----------
    name : {"none", "snv", "snv+brightness", "l2", "l2+brightness", "continuum"}
        ``none`` leaves values as they are. ``snv``, the standard normal variate,
        takes the mean over the bands from a spectrum and divides by the standard
        deviation over the bands [1]_. ``l2`` divides by the Euclidean length.
        ``continuum`` divides by the upper convex hull over the wavelengths [2]_;
        negative values count as zero there, because a hull near zero would make
        anything of them. Multiplying a spectrum by a positive gain changes none of
        these three.

        ``+brightness`` adds the logarithm of the brightness, which is the mean over
        the bands of the absolute values: the mean of a spectrum without negative
        values, and never zero or below for a dark one with noise. A gain g adds
        log g to it; a spectrum of zeros has ``BRIGHTNESS_FLOOR``.
    spectra : (band, ...) array
        Spectra in the good bands, of any type, as stored.
    wavelengths_nm : sequence of float, optional
        Wavelengths of the good bands in any order, nm; without them a band's number
        stands for its wavelength. Only ``continuum`` uses them.

    Returns
    -------
    (feature, ...) float32
        Features in the order of the bands, then that of the brightness. A constant
        spectrum gives zeros with ``snv``, a zero spectrum zeros with ``l2`` as well;
        ``continuum`` gives 1 where the hull is zero. Features of pixels without data
        hold no meaning. With ``none``, float32 values are given back uncopied.

    References
    ----------
    .. [1] R. J. Barnes, M. S. Dhanoa and S. J. Lister, "Standard normal variate
       transformation and de-trending of near-infrared diffuse reflectance spectra",
       Applied Spectroscopy 43, 772-777, 1989. doi:10.1366/0003702894202201
    .. [2] R. N. Clark and T. L. Roush, "Reflectance spectroscopy: quantitative
       analysis techniques for remote sensing applications", JGR 89, 6329-6340,
       1984. doi:10.1029/JB089iB07p06329

    Examples
    --------
    >>> features("l2", np.array([[3, 30], [4, 40]])).tolist()
    [[0.6000000238418579, 0.6000000238418579], [0.800000011920929, 0.800000011920929]]
    """
    if name == "none":
        return np.asarray(spectra, np.float32)
    bands = len(spectra)
    found = np.empty((feature_count(name, bands), spectra[0].size), np.float32)
    values = found[:bands]
    values[:] = spectra.reshape(bands, -1)
    brightness = brightness_feature(name, bands)
    if brightness is not None:
        found[brightness] = np.log(np.maximum(_brightness(values), BRIGHTNESS_FLOOR))
    _CHANGES[name.removesuffix(BRIGHTNESS)](values, np.asarray(wavelengths_nm, np.float64))
    return found.reshape(len(found), *spectra.shape[1:])


def illuminated(
    name: str, spectra: NDArray[Any], wavelengths_nm: NDArray[np.float64]
) -> NDArray[Any]:
    """Make the same :func:`features`, but leave spectra in their type where nothing is done.

    Sums over integers are then those of the values as stored, and nothing is copied.
    """
    return spectra if name == "none" else features(name, spectra, wavelengths_nm)


def feature_count(name: str, bands: int) -> int:
    """Count the features that :func:`features` makes of a number of good bands.

    Examples
    --------
    >>> feature_count("snv", 100), feature_count("snv+brightness", 100)
    (100, 101)
    """
    return bands + (brightness_feature(name, bands) is not None)


def brightness_feature(name: str, bands: int) -> int | None:
    """Give the number of the feature that holds the logarithm of the brightness, if one does.

    A gain g adds log g to this feature and leaves the others alone; a name without
    it ignores gains, or is ``none``, whose features are multiplied by g.

    Examples
    --------
    >>> brightness_feature("l2+brightness", 100)
    100
    """
    return bands if name.endswith(BRIGHTNESS) else None


def _snv(values: Features, wavelengths_nm: NDArray[np.float64]) -> None:
    """Change spectra (band, pixel) to their standard normal variates, in place."""
    _standardise(values)


def _l2(values: Features, wavelengths_nm: NDArray[np.float64]) -> None:
    """Change spectra (band, pixel) to unit length, in place."""
    _normalise(values)


def _continuum(values: Features, wavelengths_nm: NDArray[np.float64]) -> None:
    """Divide spectra (band, pixel) by their upper convex hulls, in place."""
    place = wavelengths_nm if len(wavelengths_nm) else np.arange(len(values), dtype=np.float64)
    order = np.argsort(place, kind="stable")
    _divide_by_hulls(values, order, place[order])


_CHANGES: Mapping[str, Callable[[Features, NDArray[np.float64]], None]] = MappingProxyType(
    {"snv": _snv, "l2": _l2, "continuum": _continuum}
)


@compiled(error_model="numpy")
def _brightness(values: Features) -> NDArray[np.float64]:
    """Mean over the bands of absolute values (band, pixel), (pixel,)."""
    bands, pixels = values.shape
    total = np.zeros(pixels, np.float64)
    for b in range(bands):
        for p in range(pixels):
            total[p] += abs(values[b, p])
    total /= bands
    return total


@compiled(error_model="numpy")
def _standardise(values: Features) -> None:
    """Standardise every spectrum (band, pixel) over its bands.

    Sums are those of steps from the first band: all zero for a constant spectrum,
    and so small else that their squares do not cancel.
    """
    bands, pixels = values.shape
    mean, scale = np.empty(BLOCK_PX, np.float64), np.empty(BLOCK_PX, np.float64)
    for first in range(0, pixels, BLOCK_PX):
        block = values[:, first : first + BLOCK_PX]
        size = block.shape[1]
        start = block[0].astype(np.float64)
        mean[:] = 0.0
        scale[:] = 0.0
        for b in range(1, bands):
            for p in range(size):
                step = block[b, p] - start[p]
                mean[p] += step
                scale[p] += step * step
        for p in range(size):
            mean[p] /= bands
            variance = scale[p] / bands - mean[p] * mean[p]
            scale[p] = 1.0 / np.sqrt(variance) if variance > 0.0 else 0.0
            mean[p] += start[p]
        for b in range(bands):
            for p in range(size):
                block[b, p] = (block[b, p] - mean[p]) * scale[p]


@compiled(error_model="numpy")
def _normalise(values: Features) -> None:
    """Divide every spectrum (band, pixel) by its length."""
    bands, pixels = values.shape
    scale = np.empty(BLOCK_PX, np.float64)
    for first in range(0, pixels, BLOCK_PX):
        block = values[:, first : first + BLOCK_PX]
        size = block.shape[1]
        scale[:] = 0.0
        for b in range(bands):
            for p in range(size):
                value = np.float64(block[b, p])
                scale[p] += value * value
        for p in range(size):
            scale[p] = 1.0 / np.sqrt(scale[p]) if scale[p] > 0.0 else 0.0
        for b in range(bands):
            for p in range(size):
                block[b, p] = block[b, p] * scale[p]


@compiled(error_model="numpy")
def _divide_by_hulls(values: Features, order: NDArray[np.intp], place: NDArray[np.float64]) -> None:
    """Divide every spectrum (band, pixel) by its hull; ``place`` are the sorted wavelengths."""
    bands, pixels = values.shape
    turned = np.empty((HULL_BLOCK_PX, bands), np.float64)
    ratio = np.empty((HULL_BLOCK_PX, bands), np.float32)
    corner = np.empty(bands, np.intp)
    for first in range(0, pixels, HULL_BLOCK_PX):
        size = min(HULL_BLOCK_PX, pixels - first)
        for i in range(bands):
            band = order[i]
            for p in range(size):
                turned[p, i] = max(values[band, first + p], 0.0)
        for p in range(size):
            corners = _find_corners(turned[p], place, corner)
            _divide_by_hull(turned[p], place, corner[:corners], ratio[p])
        for i in range(bands):
            band = order[i]
            for p in range(size):
                values[band, first + p] = ratio[p, i]


@compiled(error_model="numpy")
def _find_corners(
    spectrum: NDArray[np.float64], place: NDArray[np.float64], corner: NDArray[np.intp]
) -> int:
    """Find the corners of the upper hull from left to right; of equal places the highest.

    References
    ----------
    .. [1] A. M. Andrew, "Another efficient algorithm for convex hulls in two
       dimensions", Information Processing Letters 9, 216-219, 1979.
       doi:10.1016/0020-0190(79)90072-3
    """
    count = 0
    for i in range(len(place)):
        if count > 0 and place[corner[count - 1]] == place[i]:
            if spectrum[i] <= spectrum[corner[count - 1]]:
                continue
            count -= 1
        while count > 1:
            a, b = corner[count - 2], corner[count - 1]
            rise = (place[b] - place[a]) * (spectrum[i] - spectrum[a])
            if rise < (spectrum[b] - spectrum[a]) * (place[i] - place[a]):
                break
            count -= 1
        corner[count] = i
        count += 1
    return count


@compiled(error_model="numpy")
def _divide_by_hull(
    spectrum: NDArray[np.float64],
    place: NDArray[np.float64],
    corner: NDArray[np.intp],
    ratio: Features,
) -> None:
    """Divide a spectrum by the lines between its corners; 1 where they are at zero."""
    i, last = 0, len(corner) - 1
    for k in range(len(corner)):
        a, b = corner[k], corner[min(k + 1, last)]
        end = place[b] if k < last else np.inf
        slope = (spectrum[b] - spectrum[a]) / (place[b] - place[a]) if k < last else 0.0
        while i < len(place) and place[i] < end:
            hull = spectrum[a] + slope * (place[i] - place[a])
            ratio[i] = spectrum[i] / hull if hull > 0.0 else 1.0
            i += 1
