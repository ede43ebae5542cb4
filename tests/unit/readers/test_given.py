from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import hsistream as hs
from hsistream.errors import SceneError
from hsistream.georeference import Georeference
from hsistream.readers.given import source_from_array
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from tests.strategies import whole

SHAPE, BANDS = (5, 7), 3
WAVELENGTHS = (450.0, 550.0, 650.0)


def cube() -> NDArray[np.int16]:
    """Distinct values, (y, x, band)."""
    return np.arange(1, 5 * 7 * BANDS + 1, dtype=np.int16).reshape(*SHAPE, BANDS)


@pytest.mark.parametrize("dims", ["yxb", "byx", "xyb", "bxy", "ybx", "xby"])
@pytest.mark.parametrize("kind", [np.asarray, da.from_array, xr.DataArray])
def test_an_array_of_any_order_becomes_a_frame(tmp_path: Path, dims: str, kind: Any) -> None:
    values = kind(cube().transpose(["yxb".index(letter) for letter in dims]))
    valid = np.arange(35).reshape(SHAPE) > 3
    place = Georeference((10.0, 0, 4e5, 0, -10.0, 5e6))
    source = source_from_array(
        values,
        name="lab",
        dims=dims,
        wavelengths_nm=np.array(WAVELENGTHS),
        valid=valid,
        georeference=place,
    )
    scene = ingest([source], tmp_path / "s.zarr")
    np.testing.assert_array_equal(scene.read(0, whole(SHAPE)), cube().transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.valid(0, whole(SHAPE)), valid)
    assert scene.frames[0].name == "lab"
    assert (scene.dtype, scene.wavelengths_nm) == ("int16", WAVELENGTHS)
    assert scene.frames[0].georeference == place


def test_an_array_of_xarray_tells_its_axes_bands_and_place(scene: Scene, tmp_path: Path) -> None:
    frame = scene.open_frame("frame1")
    turned = frame["spectra"].transpose("x", "band", "y")
    source = source_from_array(turned, name="frame1", valid=frame["valid"].transpose("x", "y"))
    again = ingest([source], tmp_path / "s.zarr")
    assert again.wavelengths_nm == scene.wavelengths_nm
    assert again.good_bands == scene.good_bands
    place, before = again.frames[0].georeference, scene.frames[1].georeference
    assert place is not None
    assert before is not None
    assert place.agrees(before, scene.frames[1].shape)
    window = whole(scene.frames[1].shape)
    np.testing.assert_array_equal(again.read(0, window), scene.read(1, window))
    np.testing.assert_array_equal(again.valid(0, window), scene.valid(1, window))


def test_arguments_count_before_coordinates_and_fill_values_are_known() -> None:
    coords = {"wavelength": ("wavelength", [0.4, 0.5, 0.6], {"units": "um"})}
    values = xr.DataArray(
        cube(), coords, ("lines", "sample", "wavelength"), attrs={"_FillValue": -9, "lamp": 2}
    )
    header = source_from_array(values, name="lab", dims="byx").header
    assert (header.shape, header.wavelengths_nm) == (SHAPE, (400.0, 500.0, 600.0))
    assert header.no_data == -9
    assert header.attributes["lamp"] == "2"
    told = source_from_array(values, name="lab", wavelengths_nm=WAVELENGTHS)
    assert told.header.wavelengths_nm == WAVELENGTHS


@pytest.mark.parametrize("labelled", [False, True])
def test_a_lazy_array_is_computed_window_by_window(labelled: bool) -> None:
    computed: list[Any] = []

    def make(block: NDArray[Any], block_info: Any = None) -> NDArray[Any]:
        computed.append(block_info[0]["chunk-location"])
        return block

    lazy = da.from_array(np.ones((20, 20, BANDS)), chunks=(10, 10, BANDS)).map_blocks(
        make, dtype=float, meta=np.empty((0, 0, 0))
    )
    values = xr.DataArray(lazy, dims=("y", "x", "band")) if labelled else lazy
    source = source_from_array(values, name="lab")
    assert computed == []
    assert source.read((slice(0, 5), slice(12, 20))).shape == (BANDS, 5, 8)
    assert computed == [(0, 1, 0)]


@pytest.mark.parametrize(
    ("values", "facts", "message"),
    [
        (cube().tolist(), {}, "An array is needed for lab, but found a list"),
        (cube()[0], {}, r"three axes, y, x and band, is needed for lab, but its shape is \(7, 3\)"),
        (np.ma.masked_less(cube(), 9), {}, "masked array. Give its data, and valid="),
        (cube().astype("c8"), {}, "those of lab are complex"),
        (cube(), {"dims": "yxc"}, "letters y, x and b once each"),
        (cube(), {"dims": "yx"}, "letters y, x and b once each"),
        (xr.DataArray(cube(), dims=("band", "u", "v")), {}, "dims='yxb' says otherwise"),
        (cube(), {"wavelengths_nm": [450]}, "has 1 for 3 bands"),
        (cube(), {"valid": np.ones((7, 5), bool)}, r"shape \(5, 7\), but has the shape \(7, 5\)"),
        (cube(), {"valid": np.ones((5, 7))}, "the type float64"),
        (cube(), {"name": "a/b"}, "the array has 'a/b'"),
    ],
    ids=[
        "list",
        "2-d",
        "masked",
        "complex",
        "letter",
        "few",
        "names",
        "waves",
        "mask",
        "type",
        "name",
    ],
)
def test_arrays_that_make_no_frame_are_refused(
    values: Any, facts: dict[str, Any], message: str
) -> None:
    with pytest.raises(SceneError, match=message):
        source_from_array(values, **{"name": "lab", **facts})


def test_the_name_is_public() -> None:
    assert hs.source_from_array is source_from_array
    assert "source_from_array" in hs.__all__
