"""Pictures inside a page: arrays to data URIs, small enough for many frames."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.report.palette import scale_colours
from hsistream.report.quicklook import SHOWN_STEPS, confidence_levels, label_image
from hsistream.runs import NO_LABEL

JPEG_QUALITY = 84
TRANSPARENT = 255
"""Palette entry that stands for no data."""


def photograph(image: NDArray[np.uint8]) -> str:
    """Embed a picture with smooth colours, (y, x, 3) uint8, as JPEG."""
    from PIL import Image

    return _uri(Image.fromarray(image), "jpeg", quality=JPEG_QUALITY)


def label_map(labels: NDArray[np.uint16], colours: NDArray[np.uint8]) -> str:
    """Embed a label map, (y, x) uint16, as PNG: exact colours, transparent where there is no data.

    Up to 255 labels cost one byte a pixel before compression.
    """
    from PIL import Image

    if len(colours) > TRANSPARENT:
        return _uri(Image.fromarray(label_image(labels, colours)), "png", optimize=True)
    indices = np.where(labels == NO_LABEL, TRANSPARENT, labels).astype(np.uint8)
    return _indexed(indices, colours)


def sparse_map(labels: NDArray[np.uint16], colours: NDArray[np.uint8]) -> str:
    """Embed a map as :func:`label_map` does, counting only the labels that are on it."""
    found = np.unique(labels[labels != NO_LABEL])
    numbers = np.searchsorted(found, labels).astype(np.uint16)
    return label_map(np.where(labels == NO_LABEL, NO_LABEL, numbers), colours[found])


def confidence_map(confidence: NDArray[np.floating[Any]]) -> str:
    """Embed a map of confidence, (y, x) from 0 to 1, as PNG; transparent where it is NaN."""
    levels = confidence_levels(confidence)
    indices = np.where(levels == SHOWN_STEPS, TRANSPARENT, levels)
    return _indexed(indices, scale_colours(SHOWN_STEPS))


def _indexed(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> str:
    """Embed an image of palette entries."""
    from PIL import Image

    entries = np.zeros((256, 3), np.uint8)
    entries[: len(colours)] = colours
    image = Image.fromarray(indices)
    image.putpalette(entries.tobytes())
    return _uri(image, "png", optimize=True, transparency=TRANSPARENT)


def _uri(image: Any, kind: str, **options: Any) -> str:
    """Encode an image as a data URI."""
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
