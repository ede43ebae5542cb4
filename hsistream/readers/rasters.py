"""Rasters that GDAL reads: GeoTIFF, and ENVI with its header.

A data set is opened for each read and closed again: a handle of GDAL belongs
to one thread, and a source must be free to travel.
"""

from __future__ import annotations

import gzip
import logging
import re
import shutil
import warnings
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterWindow

from hsistream.errors import SceneError
from hsistream.georeference import Georeference
from hsistream.readers.cube_source import native
from hsistream.readers.envi_header import (
    TIFF_SUFFIXES,
    EnviHeader,
    find_data,
    find_header,
    read_envi_header,
)
from hsistream.readers.options import ReadOptions
from hsistream.readers.spectral_axis import BandFacts, parse_numbers, spectral_axis
from hsistream.readers.unpacking import readable, temporary_folder
from hsistream.scene.source import FrameHeader, check_type
from hsistream.tiles import Window

log = logging.getLogger(__name__)

GZIP_MAGIC = b"\x1f\x8b"
COMPRESSION_LINE = re.compile(r"^\s*file compression\s*=.*$", re.IGNORECASE | re.MULTILINE)
ENVI_DRIVER = "ENVI"
TIFF_DRIVER = "GTiff"

UNIT_NAMES = r"nanomet(?:er|re)s?|micromet(?:er|re)s?|microns?|nm|um|µm|μm"
IN_DESCRIPTION = re.compile(rf"(\d+(?:\.\d+)?)\s*({UNIT_NAMES})\b", re.IGNORECASE)
"""A wavelength with its unit in the description of a band, as ENVI exports it."""

FACT_TAGS = ("wavelength", "wavelengths", "fwhm", "bbl", "wavelength_units")
NOISE_TAGS = ("band_", "tifftag_", "area_or_point", "statistics_", "wavelength", "fwhm", "bbl")
"""Beginnings of the names of tags that are said elsewhere, and are not kept as text."""


@dataclass(frozen=True, eq=False)
class RasterSource:
    """One frame that GDAL reads.

    Parameters
    ----------
    header : FrameHeader
        Its description.
    path : Path
        Its data file.
    driver : str
        GDAL's name of the format; no other is tried.
    has_mask : bool
        Whether the file carries a mask of its own, beside a no-data value.
    packed : EnviHeader, optional
        The header of an ENVI body that is compressed.
    """

    header: FrameHeader
    path: Path
    driver: str
    has_mask: bool = False
    packed: EnviHeader | None = None

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window, (band, y, x), in the file's own type."""
        with opened(self._data, self.driver) as dataset:
            return native(dataset.read(window=RasterWindow.from_slices(*window)))

    def valid(self, window: Window) -> NDArray[np.bool_] | None:
        """Return the file's own mask of a window, (y, x); None without one."""
        if not self.has_mask:
            return None
        with opened(self._data, self.driver) as dataset:
            mask = dataset.read_masks(1, window=RasterWindow.from_slices(*window))
        return np.asarray(mask != 0)

    @cached_property
    def _data(self) -> Path:
        """The file that GDAL opens: a compressed body is first unpacked, as a stream.

        GDAL reads compressed bodies too, but starts from their beginning for
        every window.
        """
        if self.packed is None:
            return self.path
        target = temporary_folder(self) / self.path.name
        header = COMPRESSION_LINE.sub("", self.packed.path.read_text(encoding="latin-1"))
        target.with_name(f"{target.name}.hdr").write_text(header, encoding="latin-1")
        with readable(self.path), gzip.open(self.path) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 2**20)
        found = target.stat().st_size
        if found < self.packed.needed_bytes:
            raise SceneError(_too_short(self.packed, self.path, found))
        return target


def open_tiff(path: Path, options: ReadOptions) -> list[RasterSource]:
    """Open a GeoTIFF; an ENVI header of the same raster beside it is read too.

    Wavelengths, widths and bad bands come from that header, else from the tags
    or descriptions of the bands.

    Parameters
    ----------
    path : Path
        The file.
    options : ReadOptions
        ``wavelength_units``.

    Returns
    -------
    list of RasterSource
        One frame.

    Raises
    ------
    SceneError
        If the file is damaged, or no raster of spectra.
    """
    beside = find_header(path)
    with opened(path, TIFF_DRIVER) as dataset:
        _check_raster(dataset, path)
        pages = len(dataset.subdatasets)
        found = (dataset.height, dataset.width, dataset.count)
    if pages > 1:
        raise SceneError(
            f"A TIFF needs all bands in one image, but {path} has {pages} pages. Save its cube as "
            f"an array, {path.stem}.npy, and name its axes: --axes byx."
        )
    header = None if beside is None else _matching_header(beside, found)
    return [describe_raster(path, TIFF_DRIVER, header, options)]


