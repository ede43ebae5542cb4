"""Superpixels, small connected parts of an image: ways to cut one, one line each.

Strings, so that the table costs nothing; a segmenter is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

SEGMENTERS: Mapping[str, str] = MappingProxyType(
    {
        "ers": "hsistream.superpixels.ers:entropy_rate",
        "slic": "hsistream.superpixels.slic:slic",
    }
)
"""Name of a segmenter to the module and function that is one."""


class Segmenter(Protocol):
    """Cuts an image into superpixels."""

    def __call__(
        self, image: NDArray[np.uint8], count: int, *, valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        """Cut an 8-bit image (channel, y, x) into about ``count`` superpixels.

        Parameters
        ----------
        image : (channel, y, x) uint8
            The base image, as ``eight_bit`` makes it.
        count : int
            Superpixels wanted, from 1.
        valid : (y, x) bool, optional
            False where there is no data.

        Returns
        -------
        (y, x) int32
            Number of the superpixel, from 0 in the order of their first pixels
            in rows; -1 where there is no data.
        """


def load_segmenter(name: str) -> Segmenter:
    """Import a segmenter by its name, a key of ``SEGMENTERS``."""
    module, function = SEGMENTERS[name].split(":")
    return cast("Segmenter", getattr(import_module(module), function))
