"""Gaussian noise as a function of the place in a frame, and of nothing else.

Every value follows from its row, column and band by a chain of mixing steps, so that
any window is a part of one field, whatever the tiles and their order.

References
----------
.. [1] G. L. Steele et al., "Fast splittable pseudorandom number generators",
   OOPSLA 2014. doi:10.1145/2660193.2660195
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hsistream.compiled import compiled

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
FIRST_SHIFT, SECOND_SHIFT, LAST_SHIFT = np.uint64(30), np.uint64(27), np.uint64(31)
HALF_WORD, LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)
RESOLUTION = 2.0**-32
"""Step between two uniform numbers, which are made of 32 bits each."""


@compiled()
def mix(word: np.uint64) -> np.uint64:
    """Mix the 64 bits of a word: the last step of SplitMix64."""
    word ^= word >> FIRST_SHIFT
    word *= FIRST_FACTOR
    word ^= word >> SECOND_SHIFT
    word *= SECOND_FACTOR
    word ^= word >> LAST_SHIFT
    return word


@compiled()
def absorb(word: np.uint64, value: np.uint64) -> np.uint64:
    """Mix a value into a word."""
    return mix((word ^ value) + GOLDEN)


def field_noise(
    origin: tuple[int, int],
    shape: tuple[int, int],
    bands: int,
    seed: int,
    *,
    stream: int = 0,
    key: int = 0,
) -> NDArray[np.float32]:
    """Draw the standard normal noise of a window of a frame.

    Parameters
    ----------
    origin : (row, column)
        First pixel of the window; places before a frame are negative.
    shape : (y, x)
        Size of the window, px.
    bands : int
        Values of a pixel. Two follow from one draw; of an odd number, the last is dropped.
    seed : int
        Of the field.
    stream : int
        Number of a replica: fields of different streams are independent.
    key : int
        Of the time index: 0 for the field that all indices share, or else ``index + 1``.

    Returns
    -------
    (band, y, x) float32
        The same values wherever windows share pixels, bit for bit.

    Notes
    -----
    About 20 ns for a value. Logarithm, sine and cosine are those of the C library:
    another one may round the last bit otherwise.

    Examples
    --------
    >>> whole = field_noise((-2, 5), (4, 3), 6, seed=7)
    >>> part = field_noise((0, 6), (2, 1), 6, seed=7)
    >>> bool((whole[:, 2:, 1:2] == part).all())
    True
    """
    noise = np.empty((bands, *shape), np.float32)
    _draw(noise, _chained(seed, stream, key), origin[0], origin[1])
    return noise


def field_words(
    place: tuple[int, int], pairs: int, seed: int, *, stream: int = 0, key: int = 0
) -> NDArray[np.uint64]:
    """Give the words (pair,) from which the values of one pixel are made, two from each."""
    return np.asarray(
        [_chained(seed, stream, key, *place, pair) for pair in range(pairs)], np.uint64
    )


def _chained(*values: int) -> np.uint64:
    """Mix several values into one word, in their order."""
    word = np.uint64(0)
    for value in values:
        word = np.uint64(absorb(word, _word(value)))
    return word


def _word(value: int) -> np.uint64:
    """Take a number, negative or not, as 64 bits."""
    return np.uint64(value % 2**64)


@compiled()
def _draw(noise: NDArray[np.float32], start: np.uint64, top: int, left: int) -> None:
    """Draw a window (band, y, x) of the field that begins with a word."""
    bands, height, width = noise.shape
    for row in range(height):
        of_row = absorb(start, np.uint64(np.int64(top + row)))
        for column in range(width):
            of_pixel = absorb(of_row, np.uint64(np.int64(left + column)))
            for band in range(0, bands, 2):
                word = absorb(of_pixel, np.uint64(band // 2))
                high = (float(word >> HALF_WORD) + 0.5) * RESOLUTION
                low = (float(word & LOW_HALF) + 0.5) * RESOLUTION
                length = math.sqrt(-2.0 * math.log(high))
                angle = 2.0 * math.pi * low
                noise[band, row, column] = length * math.cos(angle)
                if band + 1 < bands:
                    noise[band + 1, row, column] = length * math.sin(angle)