def open_envi(path: Path, options: ReadOptions) -> list[RasterSource]:
    """Open an ENVI raster by its header or its data file.

    A body that the header calls compressed is unpacked at the first read, as a
    stream, to a temporary file.

    Parameters
    ----------
    path : Path
        The ``.hdr`` file or the data file; the other must lie beside it.
    options : ReadOptions
        ``wavelength_units``.

    Returns
    -------
    list of RasterSource
        One frame.

    Raises
    ------
    SceneError
        If header or data are missing, cut short, or hold class numbers.
    """
    data = data_file(path)
    if data.suffix.lower() in TIFF_SUFFIXES:
        return open_tiff(data, options)
    beside = find_header(data) if path == data else path
    if beside is None:
        raise SceneError(
            f"An ENVI data file needs its header, but there is neither {data.stem}.hdr nor "
            f"{data.name}.hdr beside {data}."
        )
    header = read_envi_header(beside)
    header.check_complete()
    if beside.read_bytes().startswith(BOM_UTF8):
        raise SceneError(
            f"{beside} begins with a byte-order mark, which the library that reads ENVI rasters "
            f"does not know. Save it as UTF-8 without one."
        )
    _check_envi(header, data)
    with opened(data, ENVI_DRIVER) as dataset:
        _check_raster(dataset, data)
    source = describe_raster(data, ENVI_DRIVER, header, options)
    return [replace(source, packed=header if _is_gzip(header, data) else None)]


def data_file(path: Path) -> Path:
    """Give the data file of a raster that is named by its header."""
    return find_data(path) if path.suffix.lower() == ".hdr" else path


