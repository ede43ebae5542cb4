"""Label maps for other programs: Cloud-Optimised GeoTIFF."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.shutil import copy as convert
from rasterio.transform import Affine
from rasterio.windows import Window as FileWindow

from hsistream.errors import ResourceError, StoreError
from hsistream.files import replacing
from hsistream.georeference import Georeference
from hsistream.runs import NO_LABEL
from hsistream.tiles import TileGrid, Window

BLOCK_PX = 512
"""Tiles inside the file."""
READ_PX = 4 * BLOCK_PX
"""Windows that are read at a time."""
FULL_BYTES = 2**20
"""A disk on which less is free is taken for full: GDAL does not say why it cannot write."""
WRITER = {"TIFFTAG_SOFTWARE": "hsistream"}
"""The tag by which an own map is known, which may be replaced."""
COPY_OPTIONS = {
    "driver": "COG",
    "compress": "deflate",
    "blocksize": BLOCK_PX,
    "overview_resampling": "mode",
    "bigtiff": "if_safer",
}
"""How GDAL makes the cloud-optimised copy."""


def write_geotiff(
    path: Path,
    frame_name: str,
    shape: tuple[int, int],
    georeference: Georeference | None,
    read: Callable[[Window], NDArray[np.uint16]],
    *,
    palette: NDArray[np.uint8],
    names: Sequence[str] = (),
) -> None:
    """Write the labels of one frame as a Cloud-Optimised GeoTIFF.

    The file has one band of type uint16, with 65535 as its no-data value, a
    colour table, overviews that hold the most frequent label, and the names of
    classes as the tags ``CLASS_0``, ``CLASS_1`` and so on of its band.

    Parameters
    ----------
    path : Path
        The file to write; what is there is replaced once the file is whole.
    frame_name : str
        Name of the frame, kept as the description of the band.
    shape : (int, int)
        Size (y, x) of the frame, px.
    georeference : Georeference or None
        Where the frame lies.
    read : callable
        Gives the labels of a window, (y, x) uint16.
    palette : (label, 3) uint8
        Colour of each label.
    names : sequence of str
        Name of each label, where labels are classes.

    Raises
    ------
    StoreError
        If the file cannot be written.

    Notes
    -----
    Memory is that of one window of 2048 x 2048 px. While it works, two files
    with the names of ``path`` and a leading dot lie beside it.
    """
    plain = path.with_name(f".{path.name}.plain")
    with replacing(path) as whole, _translated(path):
        try:
            with rasterio.open(plain, "w", **_profile(shape, georeference)) as file:
                file.update_tags(1, **{f"CLASS_{label}": name for label, name in enumerate(names)})
                _fill(file, read, frame_name, palette)
            convert(plain, whole, **COPY_OPTIONS)
        finally:
            plain.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Refuse to write where a file lies that is no exported map: a frame has the name of its image.

    Raises
    ------
    StoreError
        If there is one.
    """
    if path.exists() and not _is_own(path):
        raise StoreError(
            f"A place for a map is needed, but {path} is a file that was not exported. Choose "
            f"another folder, or move the file away."
        )


def _is_own(path: Path) -> bool:
    """Tell whether a file is an exported map."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as file:
                return bool(WRITER.items() <= file.tags().items())
        except (RasterioError, CPLE_BaseError):
            return False


def _fill(
    file: Any,
    read: Callable[[Window], NDArray[np.uint16]],
    frame_name: str,
    palette: NDArray[np.uint8],
) -> None:
    """Write an open file window by window."""
    file.update_tags(**WRITER)
    file.set_band_description(1, frame_name)
    file.write_colormap(1, {label: tuple(rgb) for label, rgb in enumerate(palette.tolist())})
    for tile in TileGrid(file.shape, READ_PX):
        file.write(read(tile.core), 1, window=FileWindow.from_slices(*tile.core))


def _profile(shape: tuple[int, int], georeference: Georeference | None) -> dict[str, Any]:
    """Describe the file to rasterio."""
    profile: dict[str, Any] = {
        "driver": "GTiff", "dtype": "uint16", "count": 1, "height": shape[0], "width": shape[1],
        "nodata": NO_LABEL, "tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX,
        "compress": "deflate", "predictor": 1, "bigtiff": "if_safer", "photometric": "palette",
    }  # fmt: skip
    if georeference is not None:
        profile["transform"] = Affine(*georeference.transform)
        profile["crs"] = georeference.crs_wkt or None
    return profile


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn errors of rasterio into ours, and accept frames without a georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            yield
        except (RasterioError, CPLE_BaseError) as error:  # the second is not one of the first
            if shutil.disk_usage(path.parent).free < FULL_BYTES:
                raise ResourceError(
                    f"The disk that holds {path} is full. Free some space and repeat the command."
                ) from error
            raise StoreError(
                f"{path} cannot be written: {error}. Check that the folder may be written to."
            ) from error
