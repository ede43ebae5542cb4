from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import Affine
from scipy import io

from hsistream.errors import ConfigError, SceneError, StoreError
from hsistream.files import partial_of
from hsistream.readers.mosaic import MosaicSource
from hsistream.readers.rasters import RasterSource
from hsistream.readers.sources import ReadOptions, open_sources, read_label_mosaic, read_labels
from hsistream.scene.checks import NAME_BYTES
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.source import Source
from hsistream.scene.synthetic import synthetic_frames

HEIGHT, WIDTH, BANDS = 5, 7, 3
UTM = "EPSG:32633"
PLACE = Affine(10.0, 0.0, 400_000.0, 0.0, -10.0, 5_800_000.0)
WAVELENGTHS = (450.0, 550.0, 650.0)


def make_cube(dtype: str = "int16") -> NDArray[Any]:
    """Distinct values (y, x, band)."""
    return np.arange(1, HEIGHT * WIDTH * BANDS + 1).reshape(HEIGHT, WIDTH, BANDS).astype(dtype)


def whole(source: Source) -> NDArray[Any]:
    """All pixels of a source as (y, x, band)."""
    height, width = source.header.shape
    return source.read((slice(0, height), slice(0, width))).transpose(1, 2, 0)


def only(path: str | Path, options: ReadOptions = ReadOptions()) -> Source:  # noqa: B008
    """The one source of a file, checked against its own windows."""
    sources = open_sources([path], options)
    assert len(sources) == 1
    source, header = sources[0], sources[0].header
    values, window = whole(source), (slice(1, 4), slice(2, 3))
    assert values.shape == (*header.shape, header.bands)
    assert values.dtype == header.dtype
    assert header.dtype.isnative
    np.testing.assert_array_equal(source.read(window).transpose(1, 2, 0), values[window])
    return source


# --- numpy ---------------------------------------------------------------------------------


def test_npz_keeps_mask_wavelengths_and_bad_bands(tmp_path: Path) -> None:
    valid = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3 > 0
    np.savez_compressed(
        tmp_path / "a.npz",
        cube=make_cube(),
        valid=valid,
        wavelength_nm=WAVELENGTHS,
        bbl=[1, 0, 1],
        nodata=np.int16(-5),
        gt=valid.astype("u1"),
    )
    source = only(tmp_path / "a.npz")
    np.testing.assert_array_equal(whole(source), make_cube())
    np.testing.assert_array_equal(source.valid((slice(1, 4), slice(0, 7))), valid[1:4])
    assert source.header.name == "a"
    assert source.header.wavelengths_nm == WAVELENGTHS
    assert source.header.good_bands == (True, False, True)
    assert source.header.no_data == -5


def test_npz_takes_the_only_cube_under_any_name_and_asked_axes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", spectra=make_cube().transpose(2, 0, 1), wavelength_nm=[])
    source = only(tmp_path / "a.npz", ReadOptions(axes="byx"))
    np.testing.assert_array_equal(whole(source), make_cube())
    assert source.header.wavelengths_nm == ()
    assert source.valid((slice(0, 1), slice(0, 1))) is None


