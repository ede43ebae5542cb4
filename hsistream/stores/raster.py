"""Arrays on a scene's grid, written tile by tile.

A raster store mirrors the frames of a scene: ``<uri>/<frame>/<layer>``. One
task owns whole shards: the shard is the tile, so two tasks never write one
file (zarr would lose data silently).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import DamagedError, StoreError, TileError
from hsistream.georeference import Georeference
from hsistream.stores import arrays
from hsistream.tiles import TileGrid, Window, size, strips, within

if TYPE_CHECKING:
    import xarray as xr

CHUNK_PX = 512
"""Largest chunk of a raster store, px per side."""


class GridFrame(Protocol):
    """What a raster store must know of a frame."""

    @property
    def name(self) -> str:
        """Name of the frame."""

    @property
    def shape(self) -> tuple[int, int]:
        """Size (y, x), px."""

    @property
    def georeference(self) -> Georeference | None:
        """Place on the Earth, if known."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One array per frame: its name, type and leading axis; noise is not worth compressing."""

    name: str
    dtype: str
    fill: float
    leading: tuple[str, int] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    compressed: bool = True


@dataclass(frozen=True, slots=True)
class RasterStore:
    """Layers on a scene's grid: read anywhere, written core by core."""

    uri: str

    @classmethod
    def create(
        cls, uri: str, layers: Sequence[Layer], frames: Sequence[GridFrame], tile_px: int
    ) -> RasterStore:
        """Create the store with shards of one tile, replacing what is there."""
        with arrays.translated(uri):
            shutil.rmtree(uri, ignore_errors=True)
            names = [f"{frame.name}/{layer.name}" for frame in frames for layer in layers]
            root = arrays.create_group(uri, {"tile_px": tile_px, "layers": names})
            for frame in frames:
                group = root.create_group(frame.name)
                arrays.write_georeference(group, frame.georeference, frame.shape)
                for layer in layers:
                    _create_layer(group, layer, frame, tile_px)
        return cls(uri)

    def check(self, frame: str, layer: str, grid: TileGrid) -> None:
        """Refuse a grid in which two tiles would write one shard.

        Raises
        ------
        TileError
            If a core edge inside the frame does not lie on a shard edge.
        """
        array = self._array(frame, layer)
        shard = (array.shards or array.chunks)[-1]
        if grid.tile % shard and grid.tile < max(grid.shape):
            raise TileError(
                f"Core edges must lie on shard edges of {self.uri}, but the tile is {grid.tile} px "
                f"and the shard {shard} px, so two tiles would write one shard. Use a tile of "
                f"{-(-grid.tile // shard) * shard} px."
            )

    def write(self, frame: str, layer: str, core: Window, values: NDArray[Any]) -> None:
        """Write one core; ``values`` has the leading axis of the layer, then (y, x)."""
        leading = (slice(None),) * (values.ndim - 2)
        arrays.write(self.uri, f"{frame}/{layer}", (*leading, *core), values)

    def read(self, frame: str, layer: str, window: Window, leading: int = 0) -> NDArray[Any]:
        """Read a window of a layer with ``leading`` axes before (y, x)."""
        return arrays.read(self.uri, f"{frame}/{layer}", ((slice(None),) * leading + window))

    def read_strips(
        self, frame: str, layer: str, window: Window, leading: int = 0
    ) -> Iterator[tuple[Window, NDArray[Any]]]:
        """Read a window in strips one chunk high, and tell where each lies."""
        for strip in strips(window, self._array(frame, layer).chunks[-1]):
            yield strip, self.read(frame, layer, strip, leading)

    def read_floats(
        self, frame: str, layer: str, window: Window, leading: int = 0
    ) -> NDArray[np.float32]:
        """Read a window as float32, strip by strip: it is never in memory twice."""
        leads = self._array(frame, layer).shape[:leading]
        found = np.empty((*leads, *size(window)), np.float32)
        for strip, values in self.read_strips(frame, layer, window, leading):
            found[..., *within(strip, window)] = values
        return found

    def check_complete(self, frames: Iterable[GridFrame], layer: str) -> None:
        """Find missing storage files, which zarr would read as no data.

        Raises
        ------
        DamagedError
            If a frame lacks a part of the layer.
        """
        for frame in frames:
            arrays.check_whole(self.uri, f"{frame.name}/{layer}", self._remedy)

    @property
    def complete(self) -> bool:
        """Whether every storage file of every layer is there."""
        if not self.exists:
            return False
        try:
            with arrays.translated(self.uri):
                root, layers = arrays.open_group(self.uri), self.layers
                for frame in {layer.partition("/")[0] for layer in layers}:
                    root[frame]  # with its header
                return not any(arrays.missing_shards(self.uri, layer) for layer in layers)
        except (DamagedError, StoreError):
            return False

    @property
    def exists(self) -> bool:
        """Whether the store has been created."""
        return (Path(self.uri) / "zarr.json").is_file()

    @property
    def layers(self) -> tuple[str, ...]:
        """Name the layers that the store was created with, ``<frame>/<layer>``."""
        with arrays.translated(self.uri):
            root = arrays.open_group(self.uri)
            return tuple(cast("list[str]", root.attrs["layers"]))

    def open(self, layer: str, frame: str | None = None) -> xr.DataArray:
        """Open a layer of a frame lazily in xarray; the only frame needs no name.

        Raises
        ------
        StoreError
            If the store was created without such a frame or layer.
        DamagedError
            If it is not there any more, or the layer lacks a part.
        """
        if not self.exists:
            raise DamagedError(
                f"{layer} are needed, but {self.uri}, which held them, is damaged or gone. "
                f"{self._remedy}"
            )
        layers = self.layers
        frames = sorted({each.partition("/")[0] for each in layers})
        name = frames[0] if frame is None and len(frames) == 1 else frame
        if name not in frames:
            raise StoreError(
                f"The name of a frame is needed to open {layer}, but {frame!r} is none. "
                f"{self.uri} has {', '.join(frames)}."
            )
        if f"{name}/{layer}" not in layers:
            held = ", ".join(
                each.partition("/")[2] for each in layers if each.startswith(f"{name}/")
            )
            raise StoreError(
                f"{layer} of frame {name!r} are needed, but {self.uri} has none; it has {held}."
            )
        return arrays.open_frame(self.uri, name, (layer,), self._remedy)[layer]

    @property
    def _remedy(self) -> str:
        """Say what to do about a damaged store."""
        return f"Delete {self.uri} and repeat the command that made it."

    def _array(self, frame: str, layer: str) -> Any:
        """Open the array of a layer."""
        return arrays.open_group(self.uri)[f"{frame}/{layer}"]


