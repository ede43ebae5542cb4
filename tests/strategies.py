"""Generated shapes, grids, windows and masks, and sources made of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from hsistream.readers.cube_source import CubeSource
from hsistream.scene.source import FrameHeader
from hsistream.tiles import TileGrid, Window

Shape = tuple[int, int]


def words() -> st.SearchStrategy[str]:
    """Short texts of the characters that file formats stumble over."""
    return st.text(" aB.=\"'\\\n\t\x1f\x7fé{}[]#", max_size=8)


def shapes(largest: int = 40) -> st.SearchStrategy[Shape]:
    return st.tuples(st.integers(1, largest), st.integers(1, largest))


def grids(largest: int = 40) -> st.SearchStrategy[TileGrid]:
    return st.builds(TileGrid, shapes(largest), st.integers(1, largest + 5), st.integers(0, 6))


def spans(extent: int) -> st.SearchStrategy[slice]:
    """Slices of at least one pixel of an axis."""
    edges = st.tuples(st.integers(0, extent - 1), st.integers(1, extent))
    return edges.map(lambda pair: slice(min(pair[0], pair[1] - 1), max(pair[0] + 1, pair[1])))


def windows(shape: Shape) -> st.SearchStrategy[Window]:
    return st.tuples(spans(shape[0]), spans(shape[1]))


def framed_windows(largest: int = 40) -> st.SearchStrategy[tuple[Shape, Window]]:
    """A frame's shape and a window of it."""
    return shapes(largest).flatmap(lambda shape: st.tuples(st.just(shape), windows(shape)))


def masks(shape: Shape) -> st.SearchStrategy[NDArray[np.bool_]]:
    return npst.arrays(np.bool_, shape, elements=st.booleans())


def bad_bands(bands: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Some bands, but not all."""
    chosen = st.sets(st.integers(0, bands - 1), max_size=bands - 1)
    return chosen.map(lambda found: tuple(sorted(found)))


def whole(shape: Shape) -> Window:
    """The window of a whole frame."""
    return slice(0, shape[0]), slice(0, shape[1])


def array_source(
    values: NDArray[Any],
    name: str = "a",
    *,
    mask: NDArray[np.bool_] | None = None,
    **facts: Any,
) -> CubeSource:
    """A source of values (band, y, x); ``facts`` are further fields of its header."""
    bands, height, width = values.shape
    header = FrameHeader(name, (height, width), bands, values.dtype, **facts)
    return CubeSource(header, Path(name), values, "byx", mask)