def test_npz_unfolds_rows_of_pixels_and_knows_numbers_of_bad_bands(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", flat=make_cube().reshape(-1, BANDS), bad_bands=[2])
    source = only(tmp_path / "a.npz", ReadOptions(key="flat", shape=(HEIGHT, WIDTH)))
    np.testing.assert_array_equal(whole(source), make_cube())
    assert source.header.good_bands == (True, True, False)


def test_npz_takes_a_mask_of_bad_bands(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", cube=make_cube(), bad_bands=np.array([False, True, False]))
    assert only(tmp_path / "a.npz").header.good_bands == (True, False, True)


@pytest.mark.parametrize("bad", [[0, 1, 0], [3], [-1], [0.5], [True, False]])
def test_npz_refuses_bad_bands_that_are_neither_numbers_nor_a_mask(
    tmp_path: Path, bad: list[float]
) -> None:
    np.savez(tmp_path / "a.npz", cube=make_cube(), bad_bands=bad)
    with pytest.raises(SceneError, match="from 0 to 2, or a bool for each of 3 bands"):
        only(tmp_path / "a.npz")


def test_npz_leaves_no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", cube=make_cube())
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    source = only(tmp_path / "a.npz")
    assert list(folder.iterdir())
    del source
    assert not list(folder.iterdir())


@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4", "<f8"])
def test_npy_reads_any_byte_order(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", make_cube(dtype))
    source = only(tmp_path / "a.npy", ReadOptions(axes="yxb"))
    np.testing.assert_array_equal(whole(source), make_cube())


def test_npy_of_one_band_and_of_band_and_pixel(tmp_path: Path) -> None:
    band = make_cube("f4")[..., 0]
    np.save(tmp_path / "band.npy", band)
    np.testing.assert_array_equal(
        whole(only(tmp_path / "band.npy", ReadOptions(axes="yx")))[..., 0], band
    )
    np.save(tmp_path / "flat.npy", make_cube().reshape(-1, BANDS).T)
    flat = only(tmp_path / "flat.npy", ReadOptions(shape=(HEIGHT, WIDTH)))
    np.testing.assert_array_equal(whole(flat), make_cube())


# --- MATLAB --------------------------------------------------------------------------------


def test_mat_takes_the_only_cube(tmp_path: Path) -> None:
    io.savemat(tmp_path / "a.mat", {"data": make_cube(), "map": np.ones((HEIGHT, WIDTH), "u1")})
    np.testing.assert_array_equal(whole(only(tmp_path / "a.mat")), make_cube())


def test_mat_unfolds_columns_of_pixels(tmp_path: Path) -> None:
    flat = make_cube().transpose(2, 0, 1).reshape(BANDS, -1, order="F")
    io.savemat(tmp_path / "sized.mat", {"V": flat, "nRow": HEIGHT, "nCol": WIDTH, "nBand": BANDS})
    io.savemat(tmp_path / "asked.mat", {"Y": flat.T})
    np.testing.assert_array_equal(whole(only(tmp_path / "sized.mat")), make_cube())
    asked = only(tmp_path / "asked.mat", ReadOptions(shape=(HEIGHT, WIDTH)))
    np.testing.assert_array_equal(whole(asked), make_cube())
    with pytest.raises(SceneError, match="no axis is that long"):
        open_sources([tmp_path / "asked.mat"], ReadOptions(shape=(4, 4)))


def write_hdf_mat(path: Path, **arrays: NDArray[Any]) -> Path:
    """Write arrays as MATLAB v7.3 does: the axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values.T).attrs["MATLAB_class"] = np.bytes_("double")
    return path


def test_mat_of_version_73_is_read_as_matlab_shows_it(tmp_path: Path) -> None:
    wavelengths = np.array(WAVELENGTHS)[None]
    path = write_hdf_mat(tmp_path / "a.mat", cube=make_cube("f8"), wavelength=wavelengths)
    source = only(path)
    np.testing.assert_array_equal(whole(source), make_cube())
    assert source.header.wavelengths_nm == WAVELENGTHS
    first = write_hdf_mat(tmp_path / "b.mat", cube=make_cube("f8").transpose(2, 0, 1))
    np.testing.assert_array_equal(whole(only(first, ReadOptions(axes="byx"))), make_cube())


@pytest.mark.parametrize("turned", [False, True])
def test_mat_of_version_73_unfolds_columns_of_pixels(tmp_path: Path, turned: bool) -> None:
    flat = make_cube("f8").transpose(2, 0, 1).reshape(BANDS, -1, order="F")
    path = write_hdf_mat(
        tmp_path / "a.mat",
        V=flat.T if turned else flat,
        nRow=np.full((1, 1), float(HEIGHT)),
        nCol=np.full((1, 1), float(WIDTH)),
    )
    np.testing.assert_array_equal(whole(only(path)), make_cube())


# --- ENVI and GeoTIFF ----------------------------------------------------------------------

ENVI_AXES = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}
ENVI_TYPES = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12, "u4": 13, "i8": 14, "u8": 15}


def write_envi(
    path: Path, interleave: str = "bip", dtype: str = "<i2", extra: str = "", offset: int = 0
) -> Path:
    """Write a cube as ENVI; return the data file."""
    body = np.ascontiguousarray(make_cube(dtype).transpose(ENVI_AXES[interleave])).tobytes()
    packed = gzip.compress(body) if "compression = 1" in extra else body
    path.write_bytes(b"\0" * offset + packed)
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {WIDTH}\nlines = {HEIGHT}\nbands = {BANDS}\nheader offset = {offset}\n"
        f"file type = ENVI Standard\ndata type = {ENVI_TYPES[dtype[1:]]}\n"
        f"interleave = {interleave}\nbyte order = {int(dtype[0] == '>')}\n{extra}\n"
    )
    return path


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4", "<f8", "<u2"])
def test_envi_reads_every_interleave_and_byte_order(
    tmp_path: Path, interleave: str, dtype: str
) -> None:
    path = write_envi(tmp_path / f"a.{interleave}", interleave, dtype, offset=16)
    np.testing.assert_array_equal(whole(only(path)), make_cube())


@pytest.mark.parametrize("name", ["a.img", "a", "a.dat", "a.raw", "a.unusual"])
def test_envi_is_opened_by_header_or_data(tmp_path: Path, name: str) -> None:
    path = write_envi(tmp_path / name)
    header = tmp_path / "a.hdr"
    assert [source.header.name for source in open_sources([path, header])] == ["a"]
    np.testing.assert_array_equal(whole(only(header)), make_cube())


def test_envi_header_describes_bands_and_place(tmp_path: Path) -> None:
    extra = (
        "wavelength units = Unknown\nwavelength = {0.45, 0.55, 0.65}\nfwhm = {0.01, 0.01, 0.02}\n"
        "bbl = {1.0, 0.0, 1.0}\ndata ignore value = 15\nreflectance scale factor = 10000\n"
        "map info = {UTM, 1, 1, 400000, 5800000, 10, 10, 33, North, WGS-84}\n"
    )
    header = only(write_envi(tmp_path / "a.img", extra=extra)).header
    assert header.wavelengths_nm == WAVELENGTHS
    assert header.fwhm_nm == (10.0, 10.0, 20.0)
    assert header.good_bands == (True, False, True)
    assert header.no_data == 15
    assert header.attributes["reflectance scale factor"] == "10000"
    assert header.georeference is not None
    assert header.georeference.transform[::2] == pytest.approx((10.0, 400_000.0, -10.0))


@pytest.mark.parametrize(
    ("text", "value"),
    [("{-9999}", -9999), ("-9999 ; fill", -9999), ("{0}", 0), ("0.0", 0), ("-1e3, 5", -1000)],
)
def test_envi_no_data_is_read_as_it_is_meant(tmp_path: Path, text: str, value: float) -> None:
    """GDAL takes what is in braces for 0, which may be a measurement."""
    path = write_envi(tmp_path / "a.img", extra=f"data ignore value = {text}\n")
    assert only(path).header.no_data == value


@pytest.mark.parametrize("text", ["none", "n/a", "{ }", ""])
def test_envi_no_data_that_is_no_number_marks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = write_envi(tmp_path / "a.img", extra=f"data ignore value = {text}\n")
    assert only(path).header.no_data is None
    assert ("Give it as --no-data" in caplog.text) == (text in ("none", "n/a"))


def test_wavenumbers_become_wavelengths(tmp_path: Path) -> None:
    extra = (
        "wavelength units = Wavenumber\nwavelength = {1250, 1000, 800}\nfwhm = {5.0, 2.0, 1.6}\n"
    )
    header = only(write_envi(tmp_path / "a.img", extra=extra)).header
    assert header.wavelengths_nm == (8000.0, 10000.0, 12500.0)
    assert header.fwhm_nm == (32.0, 20.0, 25.0)


def test_a_list_of_the_wrong_length_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extra = "wavelength units = Nanometers\nwavelength = {450, 550}\n"
    assert only(write_envi(tmp_path / "a.img", extra=extra)).header.wavelengths_nm == ()
    assert caplog.text.count("gives 2 wavelengths for 3 bands") == 1


@pytest.mark.parametrize("interleave", ["bsq", "bip"])
def test_compressed_envi_is_unpacked(tmp_path: Path, interleave: str) -> None:
    path = write_envi(tmp_path / "a.img", interleave, extra="file compression = 1")
    np.testing.assert_array_equal(whole(only(path)), make_cube())


def test_compressed_envi_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_envi(tmp_path / "a.img", extra="file compression = 1")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SceneError, match="damaged"):
        whole(open_sources([path])[0])


def write_tiff(
    path: Path,
    cube: NDArray[Any] | None = None,
    transform: Affine | None = PLACE,
    tags: bool = False,
    **profile: Any,
) -> Path:
    """Write a cube (y, x, band) as GeoTIFF."""
    cube = make_cube() if cube is None else cube
    facts: dict[str, Any] = {
        "driver": "GTiff",
        "height": cube.shape[0],
        "width": cube.shape[1],
        "count": cube.shape[2],
        "dtype": cube.dtype,
        **profile,
    }
    if transform is not None:
        facts |= {"transform": transform, "crs": UTM}
    with rasterio.Env(), rasterio.open(path, "w", **facts) as dataset:
        dataset.write(cube.transpose(2, 0, 1))
        for band in range(1, cube.shape[2] + 1) if tags else ():
            dataset.update_tags(band, wavelength=str(WAVELENGTHS[band - 1] / 1000), bbl=band % 2)
            dataset.update_tags(band, wavelength_units="Micrometers", fwhm="0.01")
    return path


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_tiff_reads_tags_of_bands(tmp_path: Path, interleave: str) -> None:
    path = write_tiff(tmp_path / "a.tif", tags=True, interleave=interleave, nodata=-7)
    source = only(path)
    np.testing.assert_array_equal(whole(source), make_cube())
    assert source.header.wavelengths_nm == WAVELENGTHS
    assert source.header.fwhm_nm == (10.0, 10.0, 10.0)
    assert source.header.good_bands == (True, False, True)
    assert source.header.no_data == -7
    assert source.header.georeference is not None
    assert source.valid((slice(0, 2), slice(0, 2))) is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_tiff_placed_by_points_tells_that_its_place_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tiff(tmp_path / "a.tif", transform=None)
    with rasterio.open(path, "r+") as dataset:
        points = [(0, 0, 5e5, 5e6), (0, WIDTH, 5.1e5, 5e6), (HEIGHT, 0, 5e5, 4.9e6)]
        dataset.gcps = [GroundControlPoint(*each) for each in points], CRS.from_epsg(32632)
    assert only(path).header.georeference is None
    assert f"{path} is placed by ground control points" in caplog.text


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_tiff_reads_descriptions_and_headers_beside(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", transform=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = [f"band ({nm / 1000} Micrometers)" for nm in WAVELENGTHS]
    assert only(path).header.wavelengths_nm == WAVELENGTHS
    assert only(path).header.georeference is None
    header = (
        f"ENVI\nsamples = {WIDTH}\nlines = {HEIGHT}\nbands = {BANDS}\ndata type = 2\n"
        "interleave = tif\ndata ignore value = 15000\nwavelength = {400, 500, 600}\n"
        "wavelength units = Nanometers\n"
    )
    (tmp_path / "a.hdr").write_text(header)
    assert only(path).header.wavelengths_nm == (400.0, 500.0, 600.0)
    assert only(tmp_path / "a.hdr").header.no_data == 15_000
    (tmp_path / "a.hdr").write_text(header.replace("bands = 3", "bands = 9"))
    assert only(path).header.wavelengths_nm == WAVELENGTHS


def test_tiff_carries_its_own_mask(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif")
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[0, :3] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    np.testing.assert_array_equal(only(path).valid((slice(0, 2), slice(0, 4))), mask[:2, :4])


@pytest.mark.parametrize("system", ["GeoTransform", "crs_wkt", "proj:code"])
def test_a_store_that_was_cut_lies_where_its_coordinates_are(tmp_path: Path, system: str) -> None:
    y, x = 5e6 - 5 - 10 * np.arange(30.0), 5e5 + 5 + 10 * np.arange(20.0)
    cube = xr.DataArray(np.ones((30, 20, 3)), {"y": y, "x": x}, ("y", "x", "band"), "cube")
    data = cube.to_dataset()
    attributes: dict[str, Any] = {"crs_wkt": CRS.from_epsg(32632).to_wkt()}
    if system == "GeoTransform":
        attributes["GeoTransform"] = "500000 10 0 5000000 0 -10"
    if system == "proj:code":
        data.attrs = {"proj:code": "EPSG:32632", "spatial:transform": [10, 0, 5e5, 0, -10, 5e6]}
    else:
        data["spatial_ref"] = xr.DataArray(0, attrs=attributes)
    data.isel(y=slice(4, 30), x=slice(5, 20)).to_zarr(tmp_path / "cut.zarr", consolidated=False)
    [source] = open_sources([tmp_path / "cut.zarr"])
    place = source.header.georeference
    assert place is not None
    np.testing.assert_allclose(place.transform, (10, 0, 500050, 0, -10, 4999960))
    assert CRS.from_wkt(place.crs_wkt) == CRS.from_epsg(32632)


def test_a_system_given_by_parameters_alone_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    y, x = 5e6 - 10 * np.arange(6.0), 5e5 + 10 * np.arange(5.0)
    cube = xr.DataArray(np.ones((6, 5, 3)), {"y": y, "x": x}, ("y", "x", "band"), "cube")
    cube.attrs["grid_mapping"] = "utm"
    data = cube.to_dataset().assign(utm=0)
    data["utm"].attrs = {"grid_mapping_name": "transverse_mercator"}
    data.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    [source] = open_sources([tmp_path / "cube.zarr"])
    assert source.header.georeference is None
    assert "(transverse_mercator) is given by parameters" in caplog.text


@pytest.mark.parametrize("start", [0, 3])
def test_coordinates_that_count_pixels_are_no_place(tmp_path: Path, start: int) -> None:
    axes = {"y": start + np.arange(6.0), "x": start + np.arange(5.0)}
    cube = xr.DataArray(np.ones((6, 5, 3)), axes, ("y", "x", "band"), "cube")
    data = cube.to_dataset().assign(spatial_ref=0)
    data["spatial_ref"].attrs = {"GeoTransform": "7 2 0 8 0 -2"}
    data.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    [source] = open_sources([tmp_path / "cube.zarr"])
    assert source.header.georeference is not None
    assert source.header.georeference.transform == (2, 0, 7, 0, -2, 8)


def test_wavelengths_of_other_bands_are_left_out(tmp_path: Path) -> None:
    np.ones((2, 4, 5), "f4").tofile(tmp_path / "a.img")
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 5\nlines = 4\nbands = 2\nheader offset = 0\ndata type = 4\n"
        "interleave = bsq\nbyte order = 0\nwavelength units = Nanometers\n"
        "wavelength = { 400, 500, 600 }\nfwhm = { 9, 9 }\n"
    )
    [source] = open_sources([tmp_path / "a.hdr"])
    assert source.header.wavelengths_nm == ()
    assert source.header.fwhm_nm == (9, 9)


def test_what_a_piece_leaves_unlabelled_another_may_label(tmp_path: Path) -> None:
    for number, (left, labels) in enumerate(((0, [1, 1, 0, 0]), (2, [2, 2, 2, 2]))):
        profile = {"driver": "GTiff", "height": 1, "width": 4, "count": 1, "dtype": "uint8"}
        profile |= {"transform": Affine(1, 0, left, 0, -1, 0), "crs": "EPSG:32632"}
        with rasterio.open(tmp_path / f"tile{number}.tif", "w", **profile) as file:
            file.write(np.array([[labels]], np.uint8))
    [found] = read_label_mosaic(tmp_path).values()
    assert found.tolist() == [[1, 1, 2, 2, 2, 2]]


def test_a_system_without_a_transform_is_no_place(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "height": 4, "width": 5, "count": 2, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, crs="EPSG:32632") as file:
        file.write(np.ones((2, 4, 5), np.uint8))
    [source] = open_sources([tmp_path / "a.tif"])
    assert source.header.georeference is None


def test_pages_are_no_bands(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "height": 4, "width": 5, "count": 1, "dtype": "uint8"}
    for append in ("NO", "YES"):
        path = tmp_path / "a.tif"
        with rasterio.open(path, "w", **profile, append_subdataset=append) as file:
            file.write(np.ones((1, 4, 5), np.uint8))
    with pytest.raises(SceneError, match="2 pages"):
        open_sources([tmp_path / "a.tif"])


def test_rasters_without_georeference_do_not_warn(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = write_envi(tmp_path / "a.img")
    recwarn.clear()
    whole(only(path))
    assert not list(recwarn)


def write_pieces(folder: Path, nodata: float | None = None) -> NDArray[Any]:
    """Write three of the four quarters of a cube; return the cube."""
    cube = np.concatenate([make_cube("f4"), make_cube("f4") + 500], axis=0)[:8, :6]
    for row, column in ((0, 0), (4, 0), (4, 3)):
        part = cube[row : row + 4, column : column + 3]
        place = Affine(10, 0, 400_000 + 10 * column, 0, -10, 5_800_000 - 10 * row)
        write_tiff(folder / f"piece_{row}_{column}.tif", part, place, nodata=nodata)
    return cube


@pytest.mark.parametrize("nodata", [None, -1.0])
def test_mosaic_places_pieces_and_masks_gaps(tmp_path: Path, nodata: float | None) -> None:
    cube = write_pieces(tmp_path, nodata)
    source = only(tmp_path, ReadOptions(mosaic=True))
    assert isinstance(source, MosaicSource)
    assert source.header.name == "piece"
    assert source.header.shape == (8, 6)
    valid = source.valid((slice(0, 8), slice(0, 6)))
    expected = np.ones((8, 6), bool)
    expected[:4, 3:] = False
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(whole(source)[expected], cube[expected])
    assert np.all(whole(source)[~expected] == (nodata or 0))
    assert source.header.georeference is not None
    assert source.header.georeference.transform[2] == 400_000.0


def test_mosaic_prefers_the_first_piece_with_data(tmp_path: Path) -> None:
    first = make_cube("f4")
    first[0, 0] = -1
    write_tiff(tmp_path / "tile_1.tif", first, nodata=-1)
    write_tiff(tmp_path / "tile_2.tif", make_cube("f4") + 900, nodata=-1)
    values = whole(only(tmp_path, ReadOptions(mosaic=True)))
    np.testing.assert_array_equal(values[0, 0], make_cube()[0, 0] + 900)
    np.testing.assert_array_equal(values[1:], first[1:])


def scaled(path: Path, scale: float, column: int = 0) -> Path:
    """Write a raster whose values become units by a scale."""
    write_tiff(path, transform=PLACE @ Affine.translation(column, 0))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (scale,) * BANDS
    return path


@pytest.mark.parametrize("mosaic", [False, True])
def test_rasters_of_other_scales_are_refused(tmp_path: Path, mosaic: bool) -> None:
    paths = [scaled(tmp_path / "a.tif", 1e-4), scaled(tmp_path / "b.tif", 2e-4, WIDTH)]
    said = r"scale_factor of a is 0\.0001 and that of b is 0\.0002. Apply them first"
    with pytest.raises(SceneError, match=said):
        ingest(open_sources(paths, ReadOptions(mosaic=mosaic)), tmp_path / "s.zarr")


def test_rasters_of_one_scale_are_taken_as_they_are(tmp_path: Path) -> None:
    paths = [scaled(tmp_path / "a.tif", 1e-4), scaled(tmp_path / "b.tif", 1e-4, WIDTH)]
    scene = ingest(open_sources(paths), tmp_path / "s.zarr")
    assert len(scene.frames) == 2
    np.testing.assert_array_equal(
        scene.read(0, (slice(0, HEIGHT), slice(0, WIDTH)))[0, 0], make_cube()[0, :, 0]
    )


def test_the_bands_of_an_image_in_files_of_their_own_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [write_tiff(tmp_path / f"B{band}.tif", make_cube()[..., :1]) for band in range(3)]
    with pytest.raises(SceneError, match=r"3 rasters of one band.*gdalbuildvrt -separate"):
        open_sources(paths, ReadOptions(mosaic=True))
    assert len(open_sources(paths)) == 3
    assert "gdalbuildvrt -separate" in caplog.text


@pytest.mark.parametrize("padding", [-5, 0])
def test_a_piece_gives_way_where_it_has_no_data_that_its_file_does_not_tell(
    tmp_path: Path, padding: int
) -> None:
    first = make_cube("f4")
    first[:, :2] = padding
    write_tiff(tmp_path / "tile_1.tif", first)
    write_tiff(tmp_path / "tile_2.tif", make_cube("f4") + 900)
    options = ReadOptions(mosaic=True, no_data=-5)
    values = whole(only(tmp_path, options))
    np.testing.assert_array_equal(values[:, :2], make_cube()[:, :2] + 900)
    np.testing.assert_array_equal(values[:, 2:], first[:, 2:])
    kept = whole(only(tmp_path, replace(options, keep_zeros=True)))
    assert (kept[0, 0] == 0).all() == (padding == 0)


def test_mosaic_fills_with_zero_where_its_type_cannot_hold_no_data(tmp_path: Path) -> None:
    for name, offset in (("tile_1.img", 0), ("tile_2.img", 200)):
        place = f"map info = {{UTM, 1, 1, {400_000 + offset}, 5800000, 10, 10, 33, North, WGS-84}}"
        write_envi(tmp_path / name, dtype="<u2", extra=f"{place}\ndata ignore value = -9999")
    source = only(tmp_path, ReadOptions(mosaic=True))
    assert source.header.shape == (HEIGHT, 20 + WIDTH)
    assert not np.any(whole(source)[:, WIDTH:20])


def test_adjacent_rasters_earn_a_hint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pieces(tmp_path)
    assert len(open_sources([tmp_path])) == 3
    assert "--mosaic" in caplog.text


@dataclass(frozen=True)
class Unfit:
    """A second piece that does not fit the first."""

    id: str
    changes: dict[str, Any]
    message: str


UNFIT = [
    Unfit("shifted", {"transform": Affine(10, 0, 400_003, 0, -10, 5_800_000)}, "whole pixels"),
    Unfit("coarser", {"transform": Affine(20, 0, 400_000, 0, -20, 5_800_000)}, "one resolution"),
    Unfit("elsewhere", {"crs": "EPSG:32632"}, "one coordinate system"),
    Unfit("no data", {"nodata": 5}, "no-data value"),
    Unfit("type", {"cube": make_cube("f4")}, "share bands, type"),
]


@pytest.mark.parametrize("case", UNFIT, ids=lambda case: case.id)
def test_pieces_that_do_not_fit_are_refused(tmp_path: Path, case: Unfit) -> None:
    write_tiff(tmp_path / "a1.tif")
    changes = dict(case.changes)
    crs = changes.pop("crs", None)
    path = write_tiff(tmp_path / "a2.tif", **changes)
    if crs:
        with rasterio.Env(), rasterio.open(path, "r+") as dataset:
            dataset.crs = crs
    with pytest.raises(SceneError, match=case.message):
        open_sources([tmp_path], ReadOptions(mosaic=True))


# --- zarr ----------------------------------------------------------------------------------


def write_store(path: Path) -> Path:
    """A cube of another writer, (y, x, band), with a mask of its pixels."""
    group = zarr.open_group(str(path), mode="w")
    valid = np.ones((HEIGHT, WIDTH), np.bool_)
    group.create_array("cube", data=make_cube(), dimension_names=["y", "x", "band"])
    group.create_array("valid", data=valid, dimension_names=["y", "x"])
    return path


@pytest.mark.parametrize("lost", ["", "cube", "valid"])
def test_a_store_that_went_away_is_not_read_as_fill_value(tmp_path: Path, lost: str) -> None:
    store = write_store(tmp_path / "a.zarr")
    source, window = only(store), (slice(0, 2), slice(0, 2))
    (store / lost).rename(tmp_path / "moved")
    with pytest.raises(StoreError, match="moved or deleted since it was opened"):
        (source.valid if lost == "valid" else source.read)(window)


def test_sources_do_not_depend_on_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_store(tmp_path / "a.zarr")
    write_envi(tmp_path / "b.img")
    ingest(synthetic_frames(1, (HEIGHT, WIDTH), bands=BANDS), tmp_path / "scene.zarr")
    monkeypatch.chdir(tmp_path)
    names = ["a.zarr", "b.hdr", "scene.zarr"]
    sources = open_sources([*names, tmp_path / "a.zarr"])
    assert len(sources) == len(names)
    before = [whole(source) for source in sources]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for source, values in zip(sources, before, strict=True):
        np.testing.assert_array_equal(whole(source), values)


def test_zarr_3_group_is_read_by_its_dimensions(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=3)
    cube = group.create_array(
        "reflectance",
        shape=(BANDS, HEIGHT, WIDTH),
        dtype="i2",
        chunks=(BANDS, 4, 4),
        dimension_names=["wavelength", "lat", "lon"],
        attributes={"_FillValue": -99},
    )
    cube[:] = make_cube().transpose(2, 0, 1)
    for name, values in (("wavelength", np.array(WAVELENGTHS) / 1000), ("fwhm", np.full(3, 0.01))):
        vector = group.create_array(name, shape=(BANDS,), dtype="f8", attributes={"units": "um"})
        vector[:] = values
    source = only(tmp_path / "a.zarr")
    np.testing.assert_array_equal(whole(source), make_cube())
    assert source.header.wavelengths_nm == WAVELENGTHS
    assert source.header.fwhm_nm == (10.0, 10.0, 10.0)
    assert source.header.no_data == -99
    inner = only(tmp_path / "a.zarr" / "reflectance")
    assert inner.header.wavelengths_nm == WAVELENGTHS


def test_zarr_2_array_is_read_by_its_dimensions_or_asked_axes(tmp_path: Path) -> None:
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(HEIGHT, WIDTH, BANDS), dtype=">i2", zarr_format=2
    )
    array[:] = make_cube()
    with pytest.raises(SceneError, match="does not name its dimensions"):
        open_sources([tmp_path / "a.zarr"])
    np.testing.assert_array_equal(
        whole(only(tmp_path / "a.zarr", ReadOptions(axes="yxb"))), make_cube()
    )
    array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x", "band"]
    np.testing.assert_array_equal(whole(only(tmp_path / "a.zarr")), make_cube())


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_no_data_is_read_as_xarray_keeps_it(tmp_path: Path, version: int, dtype: str) -> None:
    cube = xr.DataArray(make_cube(dtype).transpose(2, 0, 1), dims=("band", "y", "x"), name="cube")
    cube.encoding["_FillValue"] = np.array(-99, dtype)[()]
    cube.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
    assert only(tmp_path / "a.zarr").header.no_data == -99


def test_a_place_that_cannot_be_read_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=3)
    cube = make_cube().transpose(2, 0, 1)
    group.create_array("cube", data=cube, dimension_names=["band", "y", "x"])
    cases: list[tuple[list[str | int], str]] = [
        (["a", 0, 0, 0, 1, 0], ""),
        ([1, 0, 0, 0, 1, 0], "nowhere"),
    ]
    for transform, system in cases:
        group.attrs.update({"spatial:transform": transform, "proj:wkt2": system})
        caplog.clear()
        assert only(tmp_path / "a.zarr").header.georeference is None
        assert "place is left out" in caplog.text
    group.attrs["proj:wkt2"] = "EPSG:32633"
    place = only(tmp_path / "a.zarr").header.georeference
    assert place is not None
    assert "UTM zone 33N" in place.crs_wkt


def test_scene_store_keeps_frames_masks_and_wavelengths(tmp_path: Path) -> None:
    scene = ingest(synthetic_frames(2, (20, 24), bands=6), tmp_path / "scene.zarr")
    sources = open_sources([tmp_path / "scene.zarr"])
    assert [source.header.name for source in sources] == ["frame0", "frame1"]
    again = ingest(sources, tmp_path / "again.zarr")
    assert (again.wavelengths_nm, again.good_bands) == (scene.wavelengths_nm, scene.good_bands)
    assert again.frames == scene.frames
    window = (slice(0, 20), slice(0, 24))
    np.testing.assert_array_equal(again.read(1, window), scene.read(1, window))
    np.testing.assert_array_equal(again.valid(1, window), scene.valid(1, window))
    both = open_sources([tmp_path / "scene.zarr", tmp_path / "again.zarr"])
    assert both[2].header.name == "again-frame0"


# --- names, folders, refusals --------------------------------------------------------------


def test_frames_have_safe_unique_names(tmp_path: Path) -> None:
    for folder in ("day 1", "day 2"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "line #1.npz", cube=make_cube())
        io.savemat(tmp_path / folder / "line #1.mat", {"cube": make_cube()})
    np.savez(tmp_path / "other.npz", cube=make_cube())
    paths = [tmp_path / "day 1", tmp_path / "day 2", tmp_path / "other.npz"]
    assert [source.header.name for source in open_sources(paths)] == [
        "day_1-line_1-1", "day_1-line_1-2", "day_2-line_1-1", "day_2-line_1-2", "other",
    ]  # fmt: skip


def test_frames_of_long_names_can_be_exported(tmp_path: Path) -> None:
    """A map is written beside its place first, under a longer name."""
    (tmp_path / "more").mkdir()
    for number, folder in enumerate((tmp_path, tmp_path / "more")):
        np.savez(folder / f"{'a' * 250}{number}.npz", cube=make_cube())
    names = [source.header.name for source in open_sources([tmp_path, tmp_path / "more"])]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= NAME_BYTES
    partial_of(tmp_path / f"{'a' * NAME_BYTES}.tif").write_text("")


def test_a_folder_and_a_pattern_stand_for_their_files(tmp_path: Path) -> None:
    write_envi(tmp_path / "b.img")
    write_envi(tmp_path / "c")
    np.savez(tmp_path / "a.npz", cube=make_cube())
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "orphan.dat").write_bytes(b"no header")
    assert [source.header.name for source in open_sources([tmp_path])] == ["a", "b", "c"]
    assert len(open_sources([tmp_path / "*.npz", tmp_path / "a.npz"])) == 1
    with pytest.raises(SceneError, match="No file matches"):
        open_sources([tmp_path / "*.mat"])


def _npz(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def _cut(path: Path) -> None:
    np.savez_compressed(path, cube=np.random.default_rng(0).integers(0, 999, (20, 20, 20)))
    path.write_bytes(path.read_bytes()[:3000])


def _mat(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: io.savemat(path, arrays)


def _short_envi(path: Path) -> None:
    write_envi(path)
    path.write_bytes(path.read_bytes()[:-1])


def _classification(path: Path) -> None:
    write_envi(path)
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text().replace("ENVI Standard", "ENVI Classification"))


def _palette(path: Path) -> None:
    write_tiff(path, make_cube("u1")[..., :1])
    with rasterio.Env(), rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (255, 0, 0, 255)})


@dataclass(frozen=True)
class Refused:
    """A file that cannot become a frame, and what the message says."""

    id: str
    name: str
    write: Callable[[Path], object]
    message: str
    options: ReadOptions = ReadOptions()  # noqa: RUF009 (a frozen value)


OBJECTS = np.array([[[{}]]], dtype=object)
LABELS = np.arange(12, dtype="u1").reshape(3, 4)
REFUSED = [
    Refused("empty", "a.npz", lambda path: path.write_bytes(b""), "is empty"),
    Refused("suffix", "a.xyz", lambda path: path.write_bytes(b"1"), "known are"),
    Refused("hdf", "a.h5", lambda path: path.write_bytes(b"1"), "HDF5"),
    Refused("npz cut", "a.npz", _cut, "damaged"),
    Refused("npz several", "a.npz", _npz(a=make_cube(), b=make_cube()), "--key a"),
    Refused("npz key", "a.npz", _npz(cube=make_cube()), "no array 'c'", ReadOptions(key="c")),
    Refused("npz labels", "a.npz", _npz(gt=LABELS), "label map"),
    Refused("npz flat", "a.npz", _npz(cube=LABELS * 1.5), "--shape YxX"),
    Refused("npz objects", "a.npz", _npz(cube=OBJECTS), "object"),
    Refused("npz complex", "a.npz", _npz(cube=make_cube("c8")), "complex"),
    Refused("npz truth", "a.npz", _npz(cube=make_cube("?")), "bool"),
    Refused("npz mask", "a.npz", _npz(cube=make_cube(), valid=LABELS > 1), "needs the shape"),
    Refused("npy axes", "a.npy", lambda path: np.save(path, make_cube()), r"\(5, 7, 3\).*byx"),
    Refused("npy labels", "a.npy", lambda path: np.save(path, LABELS), "label map"),
    Refused("npy objects", "a.npy", lambda path: np.save(path, OBJECTS), "cannot be read"),
    Refused(
        "npy letters", "a.npy", lambda path: np.save(path, LABELS), "names 3 axes",
        ReadOptions(axes="yxb"),
    ),
    Refused("mat labels", "a.mat", _mat(gt=LABELS), "label map"),
    Refused("mat doubles", "a.mat", _mat(gt=LABELS * 1.0), "label map"),
    Refused("mat several", "a.mat", _mat(a=make_cube(), b=make_cube()), "5 x 7 x 3.*--key a"),
    Refused("mat complex", "a.mat", _mat(a=make_cube("c16")), "complex"),
    Refused("mat noise", "a.mat", lambda path: path.write_bytes(b"MATLAB 5.0" * 99), "damaged"),
    Refused("envi short", "a.img", _short_envi, "need 210 bytes, but .* has 209"),
    Refused("envi classes", "a.img", _classification, "label map"),
    Refused("envi alone", "a.img", lambda path: path.write_bytes(b"1"), r"a\.hdr"),
    Refused("header alone", "a.hdr", lambda path: path.write_text("ENVI\n"), "data file"),
    Refused("tiff noise", "a.tif", lambda path: path.write_bytes(b"II*\0" * 9), "damaged"),
    Refused("tiff classes", "a.tif", _palette, "label map"),
    Refused("tiff complex", "a.tif", lambda p: write_tiff(p, make_cube("c8")), "complex"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_cannot_be_read_is_refused_with_advice(tmp_path: Path, case: Refused) -> None:
    path = tmp_path / case.name
    case.write(path)
    with pytest.raises(SceneError, match=case.message) as refusal:
        whole(open_sources([path], case.options)[0])
    assert str(path.parent) in str(refusal.value)


def test_files_are_opened_by_anything_that_stands_for_their_path(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", make_cube())

    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path / "a.npy")

    [source] = open_sources(Place(), ReadOptions(axes="yxb"))
    again = open_sources([f"file://{tmp_path}/a.npy", Place()], ReadOptions(axes="yxb"))
    assert [each.header for each in again] == [source.header]


def test_missing_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="there is none at"):
        open_sources([tmp_path / "nothing.npz"])
    with pytest.raises(SceneError, match="no file that can be read"):
        open_sources([tmp_path])
    with pytest.raises(SceneError, match="remote address"):
        open_sources(["s3://bucket/a.zarr"])
    with pytest.raises(SceneError, match="remote address"):
        read_labels("s3://bucket/a.npz")
    np.savez(tmp_path / "a.npz", cube=make_cube())
    with pytest.raises(SceneError, match="--mosaic joins"):
        open_sources([tmp_path], ReadOptions(mosaic=True))


@pytest.mark.parametrize(
    "options", [{"axes": "yxc"}, {"axes": "yyx"}, {"wavelength_units": "mm"}, {"shape": (0, 3)}]
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ReadOptions(**options)


# --- labels --------------------------------------------------------------------------------


def test_labels_are_read_from_every_format(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", other=LABELS, gt=LABELS, cube=make_cube(), valid=LABELS > 0)
    assert list(read_labels(tmp_path / "a.npz")) == ["gt", "other"]
    assert list(read_labels(tmp_path / "a.npz", "other")) == ["other"]
    assert list(read_labels(f"file://{tmp_path}/a.npz", "other")) == ["other"]
    np.save(tmp_path / "b.npy", LABELS.astype(">i4"))
    io.savemat(tmp_path / "c.mat", {"c": LABELS, "nRow": 3})
    write_hdf_mat(tmp_path / "d.mat", d=LABELS * 1.0)
    write_tiff(tmp_path / "e.tif", LABELS[..., None].astype("f4"))
    root = zarr.open_group(str(tmp_path / "f.zarr"), mode="w")
    root.create_array("frame/label", shape=LABELS.shape, dtype="u2")[:] = LABELS
    for name, key in (
        ("b.npy", "b"), ("c.mat", "c"), ("d.mat", "d"), ("e.tif", "e"), ("f.zarr", "frame/label"),
    ):  # fmt: skip
        found = read_labels(tmp_path / name)
        assert list(found) == [key]
        assert found[key].dtype.kind in "iu"
        assert found[key].dtype.isnative
        np.testing.assert_array_equal(found[key], LABELS)
    assert list(read_labels(tmp_path / "f.zarr", "label")) == ["frame/label"]
    assert "a/gt" in read_labels(tmp_path)


def test_label_rasters_turn_no_data_into_unlabelled(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", LABELS[..., None], nodata=11)
    assert read_labels(tmp_path / "a.tif")["a"][2, 3] == 0
    _classification(tmp_path / "b.img")
    with pytest.raises(SceneError, match="integer raster"):
        read_labels(tmp_path / "b.img")


def test_label_pieces_are_joined(tmp_path: Path) -> None:
    write_tiff(tmp_path / "l_0.tif", LABELS[..., None])
    below = Affine(10.0, 0.0, 400_000.0, 0.0, -10.0, 5_800_000.0 - 30)
    write_tiff(tmp_path / "l_1.tif", LABELS[..., None] + 1, below)
    (labels,) = read_label_mosaic(tmp_path).values()
    np.testing.assert_array_equal(labels, np.concatenate([LABELS, LABELS + 1]))


@pytest.mark.parametrize("key", [None, "missing"])
def test_files_without_labels_are_refused(tmp_path: Path, key: str | None) -> None:
    np.savez(tmp_path / "a.npz", cube=make_cube())
    with pytest.raises(SceneError, match=r"cube \(5 x 7 x 3 int16\)"):
        read_labels(tmp_path / "a.npz", key)
    with pytest.raises(SceneError, match="there is none"):
        read_labels(tmp_path / "nothing.npz")


# --- files as their producers wrote them ---------------------------------------------------


@pytest.fixture
def data() -> Path:
    """Folder of real scenes."""
    folder = os.environ.get("HSISTREAM_DATA")
    if not folder:
        pytest.skip("the environment variable HSISTREAM_DATA does not name the folder of scenes")
    return Path(folder)


TWINS = [
    ("SalinasA_corrected.mat", "salinasA"),
    ("samson_1.mat", "samson"),
    ("abu-beach-2.mat", "abu-beach-2"),
    ("hysu/Full.tif", "hysu"),
    ("hysu/Full.hdr", "hysu"),
]


@pytest.mark.parametrize(("native", "twin"), TWINS)
def test_native_files_equal_their_twins(data: Path, native: str, twin: str) -> None:
    source, expected = only(data / "native" / native), only(data / f"{twin}.npz")
    np.testing.assert_allclose(whole(source), whole(expected), rtol=1e-6)
    if source.header.wavelengths_nm:
        np.testing.assert_allclose(
            source.header.wavelengths_nm, expected.header.wavelengths_nm, atol=0.01
        )


def test_native_tiles_make_the_scene_of_potsdam(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = data / "native/enmap_potsdam/images"
    caplog.set_level(logging.WARNING)
    assert len(open_sources([folder])) == 18
    assert "--mosaic" in caplog.text
    source, expected = only(folder, ReadOptions(mosaic=True)), only(data / "enmap_potsdam.npz")
    header, window = source.header, (slice(0, 192), slice(0, 160))
    assert header.shape == (192, 160)
    assert header.no_data == -32_768
    assert header.good_bands.count(False) == 6
    assert header.good_bands == expected.header.good_bands
    np.testing.assert_array_equal(source.valid(window), expected.valid(window))
    np.testing.assert_array_equal(whole(source), whole(expected))
    np.testing.assert_allclose(header.wavelengths_nm, expected.header.wavelengths_nm, atol=0.01)
    scene = ingest([source], tmp_path / "scene.zarr")
    assert scene.valid_pixels == 18 * 32 * 32
    (labels,) = read_label_mosaic(data / "native/enmap_potsdam/labels").values()
    with np.load(data / "enmap_potsdam.npz") as file:
        np.testing.assert_array_equal(labels, file["gt"])


def test_native_envi_frames_are_ingested(data: Path, tmp_path: Path) -> None:
    wheat = ingest(open_sources([data / "native/wheat_grains"]), tmp_path / "wheat.zarr")
    assert len(wheat.frames) == 8
    assert {frame.shape for frame in wheat.frames} == {(200, 200)}
    berlin = only(data / "native/berlin_enmap")
    assert isinstance(berlin, RasterSource)
    body = gzip.decompress(berlin.path.read_bytes())
    expected = np.frombuffer(body, "<i2").reshape(244, 80, 60).transpose(1, 2, 0)
    np.testing.assert_array_equal(whole(berlin), expected)
    assert berlin.header.wavelengths_nm[0] == 424.0
    assert Scene.open(ingest([berlin], tmp_path / "berlin.zarr").uri).bands == 244


def test_native_hysu_subsets_are_ingested(data: Path, tmp_path: Path) -> None:
    scene = ingest(open_sources([data / "native/hysu"]), tmp_path / "hysu.zarr")
    assert [frame.name for frame in scene.frames] == ["All", "Full", "Small"]
    assert scene.no_data == 15_000


def test_uniform_files_are_ingested(data: Path) -> None:
    paths = sorted(data.glob("*.npz"))
    assert paths
    for path in paths:
        header = open_sources([path])[0].header
        with np.load(path) as file:
            assert (*header.shape, header.bands) == file["cube"].shape


@pytest.mark.parametrize(
    "name", ["SalinasA_gt.mat", "gt_only/PaviaU_gt.mat", "gt_only/urban-6_segmented.npy"]
)
def test_native_label_maps_are_refused_but_read_as_labels(data: Path, name: str) -> None:
    with pytest.raises(SceneError, match="label map"):
        open_sources([data / "native" / name])
    assert len(read_labels(data / "native" / name)) == 1


def test_a_byte_order_mark_before_an_envi_header_is_named(tmp_path: Path) -> None:
    write_envi(tmp_path / "cube.img")
    header = tmp_path / "cube.hdr"
    header.write_bytes(b"\xef\xbb\xbf" + header.read_bytes())
    with pytest.raises(SceneError, match=r"cube\.hdr begins with a byte-order mark"):
        open_sources(tmp_path / "cube.img")
