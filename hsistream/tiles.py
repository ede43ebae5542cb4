"""Tile geometry: integers and slices only.

A tile is a *core* that it owns and a *halo* that it may read. Cores partition
a frame; a task writes only its core. Nothing here touches a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hsistream.errors import TileError

Window = tuple[slice, slice]
"""A rectangle of a frame: slices along (y, x), in pixels, with start and stop set."""


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One unit of work: the pixels it owns and the pixels it reads.

    Tiles sort by frame, then row, then column; partial results are added up
    in this order, so that a sum of floats has one value.
    """

    frame: int
    row: int
    column: int
    core: Window
    halo: int = 0

    @property
    def key(self) -> str:
        """A file-name-safe address, unique in a scene."""
        return f"{self.frame}-{self.row}-{self.column}"

    @property
    def pixels(self) -> int:
        """Number of pixels of the core."""
        return area(self.core)

    def window(self, shape: tuple[int, int]) -> Window:
        """Core and halo, cut at the edges of a frame of ``shape``."""
        return grow(self.core, self.halo, shape)


@dataclass(frozen=True, slots=True)
class TileGrid:
    """A partition of one frame into square tiles, anchored at pixel (0, 0).

    Tiles of the last row and column are smaller. A grid stores no tiles.

    Examples
    --------
    >>> grid = TileGrid(shape=(100, 70), tile=64)
    >>> len(grid)
    4
    >>> grid[1, 1].core
    (slice(64, 100, None), slice(64, 70, None))
    """

    shape: tuple[int, int]
    tile: int
    halo: int = 0
    frame: int = 0

    def __post_init__(self) -> None:
        if self.tile < 1 or self.halo < 0 or min(self.shape) < 1:
            raise TileError(
                f"A grid needs a tile of at least 1 px, a halo of at least 0 px and a frame of at "
                f"least 1 x 1 px; found tile {self.tile}, halo {self.halo}, frame {self.shape}."
            )

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.shape[0] // self.tile)

    @property
    def columns(self) -> int:
        """Number of columns of tiles."""
        return -(-self.shape[1] // self.tile)

    def __len__(self) -> int:
        return self.rows * self.columns

    def __getitem__(self, index: tuple[int, int]) -> Tile:
        row, column = index
        if not (0 <= row < self.rows and 0 <= column < self.columns):
            raise IndexError(f"tile {index} of a grid of {self.rows} x {self.columns} tiles")
        core = (
            _span(row, self.tile, self.shape[0]),
            _span(column, self.tile, self.shape[1]),
        )
        return Tile(self.frame, row, column, core, self.halo)

    def __iter__(self) -> Iterator[Tile]:
        return (self[row, column] for row in range(self.rows) for column in range(self.columns))


def area(window: Window) -> int:
    """Count the pixels of a window."""
    rows, columns = window
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def size(window: Window) -> tuple[int, int]:
    """Return the (y, x) size of a window."""
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def grow(window: Window, margin: int, shape: tuple[int, int]) -> Window:
    """Widen a window by ``margin`` px on each side, cut at the edges of a frame."""
    rows, columns = window
    return (
        slice(max(0, rows.start - margin), min(shape[0], rows.stop + margin)),
        slice(max(0, columns.start - margin), min(shape[1], columns.stop + margin)),
    )


def within(inner: Window, outer: Window) -> Window:
    """Give the place of ``inner`` in an array that holds ``outer``.

    Examples
    --------
    >>> within((slice(4, 8), slice(0, 3)), (slice(2, 10), slice(0, 5)))
    (slice(2, 6, None), slice(0, 3, None))
    """
    return (
        slice(inner[0].start - outer[0].start, inner[0].stop - outer[0].start),
        slice(inner[1].start - outer[1].start, inner[1].stop - outer[1].start),
    )


def overlap(first: Window, second: Window) -> Window | None:
    """Intersect two windows.

    Parameters
    ----------
    first, second : Window
        Windows of one frame.

    Returns
    -------
    Window or None
        What both hold; None where they do not meet.

    Examples
    --------
    >>> overlap((slice(0, 5), slice(0, 5)), (slice(3, 9), slice(1, 2)))
    (slice(3, 5, None), slice(1, 2, None))
    """
    rows = slice(max(first[0].start, second[0].start), min(first[0].stop, second[0].stop))
    columns = slice(max(first[1].start, second[1].start), min(first[1].stop, second[1].stop))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    return rows, columns


def strips(window: Window, height: int) -> Iterator[Window]:
    """Cut a window into full-width strips whose inner edges are multiples of ``height``.

    The edges are anchored at row 0 of the frame, so that a strip of chunk
    height never cuts a chunk in two.
    """
    rows, columns = window
    start = rows.start
    while start < rows.stop:
        stop = min(rows.stop, (start // height + 1) * height)
        yield slice(start, stop), columns
        start = stop


def _span(index: int, tile: int, extent: int) -> slice:
    """Slice number ``index`` of an axis cut into pieces of ``tile``."""
    return slice(index * tile, min((index + 1) * tile, extent))
