"""Products in HDF5 and netCDF, written as their producers lay them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.readers.sources import ReadOptions, open_sources
from hsistream.scene.ingest import ingest
from hsistream.scene.source import Source

SHAPE = (5, 7, 4)
WAVELENGTHS = (450.0, 550.0, 1400.0, 1650.0)
WINDOW = (slice(1, 4), slice(2, 6))


def make_cube(dtype: str = "int16") -> NDArray[Any]:
    """Distinct values (y, x, band)."""
    return np.arange(1, np.prod(SHAPE) + 1).reshape(SHAPE).astype(dtype)


def only(path: Path, options: ReadOptions = ReadOptions()) -> Source:  # noqa: B008
    """The one frame of a file."""
    (source,) = open_sources([path], options)
    return source


def pixels(source: Source) -> NDArray[Any]:
    """All pixels of a source, (y, x, band)."""
    height, width = source.header.shape
    return source.read((slice(0, height), slice(0, width))).transpose(1, 2, 0)


def write_tower(path: Path, map_info: str = "UTM, 1.0, 1.0, 257000.0, 4112000.0, 1, 2") -> Path:
    """An airborne product of NEON: no names of dimensions, facts in a folder beside."""
    with h5py.File(path, "w") as file:
        reflectance = file.create_group("SITE/Reflectance")
        cube = reflectance.create_dataset("Reflectance_Data", data=make_cube(), chunks=(2, 3, 4))
        cube.attrs["Data_Ignore_Value"] = np.array([-9999.0])
        cube.attrs["Scale_Factor"] = np.array([10_000.0])
        reflectance.attrs["Band_Window_1_Nanometers"] = np.array([1340, 1445])
        reflectance["Metadata/Ancillary_Imagery/Path_Length"] = np.ones(SHAPE[:2])
        spectral = reflectance.create_group("Metadata/Spectral_Data")
        spectral["Wavelength"], spectral["FWHM"] = WAVELENGTHS, [5.0] * SHAPE[2]
        spectral["Wavelength"].attrs["Units"] = "nanometers"
        system = reflectance.create_group("Metadata/Coordinate_System")
        system["EPSG Code"], system["Map_Info"] = [b"32611"], [map_info.encode()]
    return path


def write_orbit(path: Path) -> Path:
    """A swath of EMIT: dimensions are named, wavelengths lie in a group."""
    with h5py.File(path, "w") as file:
        cube = file.create_dataset("reflectance", data=make_cube("f4"), fillvalue=-9999.0)
        for axis, name in enumerate(("downtrack", "crosstrack", "bands")):
            file[name] = np.arange(SHAPE[axis])
            file[name].make_scale(name)
            cube.dims[axis].attach_scale(file[name])
        cube.attrs["_FillValue"] = np.float32(-9999.0)
        bands = file.create_group("sensor_band_parameters")
        bands["wavelengths"], bands["fwhm"] = WAVELENGTHS, [8.0] * SHAPE[2]
        bands["wavelengths"].attrs["units"] = "nm"
        bands["good_wavelengths"] = np.array([1, 1, 0, 1], np.uint8)
        file["location/glt_x"] = np.zeros(SHAPE[:2], np.int32)
    return path


def write_two(path: Path) -> Path:
    """A product of Tanager: bands first, wavelengths as attributes, an uncertainty beside."""
    with h5py.File(path, "w") as file:
        fields = file.create_group("HDFEOS/SWATHS/HYP/Data Fields")
        for name, factor in (("surface_reflectance", 1), ("surface_reflectance_uncertainty", 2)):
            fields[name] = make_cube("f4").transpose(2, 0, 1) * factor
            fields[name].attrs["wavelengths"] = WAVELENGTHS
    return path


def test_an_airborne_product_tells_bands_place_and_no_data(tmp_path: Path) -> None:
    source = only(write_tower(tmp_path / "tower.h5"))
    header = source.header
    np.testing.assert_array_equal(pixels(source), make_cube())
    np.testing.assert_array_equal(source.read(WINDOW).transpose(1, 2, 0), make_cube()[WINDOW])
    assert header.wavelengths_nm == WAVELENGTHS
    assert header.fwhm_nm == (5.0,) * 4
    assert header.good_bands == (True, True, False, True)
    assert header.no_data == -9999
    assert header.attributes["Scale_Factor"] == "10000.0"
    assert header.georeference is not None
    assert header.georeference.transform == (1.0, 0.0, 257_000.0, 0.0, -2.0, 4_112_000.0)
    assert "UTM zone 11N" in header.georeference.crs_wkt


def test_the_reference_pixel_of_a_map_info_need_not_be_the_first(tmp_path: Path) -> None:
    path = write_tower(tmp_path / "tower.h5", "UTM, 3, 2, 257000, 4112000, 1, 2, 11, North")
    place = only(path).header.georeference
    assert place is not None
    assert place.transform == (1.0, 0.0, 256_998.0, 0.0, -2.0, 4_112_002.0)


@pytest.mark.parametrize(
    "info", ["UTM, 1, 1, 2570, 4112, 1, 2, 11, North, rotation=30", "UTM, here", "UTM"]
)
def test_a_place_that_is_not_understood_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, info: str
) -> None:
    assert only(write_tower(tmp_path / "tower.h5", info)).header.georeference is None
    assert "place is left out" in caplog.text


def test_a_swath_is_read_by_the_names_of_its_dimensions(tmp_path: Path) -> None:
    source = only(write_orbit(tmp_path / "orbit.nc"))
    np.testing.assert_array_equal(pixels(source), make_cube("f4"))
    assert source.header.wavelengths_nm == WAVELENGTHS
    assert source.header.good_bands == (True, True, False, True)
    assert source.header.no_data == -9999
    assert source.header.georeference is None


def test_the_place_of_a_cf_file_is_kept(tmp_path: Path) -> None:
    path = write_orbit(tmp_path / "orbit.nc")
    with h5py.File(path, "a") as file:
        file["reflectance"].attrs["grid_mapping"] = "grid"
        file["grid"] = 0
        file["grid"].attrs["GeoTransform"] = "400000.0 10.0 0.0 5800000.0 0.0 -10.0"
    place = only(path).header.georeference
    assert place is not None
    assert place.transform == (10.0, 0.0, 400_000.0, 0.0, -10.0, 5_800_000.0)


def put_on_grid(file: h5py.File, mapping: str) -> None:
    """Write a cube with even coordinates, and the name of an empty grid mapping."""
    cube = file.create_dataset("cube", data=np.ones((6, 5, 4), "f4"))
    file["y"], file["x"] = 5_799_955 - 10.0 * np.arange(6), 400_035 + 10.0 * np.arange(5)
    for axis, name in enumerate(("y", "x")):
        file[name].make_scale(name)
        cube.dims[axis].label = name
        cube.dims[axis].attach_scale(file[name])
    cube.dims[2].label = "band"
    cube.attrs["grid_mapping"] = mapping
    file[mapping] = 0


def test_a_cube_that_was_cut_lies_where_its_coordinates_are(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cut.nc", "w") as file:
        put_on_grid(file, "grid")
        file["grid"].attrs["GeoTransform"] = "400000.0 10.0 0.0 5800000.0 0.0 -10.0"
    place = only(tmp_path / "cut.nc").header.georeference
    assert place is not None
    assert place.transform == (10.0, 0.0, 400_030.0, 0.0, -10.0, 5_799_960.0)


def test_a_system_given_by_parameters_alone_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(tmp_path / "cf.nc", "w") as file:
        put_on_grid(file, "utm")
        file["utm"].attrs["grid_mapping_name"] = "transverse_mercator"
    assert only(tmp_path / "cf.nc").header.georeference is None
    assert "(transverse_mercator) is given by parameters" in caplog.text


NO_DATA = {
    "as text": {"Data Ignore Value": "15000"},
    "beside what is none": {"_FillValue": np.float32(np.nan), "missing_value": 15_000},
    "in an array": {"_FillValue": np.array([15_000], np.int16)},
}


@pytest.mark.parametrize("case", NO_DATA)
def test_no_data_is_read_however_it_is_written(tmp_path: Path, case: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", data=make_cube()).attrs.update(NO_DATA[case])
    assert only(tmp_path / "a.h5", ReadOptions(axes="yxb")).header.no_data == 15_000


def test_what_a_dataset_was_filled_with_is_no_data(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", data=make_cube("f4"), fillvalue=-9999)
        file.create_dataset("zero", data=make_cube("f4"), fillvalue=0)
    for name, expected in (("cube", -9999), ("zero", None)):
        options = ReadOptions(axes="yxb", key=name)
        assert only(tmp_path / "a.h5", options).header.no_data == expected


def test_no_data_that_cannot_be_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", data=make_cube()).attrs["_FillValue"] = "none"
    assert only(tmp_path / "a.h5", ReadOptions(axes="yxb")).header.no_data is None
    assert "--no-data" in caplog.text


def test_wavelengths_may_lie_in_a_row(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"], file["wavelength"] = make_cube(), [WAVELENGTHS]
    header = only(tmp_path / "a.h5").header
    assert (header.wavelengths_nm, header.bands) == (WAVELENGTHS, 4)


@pytest.mark.parametrize("turn", ["rotation=0.0", "rotation = 0", "rotation=0.0000000e+00"])
def test_a_grid_that_is_not_turned_has_its_place(tmp_path: Path, turn: str) -> None:
    info = f"UTM, 1, 1, 257000, 4112000, 1, 2, 11, North, {turn}"
    assert only(write_tower(tmp_path / "tower.h5", info)).header.georeference is not None


@pytest.mark.parametrize("given", ["1 2 3", "a b c d e f", [1.0, 2.0]])
def test_a_transform_that_is_none_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, given: Any
) -> None:
    path = write_orbit(tmp_path / "orbit.nc")
    with h5py.File(path, "a") as file:
        file["reflectance"].attrs["grid_mapping"] = "grid"
        file["grid"] = 0
        file["grid"].attrs["GeoTransform"] = given
    assert only(path).header.georeference is None
    assert "place is left out" in caplog.text


def test_a_grid_mapping_may_lie_around_the_group_of_the_cube(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nc", "w") as file:
        cube = file.create_dataset("reflectance/reflectance", data=make_cube())
        cube.attrs["grid_mapping"] = "transverse_mercator"
        file["wavelength"], file["transverse_mercator"] = WAVELENGTHS, 0
        numbers = np.array([400_000.0, 10.0, 0.0, 5_800_000.0, 0.0, -10.0])
        facts = {"GeoTransform": numbers, "spatial_ref": "EPSG:32611"}
        file["transverse_mercator"].attrs.update(facts)
    place = only(tmp_path / "a.nc").header.georeference
    assert place is not None
    assert place.transform == (10.0, 0.0, 400_000.0, 0.0, -10.0, 5_800_000.0)
    assert "UTM zone 11N" in place.crs_wkt


def test_one_of_several_cubes_is_named_by_the_end_of_its_path(tmp_path: Path) -> None:
    path = write_two(tmp_path / "two.h5")
    with pytest.raises(SceneError, match="--key HDFEOS"):
        open_sources([path])
    source = only(path, ReadOptions(key="surface_reflectance"))
    np.testing.assert_array_equal(pixels(source), make_cube("f4"))
    assert source.header.wavelengths_nm == WAVELENGTHS


def test_axes_that_nothing_tells_must_be_told(tmp_path: Path) -> None:
    path = tmp_path / "bare.h5"
    with h5py.File(path, "w") as file:
        file["cube"] = make_cube()
    with pytest.raises(SceneError, match=r"--axes yxb"):
        open_sources([path])
    turned = only(path, ReadOptions(axes="byx"))
    np.testing.assert_array_equal(pixels(turned), make_cube().transpose(1, 2, 0))


def test_wavelengths_that_fit_two_axes_tell_none(tmp_path: Path) -> None:
    path = tmp_path / "square.h5"
    with h5py.File(path, "w") as file:
        file["cube"], file["wavelength"] = np.ones((4, 7, 4)), WAVELENGTHS
    with pytest.raises(SceneError, match="--axes"):
        open_sources([path])


@pytest.mark.parametrize("start", [b"CDF\x01", b"\x0e\x03\x13\x01", b"\x89HDF\r\n\x1a\n"])
def test_older_formats_and_damage_are_refused(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "old.nc"
    path.write_bytes(start + bytes(100))
    with pytest.raises(SceneError, match=r"HDF5 or netCDF 4 is needed|cannot be read"):
        open_sources([path])


def test_a_product_of_neon_becomes_a_scene(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "native/neonhs_ex.h5"
    scene = ingest(open_sources([path]), tmp_path / "scene.zarr")
    assert (scene.frames[0].shape, scene.bands, scene.no_data) == ((30, 30), 426, -9999)
    assert scene.frames[0].georeference is not None
    with h5py.File(path) as file:
        expected = file["SJER/Reflectance/Reflectance_Data"][:]
    window = (slice(0, 30), slice(0, 30))
    np.testing.assert_array_equal(scene.read(0, window).transpose(1, 2, 0), expected)
