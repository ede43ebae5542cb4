"""A scene: frames that share their bands, as an address and a layout.

A scene store is a zarr v3 group, ``<uri>/<frame>/spectra`` (band, y, x) beside
``valid`` (y, x), with what must be known without reading pixels in the
attributes of the root.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import DamagedError, HsistreamError, SceneError, StoreError
from hsistream.files import local_path
from hsistream.georeference import Georeference
from hsistream.stores import arrays
from hsistream.tiles import Window

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 1
ROOT_KEY = "hsistream"
SPECTRA = "spectra"
VALID = "valid"

REMEDY = "zarr would read them as no data. Restore them, or ingest the scene again."
"""What to do about missing storage files."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One hyperspectral image of a scene: its name, size (y, x) and place.

    ``brightness`` is the mean of the good bands over the valid pixels, in the
    units of the data; it tells frames of differing exposure apart.
    """

    name: str
    shape: tuple[int, int]
    valid_pixels: int
    brightness: float
    georeference: Georeference | None = None


@dataclass(frozen=True)
class Scene:
    """Frames that share their bands: where they are and what they look like.

    A value: pixels are read only when asked for, and a pickled scene is small
    enough to travel with every task.
    """

    uri: str
    identity: str
    frames: tuple[Frame, ...]
    bands: int
    dtype: str
    good_bands: tuple[bool, ...]
    wavelengths_nm: tuple[float, ...]
    fwhm_nm: tuple[float, ...]
    chunk_px: int
    shard_px: int
    no_data: float | None
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, uri: str | PathLike[str]) -> Scene:
        """Read the layout of a scene store.

        Parameters
        ----------
        uri : str or path-like
            Address of a store that ``hsistream ingest`` wrote, on a local disk.

        Returns
        -------
        Scene
            The scene; no pixel has been read.

        Raises
        ------
        SceneError
            If there is no scene store at ``uri``, or it is a remote address.
        DamagedError
            If its attributes cannot be understood.
        """
        # absolute: runs and workers may look at it from another folder
        uri = str(local_path(uri, SceneError).absolute())
        try:
            facts = arrays.open_group(uri).attrs.get(ROOT_KEY)
        except (StoreError, DamagedError) as error:
            raise _unopened(uri) from error
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise SceneError(_not_a_scene(uri))
        try:
            return cls(uri=uri, **_from_json(facts))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(uri) from error

    @cached_property
    def pixels(self) -> int:
        """Number of pixels of all frames."""
        return sum(frame.shape[0] * frame.shape[1] for frame in self.frames)

    @cached_property
    def valid_pixels(self) -> int:
        """Number of pixels with data, of all frames."""
        return sum(frame.valid_pixels for frame in self.frames)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Height and width of the frames, (frame, 2), px."""
        return np.array([frame.shape for frame in self.frames], np.int64)

    @cached_property
    def longest_side(self) -> int:
        """Largest height or width of a frame, px."""
        return max(max(frame.shape) for frame in self.frames)

    @cached_property
    def itemsize(self) -> int:
        """Bytes of one stored value."""
        return np.dtype(self.dtype).itemsize

    def frame_number(self, name: str) -> int:
        """Find a frame by its name.

        Raises
        ------
        SceneError
            If the scene has no frame of that name.
        """
        names = [frame.name for frame in self.frames]
        if name not in names:
            raise SceneError(f"{self.uri} has no frame {name!r}; it has {', '.join(names)}.")
        return names.index(name)

    def read(self, frame: int, window: Window) -> NDArray[Any]:
        """Read all bands of a window as stored, (band, y, x).

        Values of bad bands and of pixels without data are whatever the
        producer wrote, NaN included.
        """
        path = f"{self.frames[frame].name}/{SPECTRA}"
        return arrays.read(self.uri, path, (slice(None), *window))

    def valid(self, frame: int, window: Window) -> NDArray[np.bool_]:
        """Read which pixels of a window have data, (y, x); they are finite in all good bands."""
        return arrays.read(self.uri, f"{self.frames[frame].name}/{VALID}", window)

    def open_frame(self, name: str) -> xr.Dataset:
        """Open a frame lazily in xarray, with its coordinates.

        Raises
        ------
        SceneError
            If the scene has no frame of that name.
        DamagedError
            If the frame lacks a storage file, which zarr would read as fill value.
        """
        self.frame_number(name)
        return arrays.open_frame(self.uri, name, (SPECTRA, VALID), REMEDY)

    def check_complete(self) -> None:
        """Find missing storage files, which zarr would read as fill value.

        Raises
        ------
        DamagedError
            If a frame lacks a part of its spectra or of its mask.
        """
        for frame in self.frames:
            for layer in (SPECTRA, VALID):
                arrays.check_whole(self.uri, f"{frame.name}/{layer}", REMEDY)


def is_scene(path: Path) -> bool:
    """Tell whether a scene store lies at a path, of whatever format."""
    try:
        return ROOT_KEY in arrays.open_group(str(path)).attrs
    except HsistreamError:
        return False


def root_attributes(scene: Scene) -> dict[str, Any]:
    """Write the layout of a scene as the attributes of its root group."""
    facts = asdict(scene)
    del facts["uri"]
    return {ROOT_KEY: {"format": FORMAT, **facts}}


def _from_json(facts: dict[str, Any]) -> dict[str, Any]:
    """Turn root attributes into the fields of a scene."""
    fields = {key: _tuples(value) for key, value in facts.items() if key != "format"}
    fields["frames"] = tuple(_frame_from_json(frame) for frame in facts["frames"])
    return fields


def _frame_from_json(facts: dict[str, Any]) -> Frame:
    """Turn the attributes of one frame into a Frame."""
    place = facts["georeference"]
    georeference = Georeference(tuple(place["transform"]), place["crs_wkt"]) if place else None
    return Frame(**{**facts, "shape": tuple(facts["shape"]), "georeference": georeference})


def _tuples(value: Any) -> Any:
    """Turn JSON lists into tuples."""
    return tuple(value) if isinstance(value, list) else value


def _unopened(uri: str) -> HsistreamError:
    """Say why an address is no zarr store: it never was one, or its header is damaged."""
    try:
        json.loads((Path(uri) / "zarr.json").read_bytes())
    except ValueError:
        return _damaged(uri)
    except OSError:
        pass
    return SceneError(_not_a_scene(uri))


def _damaged(uri: str) -> DamagedError:
    """Say that the header of a store is damaged."""
    return DamagedError(
        f"The attributes of {uri} cannot be understood: zarr.json is damaged. Restore it from a "
        f"copy, or ingest the scene again."
    )


def _not_a_scene(uri: str) -> str:
    """Say why an address cannot be opened as a scene, and what would help."""
    path = Path(uri)
    if path.is_file():
        return (
            f"A scene store is needed, but {uri} is a file. Ingest it first: "
            f"hsistream ingest {uri} {path.with_suffix('.zarr')}"
        )
    if (
        (path / "zarr.json").is_file()
        or (path / ".zgroup").is_file()
        or (path / ".zarray").is_file()
    ):
        return (
            f"{uri} is a zarr store, but not a scene written by hsistream. Ingest it first: "
            f"hsistream ingest {uri} {path.with_suffix('')}-scene.zarr"
        )
    return f"A scene store is needed, but there is none at {uri}. Make one with: hsistream ingest"