@contextmanager
def opened(path: Path, driver: str) -> Iterator[Any]:  # rasterio has no types
    """Open a raster for one read; rasters without a georeference are fine."""
    with readable(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.Env(), rasterio.open(path, driver=driver) as dataset:
            yield dataset


def georeference_of(transform: Any, crs: Any) -> Georeference | None:
    """Describe where a raster lies; None where the file does not say, whatever its system."""
    if transform.is_identity:
        return None
    a, b, c, d, e, f = (float(value) for value in tuple(transform)[:6])
    return Georeference((a, b, c, d, e, f), crs.to_wkt() if crs is not None else "")


def _place(dataset: Any, path: Path) -> Georeference | None:
    """Tell where a raster lies, and say so where points tell it that are no even grid."""
    points, _ = dataset.gcps
    if dataset.transform.is_identity and (points or dataset.rpcs):
        log.warning(
            "%s is placed by ground control points or a camera model, not by an even grid. The "
            "place is left out; to keep it, bring the image to a grid first, with gdalwarp.",
            path,
        )
    return georeference_of(dataset.transform, dataset.crs)


def describe_raster(
    path: Path, driver: str, envi: EnviHeader | None, options: ReadOptions
) -> RasterSource:
    """Describe a raster of any kind without reading its pixels."""
    with opened(path, driver) as dataset:
        facts = _band_facts(envi, dataset)
        axis = spectral_axis(facts, dataset.count, options, str(path))
        beside = envi.no_data if envi else None
        no_data = beside if dataset.nodata is None else dataset.nodata
        if envi is not None and driver == ENVI_DRIVER:
            no_data = envi.no_data_of(dataset.nodata)
        flags = dataset.mask_flag_enums[0]
        header = FrameHeader(
            name=path.stem,
            shape=(dataset.height, dataset.width),
            bands=dataset.count,
            dtype=np.dtype(dataset.dtypes[0]),
            wavelengths_nm=axis.wavelengths_nm,
            fwhm_nm=axis.fwhm_nm,
            good_bands=axis.good_bands,
            no_data=None if no_data is None else float(no_data),
            georeference=_place(dataset, path),
            attributes={
                "file": path.name,
                **_scales(dataset),
                **_text_tags(dataset),
                **(envi.attributes if envi else {}),
            },
        )
        has_mask = MaskFlags.per_dataset in flags and MaskFlags.nodata not in flags
        return RasterSource(header, path, driver, has_mask)


def _scales(dataset: Any) -> dict[str, str]:
    """Tell how values become units, where they do; they are kept as stored."""
    found = {"scale_factor": (dataset.scales, 1.0), "add_offset": (dataset.offsets, 0.0)}
    return {
        name: " ".join(map(str, dict.fromkeys(values)))
        for name, (values, usual) in found.items()
        if any(value != usual for value in values)
    }


def _band_facts(envi: EnviHeader | None, dataset: Any) -> Iterator[BandFacts]:
    """Yield what a header says of the bands, and GDAL's tags of what it does not mention.

    GDAL cuts lists to the number of bands: they would be of other bands.
    """
    if envi is None:
        yield from _tagged(dataset)
        return
    yield envi.band_facts
    known = envi.band_facts
    for each in _tagged(dataset):
        yield replace(
            each,
            wavelengths=() if known.wavelengths else each.wavelengths,
            fwhm=() if known.fwhm else each.fwhm,
            quality=() if known.quality else each.quality,
        )


def _check_raster(dataset: Any, path: Path) -> None:
    """Refuse rasters of class numbers and of types that are no spectra."""
    if len(set(dataset.dtypes)) > 1:
        raise SceneError(
            f"All bands of a frame share one type, but those of {path} are "
            f"{', '.join(sorted(set(dataset.dtypes)))}. Convert them to one."
        )
    check_type(np.dtype(dataset.dtypes[0].replace("complex_int16", "complex64")), str(path))
    if dataset.count == 1 and dataset.colorinterp[0] == ColorInterp.palette:
        raise SceneError(label_map_message(path))


def label_map_message(path: Path) -> str:
    """Say that a file holds classes instead of spectra, and what would help."""
    return (
        f"Spectra are needed, but {path} holds class numbers with a colour table: a label map. "
        f"Ingest the file of the cube, and give this one to evaluate --truth."
    )


def _check_envi(header: EnviHeader, data: Path) -> None:
    """Refuse class numbers, and a data file that is shorter than its header says."""
    if header.is_classification:
        raise SceneError(label_map_message(data))
    found = data.stat().st_size
    if not _is_gzip(header, data) and found < header.needed_bytes:
        raise SceneError(_too_short(header, data, found))


def _too_short(header: EnviHeader, data: Path, found: int) -> str:
    """Compare the size of a data file with what its header says."""
    rows, columns = header.shape
    return (
        f"The header {header.path} describes {rows} x {columns} px and {header.bands} bands, which "
        f"need {header.needed_bytes} bytes, but {data} has {found}. It is cut short, or the header "
        f"belongs to another file."
    )


def _is_gzip(header: EnviHeader, data: Path) -> bool:
    """Tell whether a body is compressed: the header says so, and the bytes too."""
    if not header.is_compressed:
        return False
    with data.open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _matching_header(path: Path, found: tuple[int, int, int]) -> EnviHeader | None:
    """Read a header beside a TIFF, if it describes a raster of that size."""
    try:
        header = read_envi_header(path)
        said = (*header.shape, header.bands)
    except SceneError as error:
        log.warning("%s is ignored: %s", path, error)
        return None
    if said != found:
        log.warning("%s is ignored: it describes %s, but the raster is %s.", path, said, found)
        return None
    return header


def _tagged(dataset: Any) -> Iterator[BandFacts]:
    """Read what GDAL's metadata say of the bands, the more exact places first."""
    bands = [
        {name.lower(): text for name, text in dataset.tags(band).items()}
        for band in range(1, dataset.count + 1)
    ]
    yield _facts({name: ",".join(tags.get(name, "?") for tags in bands) for name in FACT_TAGS})
    imagery = [dataset.tags(band, ns="IMAGERY") for band in range(1, dataset.count + 1)]
    yield BandFacts(
        parse_numbers(",".join(tags.get("CENTRAL_WAVELENGTH_UM", "?") for tags in imagery)),
        parse_numbers(",".join(tags.get("FWHM_UM", "?") for tags in imagery)),
        units="um",
    )
    for tags in (dataset.tags(ns="ENVI"), dataset.tags()):
        yield _facts({name.lower().replace(" ", "_"): text for name, text in tags.items()})
    found = [IN_DESCRIPTION.search(text or "") for text in dataset.descriptions]
    if found and all(found):
        values = tuple(float(match[1]) for match in found if match)
        yield BandFacts(values, units=str(found[0][2]) if found[0] else "")


def _facts(tags: Mapping[str, str]) -> BandFacts:
    """Read lists of numbers from tags; a list with a hole is none."""
    wavelengths = tags.get("wavelength") or tags.get("wavelengths") or ""
    return BandFacts(
        parse_numbers(wavelengths),
        parse_numbers(tags.get("fwhm", "")),
        parse_numbers(tags.get("bbl", "")),
        units=tags.get("wavelength_units", "").split(",")[0].strip("?"),
    )


def _text_tags(dataset: Any) -> dict[str, str]:
    """Keep the tags of a file that are not said elsewhere."""
    return {
        name: str(text)
        for name, text in dataset.tags().items()
        if not name.lower().startswith(NOISE_TAGS)
    }