def storage_chunk(tile_px: int) -> int:
    """Choose the chunk that divides a tile and is at most ``CHUNK_PX`` wide.

    Examples
    --------
    >>> [storage_chunk(tile) for tile in (32, 100, 1024, 4096, 1021)]
    [32, 100, 512, 512, 1021]
    """
    for parts in range(-(-tile_px // CHUNK_PX), 17):
        if tile_px % parts == 0:
            return tile_px // parts
    return tile_px


def _create_layer(group: Any, layer: Layer, frame: GridFrame, tile_px: int) -> None:
    """Create one array of one frame."""
    lead_names = [layer.leading[0]] if layer.leading else []
    lead_sizes = (layer.leading[1],) if layer.leading else ()
    chunk = storage_chunk(tile_px)
    attributes = dict(layer.attributes)
    if frame.georeference is not None:
        attributes["grid_mapping"] = arrays.SPATIAL_REF
    arrays.create_array(
        group,
        layer.name,
        shape=(*lead_sizes, *frame.shape),
        dtype=np.dtype(layer.dtype),
        chunks=(*lead_sizes, chunk, chunk),
        shards=(*lead_sizes, tile_px, tile_px),
        dimensions=[*lead_names, "y", "x"],
        fill=layer.fill,
        attributes=attributes,
        compressed=layer.compressed,
    )
