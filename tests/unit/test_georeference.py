from __future__ import annotations

import json

import numpy as np
import pytest
import rioxarray  # noqa: F401 (gives xarray its ``rio`` accessor)
from rasterio.crs import CRS
from rasterio.transform import Affine, xy

from hsistream.georeference import Georeference
from hsistream.scene.scene import Scene

NORTH_UP = (5.0, 0.0, 370_000.0, 0.0, -5.0, 5_810_000.0)
SKEWED = (3.0, 2.0, 370_000.0, 4.0, -3.0, 5_810_000.0)
UTM = CRS.from_epsg(32633).to_wkt()
US_FEET = CRS.from_epsg(2263).to_wkt()
DEGREES = CRS.from_epsg(4326).to_wkt()
FOOT_M = 1200 / 3937


@pytest.mark.parametrize(
    ("transform", "wkt", "expected"),
    [
        (NORTH_UP, UTM, 25.0),
        (SKEWED, UTM, 17.0),
        (NORTH_UP, US_FEET, 25.0 * FOOT_M**2),
        (NORTH_UP, DEGREES, None),
        (NORTH_UP, "", None),
    ],
    ids=["metres", "skewed", "feet", "degrees", "unknown"],
)
def test_the_area_of_a_pixel(
    transform: tuple[float, float, float, float, float, float], wkt: str, expected: float | None
) -> None:
    assert Georeference(transform, wkt).pixel_area_m2() == pytest.approx(expected)


def test_coordinates_are_those_of_pixel_centres() -> None:
    y, x = Georeference(NORTH_UP).coordinates((3, 4))
    columns, rows = xy(Affine(*NORTH_UP), [0, 1, 2], [0, 0, 0])
    np.testing.assert_allclose(y, rows)
    columns, rows = xy(Affine(*NORTH_UP), [0, 0, 0, 0], [0, 1, 2, 3])
    np.testing.assert_allclose(x, columns)


@pytest.mark.parametrize("transform", [NORTH_UP, SKEWED])
def test_a_shifted_origin_gives_pixels_the_same_place(
    transform: tuple[float, float, float, float, float, float],
) -> None:
    moved = Georeference(transform, UTM).shifted(7, 2)
    assert xy(Affine(*moved.transform), 1, 3) == pytest.approx(xy(Affine(*transform), 8, 5))
    assert moved.crs_wkt == UTM


def test_the_geotransform_has_the_order_of_gdal() -> None:
    mapping = Georeference(SKEWED, UTM).grid_mapping()
    values = tuple(float(value) for value in mapping["GeoTransform"].split())
    assert values == Affine(*SKEWED).to_gdal()
    assert CRS.from_wkt(mapping["crs_wkt"]) == CRS.from_epsg(32633)


def test_a_place_without_system_writes_none() -> None:
    place = Georeference(NORTH_UP)
    assert "crs_wkt" not in place.grid_mapping()
    assert not any(key.startswith("proj:") for key in place.group_attributes((2, 3)))


def test_group_attributes_follow_the_conventions_and_are_json() -> None:
    attributes = json.loads(json.dumps(Georeference(NORTH_UP, UTM).group_attributes((2, 3))))
    assert attributes["spatial:transform"] == list(NORTH_UP)
    assert attributes["spatial:shape"] == [2, 3]
    assert attributes["proj:code"] == "EPSG:32633"


# affine's own notice, met inside rioxarray
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_rioxarray_reads_system_and_transform_of_a_written_frame(scene: Scene) -> None:
    for frame in scene.frames:
        assert frame.georeference is not None
        opened = scene.open_frame(frame.name)
        assert opened.rio.crs == CRS.from_wkt(frame.georeference.crs_wkt)
        assert opened["spectra"].rio.transform() == Affine(*frame.georeference.transform)
        assert (opened.rio.height, opened.rio.width) == frame.shape
