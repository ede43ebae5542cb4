"""Labels of a scene from rasters, shapes and single places: the same, whatever holds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.warp import transform as to_system

import hsistream as hs
from hsistream.errors import ConfigError, HsistreamError, SceneError
from hsistream.readers.label_sources import read_labelled
from hsistream.readers.labelled import Labelled, LabelOptions, joined
from hsistream.readers.map_places import ground_places
from hsistream.readers.options import ReadOptions
from hsistream.scene.scene import Scene

DRIVERS = {".geojson": "GeoJSON", ".gpkg": "GPKG", ".shp": "ESRI Shapefile"}


@pytest.fixture
def truth() -> dict[str, NDArray[np.uint8]]:
    """Some labels of both frames of the shared scene, three classes."""
    found: dict[str, NDArray[np.uint8]] = {}
    for name, shape in (("frame0", (50, 70)), ("frame1", (33, 48))):
        random = np.random.default_rng(len(found))
        labels = random.integers(1, 4, shape).astype(np.uint8)
        found[name] = labels * (random.random(shape) < 0.05)
    return found


def places(truth: dict[str, NDArray[np.uint8]]) -> list[tuple[str, int, int, int]]:
    return [
        (name, int(row), int(column), int(labels[row, column]))
        for name, labels in truth.items()
        for row, column in np.argwhere(labels)
    ]


def coordinates(scene: Scene, name: str, row: float, column: float) -> tuple[float, float]:
    georeference = scene.frames[scene.frame_number(name)].georeference
    assert georeference is not None
    a, b, c, d, e, f = georeference.transform
    return a * column + b * row + c, d * column + e * row + f


def system(scene: Scene) -> str:
    georeference = scene.frames[0].georeference
    assert georeference is not None
    return georeference.crs_wkt


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    lines = [",".join(head), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_shapes(
    path: Path, geometries: Sequence[object], names: Sequence[object], crs: str, **options: Any
) -> Path:
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(geometries, object)),
        [np.array(names)],
        ["class"],
        geometry_type=type(geometries[0]).__name__,
        crs=crs,
        driver=DRIVERS[path.suffix],
        **options,
    )
    return path


def same(first: Labelled, other: Labelled) -> bool:
    return first.fingerprint == other.fingerprint and first.names == other.names


def test_labels_are_sorted_by_place_and_numbered_by_class(
    scene: Scene, truth: dict[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "labels.npz", frame0=truth["frame0"], frame1=truth["frame1"])
    found = read_labelled(tmp_path / "labels.npz", scene, LabelOptions())
    frames = [frame.name for frame in scene.frames]
    mine = [
        (frames[f], int(r), int(c), int(found.names[n]))
        for f, r, c, n in zip(found.frame, found.row, found.column, found.number, strict=True)
    ]
    assert mine == places(truth)
    assert found.names == ("1", "2", "3")


def test_pixels_of_a_csv_are_those_of_the_raster(
    scene: Scene, truth: dict[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "labels.npz", frame0=truth["frame0"], frame1=truth["frame1"])
    rows = [(name, column, row, each) for name, row, column, each in reversed(places(truth))]
    path = write_csv(tmp_path / "labels.csv", ("frame", "x", "y", "class"), rows)
    raster = read_labelled(tmp_path / "labels.npz", scene, LabelOptions())
    assert same(read_labelled(path, scene, LabelOptions()), raster)


@pytest.mark.parametrize(
    ("head", "comma"),
    [
        ("Frame;X;Y;Class", ";"),
        ("frame\tcol\trow\tCLASS", "\t"),
        ('"frame", column, row, class', ","),
    ],
)
def test_the_columns_of_a_csv_may_be_written_in_other_ways(
    scene: Scene, truth: dict[str, NDArray[np.uint8]], tmp_path: Path, head: str, comma: str
) -> None:
    np.savez(tmp_path / "labels.npz", frame0=truth["frame0"], frame1=truth["frame1"])
    rows = [comma.join(map(str, (name, x, y, each))) for name, y, x, each in places(truth)]
    (tmp_path / "labels.csv").write_text("\n".join([head, *rows]) + "\n")
    raster = read_labelled(tmp_path / "labels.npz", scene, LabelOptions())
    assert same(read_labelled(tmp_path / "labels.csv", scene, LabelOptions()), raster)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_csv_of_another_encoding_is_refused_with_what_to_do(
    scene: Scene, tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("x,y,class\n1,2,Öl\n", encoding=encoding)
    with pytest.raises(SceneError, match="Save it as UTF-8"):
        read_labelled(path, scene, LabelOptions(frame="frame0"))


def test_the_layer_of_a_file_of_several_is_named(scene: Scene, tmp_path: Path) -> None:
    path, crs = tmp_path / "labels.gpkg", system(scene)
    for layer, row in (("fields", 5), ("roads", 9)):
        point = [shapely.Point(*coordinates(scene, "frame0", row + 0.5, 2.5))]
        write_shapes(path, point, [layer], crs, layer=layer, append=path.exists())
    found = read_labelled(path, scene, LabelOptions(key="roads", frame="frame0"))
    assert (found.names, found.row.tolist()) == (("roads",), [9])
    for key in (None, "rivers"):
        with pytest.raises(SceneError, match=r"fields, roads\. Name it with --key"):
            read_labelled(path, scene, LabelOptions(key=key))


@pytest.mark.parametrize("degrees", [False, True])
def test_coordinates_of_a_csv_are_those_of_the_raster(
    scene: Scene, truth: dict[str, NDArray[np.uint8]], tmp_path: Path, degrees: bool
) -> None:
    np.savez(tmp_path / "labels.npz", frame0=truth["frame0"], frame1=truth["frame1"])
    rows = []
    for name, row, column, each in places(truth):
        x, y = coordinates(scene, name, row + 0.4, column + 0.7)
        if degrees:
            [x], [y] = to_system(system(scene), "EPSG:4326", [x], [y])
        rows.append((x, y, each, name))
    head = ("lon", "lat") if degrees else ("x_map", "y_map")
    path = write_csv(tmp_path / "labels.csv", (*head, "class", "frame"), rows)
    raster = read_labelled(tmp_path / "labels.npz", scene, LabelOptions())
    assert same(read_labelled(path, scene, LabelOptions()), raster)


@pytest.mark.parametrize("suffix", list(DRIVERS))
def test_points_are_those_of_the_raster(scene: Scene, tmp_path: Path, suffix: str) -> None:
    labels = np.zeros((50, 70), np.uint8)
    labels[[3, 20, 41, 41], [5, 60, 0, 69]] = [1, 2, 1, 3]
    np.save(tmp_path / "labels.npy", labels)
    crs = "EPSG:4326" if suffix == ".geojson" else system(scene)
    points = []
    for row, column in np.argwhere(labels):
        x, y = coordinates(scene, "frame0", row + 0.5, column + 0.5)
        if suffix == ".geojson":
            [x], [y] = to_system(system(scene), crs, [x], [y])
        points.append(shapely.Point(x, y))
    names = labels[labels > 0].astype(np.int32).tolist()
    path = write_shapes(tmp_path / f"labels{suffix}", points, names, crs)
    options = LabelOptions(frame="frame0")
    raster = read_labelled(tmp_path / "labels.npy", scene, options)
    assert same(read_labelled(path, scene, options), raster)


def test_polygons_label_the_pixels_whose_centre_they_hold(scene: Scene, tmp_path: Path) -> None:
    labels = np.zeros((50, 70), np.uint8)
    labels[4:12, 6:30] = 1
    labels[30:50, 50:70] = 2  # half of it lies beyond the frame
    np.save(tmp_path / "labels.npy", labels)
    shapes = []
    for top, bottom, left, right in ((3.6, 12.4, 5.6, 30.4), (29.6, 60, 49.6, 70)):
        corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
        shapes.append(shapely.Polygon([coordinates(scene, "frame0", *each) for each in corners]))
    path = write_shapes(tmp_path / "labels.gpkg", shapes, [1, 2], system(scene))
    options = LabelOptions(frame="frame0")
    assert same(
        read_labelled(path, scene, options),
        read_labelled(tmp_path / "labels.npy", scene, options),
    )


def test_a_polygon_is_the_same_drawn_in_strips(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corners = [(1, 2), (12, 66), (48, 60), (30, 5)]
    shape = shapely.Polygon([coordinates(scene, "frame0", *each) for each in corners])
    path = write_shapes(tmp_path / "labels.gpkg", [shape], ["meadow"], system(scene))
    whole = read_labelled(path, scene, LabelOptions(frame="frame0"))
    monkeypatch.setattr("hsistream.readers.label_shapes.STRIP_PX", 7)
    assert same(read_labelled(path, scene, LabelOptions(frame="frame0")), whole)
    assert whole.names == ("meadow",)
    assert len(whole.number) > 1000


def test_a_geotiff_is_read_as_labels(scene: Scene, tmp_path: Path) -> None:
    labels = np.zeros((50, 70), np.uint8)
    labels[10:20, 10:20], labels[30, 30] = 4, 9
    profile = {"driver": "GTiff", "height": 50, "width": 70, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "frame0.tif", "w", **profile) as file:
        file.write(labels, 1)
    found = read_labelled(tmp_path / "frame0.tif", scene, LabelOptions())
    assert found.names == ("4", "9")
    assert len(found.number) == 101


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("shift_px", [0, 1])
def test_a_raster_must_lie_on_the_grid_of_its_frame(
    scene: Scene, tmp_path: Path, shift_px: int, alone: bool
) -> None:
    georeference = scene.frames[0].georeference
    assert georeference is not None
    moved = georeference.shifted(0, shift_px)
    profile = {"driver": "GTiff", "height": 50, "width": 70, "count": 1, "dtype": "uint8"}
    profile |= {"transform": Affine(*moved.transform), "crs": moved.crs_wkt}
    with rasterio.open(tmp_path / "frame0.tif", "w", **profile) as file:
        file.write(np.tile(np.array([1, 2], np.uint8), (50, 35)), 1)
    if not alone:
        np.save(tmp_path / "frame1.npy", np.ones(scene.frames[1].shape, np.uint8))
    place = tmp_path / "frame0.tif" if alone else tmp_path
    if shift_px:
        with pytest.raises(ConfigError, match="lies elsewhere"):
            read_labelled(place, scene, LabelOptions())
    else:
        found = read_labelled(place, scene, LabelOptions())
        beside = 0 if alone else np.prod(scene.frames[1].shape)
        assert len(found.number) == 3500 + beside


def one_frame(scene: Scene) -> Scene:
    return replace(scene, frames=scene.frames[:1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a @ Affine.translation(0, 1), "first pixel is at .*, not the .* of frame0"),
        (lambda a: a @ Affine.scale(2), "pixels measure .*, not the .* of frame0"),
    ],
)
def test_a_raster_of_any_name_in_a_folder_must_lie_on_the_grid(
    scene: Scene, tmp_path: Path, change: Callable[[Affine], Affine], said: str
) -> None:
    georeference = scene.frames[0].georeference
    assert georeference is not None
    profile = {"driver": "GTiff", "height": 50, "width": 70, "count": 1, "dtype": "uint8"}
    profile |= {"transform": change(Affine(*georeference.transform))}
    profile |= {"crs": georeference.crs_wkt}
    with rasterio.open(tmp_path / "truth.tif", "w", **profile) as file:
        file.write(np.tile(np.array([1, 2], np.uint8), (50, 35)), 1)
    with pytest.raises(ConfigError, match=said):
        read_labelled(tmp_path, one_frame(scene), LabelOptions())


def test_a_raster_elsewhere_without_a_coordinate_system_is_refused(
    scene: Scene, tmp_path: Path
) -> None:
    georeference = scene.frames[0].georeference
    assert georeference is not None
    profile = {"driver": "GTiff", "height": 50, "width": 70, "count": 1, "dtype": "uint8"}
    profile |= {"transform": Affine(*georeference.shifted(0, 3).transform)}
    with rasterio.open(tmp_path / "frame0.tif", "w", **profile) as file:
        file.write(np.tile(np.array([1, 2], np.uint8), (50, 35)), 1)
    with pytest.raises(ConfigError, match=r"first pixel is at .*, not the .* of frame0"):
        read_labelled(tmp_path / "frame0.tif", scene, LabelOptions())


def test_another_coordinate_system_is_named(scene: Scene, tmp_path: Path) -> None:
    georeference = scene.frames[0].georeference
    assert georeference is not None
    profile = {"driver": "GTiff", "height": 50, "width": 70, "count": 1, "dtype": "uint8"}
    profile |= {"transform": Affine(*georeference.transform), "crs": "EPSG:32632"}
    with rasterio.open(tmp_path / "frame0.tif", "w", **profile) as file:
        file.write(np.tile(np.array([1, 2], np.uint8), (50, 35)), 1)
    with pytest.raises(ConfigError, match="coordinate system is EPSG:32632, not the EPSG:32633"):
        read_labelled(tmp_path / "frame0.tif", scene, LabelOptions())


def test_whole_numbers_of_a_column_with_gaps_are_whole(scene: Scene, tmp_path: Path) -> None:
    rows = [(1, 1, "13.0"), (2, 1, "0.0"), (3, 1, "2.0"), (4, 1, ""), (5, 1, "nan"), (6, 1, "v1.0")]
    path = write_csv(tmp_path / "labels.csv", ("x", "y", "class"), rows)
    assert read_labelled(path, scene, LabelOptions(frame="frame0")).names == ("2", "13", "v1.0")


def test_what_frames_show_of_one_place_has_one_place(scene: Scene) -> None:
    first = scene.frames[0].georeference
    assert first is not None
    second = replace(scene.frames[1], georeference=first.shifted(-3, 20))
    overlapping = replace(scene, frames=(scene.frames[0], second))
    frame, row, column = np.array([[0, 1, 1], [5, 8, 0], [30, 10, 0]])
    found = np.stack(ground_places(overlapping, frame, row, column))
    np.testing.assert_array_equal(found, [[0, 0, 0], [5, 5, -3], [30, 30, 20]])


def test_classes_are_ordered_as_numbers_then_as_words() -> None:
    place = np.arange(5)
    found = joined(0 * place, place, place, ["10", "soil", "9", "Soil", "2"])
    assert found.names == ("2", "9", "10", "Soil", "soil")
    assert [found.names[each] for each in found.number] == ["10", "soil", "9", "Soil", "2"]


def test_pixels_of_two_classes_are_left_out_and_counted() -> None:
    row = np.array([1, 1, 1, 2, 2, 3])
    found = joined(0 * row, row, 0 * row, ["a", "b", "a", "a", "a", "c"])
    assert found.row.tolist() == [2, 3]
    assert found.names == ("a", "b", "c")
    assert found.notes == ("1 pixels have labels of several classes and are left out",)


def test_places_beyond_all_frames_are_counted(scene: Scene, tmp_path: Path) -> None:
    x, y = coordinates(scene, "frame0", 20, 20)
    rows = [(x, y, "a"), (x, y + 1e5, "b")]
    path = write_csv(tmp_path / "labels.csv", ("x_map", "y_map", "class"), rows)
    found = read_labelled(path, scene, LabelOptions())
    assert len(found.number) == 1
    assert found.notes == ("1 of 2 places of labels.csv lie in no frame",)


def test_a_fingerprint_is_of_places_classes_and_names() -> None:
    row = np.array([1, 2])
    prints = {
        joined(0 * row, row, 0 * row, names).fingerprint
        for names in (["a", "b"], ["b", "a"], ["a", "a"], ["a", "c"])
    }
    prints.add(joined(0 * row, row + 1, 0 * row, ["a", "b"]).fingerprint)
    assert len(prints) == 5


@dataclass(frozen=True)
class Refused:
    """A file of labels that cannot be used."""

    name: str
    text: str
    error: type[HsistreamError]
    message: str
    frame: str | None = None


POINT = {"type": "Point", "coordinates": [10.0, 50.0]}
EMPTY = {"type": "Polygon", "coordinates": []}
LINE = {"type": "LineString", "coordinates": [[10.0, 50.0], [11.0, 50.0]]}


def feature(geometry: object, field: str = "class") -> str:
    found = {"type": "Feature", "properties": {field: "a"}, "geometry": geometry}
    return json.dumps({"type": "FeatureCollection", "features": [found]})


REFUSED = [
    Refused("a.csv", "x,y\n1,1\n", SceneError, "columns class"),
    Refused("a.csv", "", SceneError, "no rows"),
    Refused("a.csv", "x,y,class\n1,b,a\n", SceneError, "Places are numbers"),
    Refused("a.csv", "x,y,class\n1,1,a\n", ConfigError, "names none"),
    Refused("a.csv", "x,y,class\n70,1,a\n", ConfigError, "50 x 70", "frame0"),
    Refused("a.csv", "x,y,class\n1.5,1,a\n", ConfigError, "x = 1.5", "frame0"),
    Refused("a.csv", "x,y,class\n1,1,0\n", SceneError, "labels no pixel", "frame0"),
    Refused("a.csv", "x,y,class,frame\n1,1,a,frame9\n", SceneError, "no frame 'frame9'"),
    Refused("a.csv", "x,y,class,frame\n1,1,a\n", SceneError, "no frame ''"),
    Refused("a.csv", "lon,lat,class\n-60,10,a\n", ConfigError, "none of the 1 places"),
    Refused("a.csv", "lon,lat,class\n36.5,-120.1,a\n", ConfigError, "order of the columns"),
    Refused("a.geojson", feature(EMPTY), ConfigError, "none of the 0 shapes"),
    Refused("a.geojson", feature(POINT), ConfigError, "none of the 1 shapes"),
    Refused("a.geojson", feature(LINE), SceneError, "LineString"),
    Refused("a.geojson", feature(POINT, "kind"), SceneError, "no 'class'; it has kind"),
    Refused("a.geojson", "{", SceneError, "cannot be read as points or polygons"),
    Refused("a.gpkg", "nothing", SceneError, "cannot be read as points or polygons"),
    Refused("a.txt", "nothing", SceneError, "Labels are read from"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.message)
def test_labels_that_do_not_fit_are_refused(scene: Scene, tmp_path: Path, case: Refused) -> None:
    path = tmp_path / case.name
    path.write_text(case.text)
    with pytest.raises(case.error, match=case.message):
        read_labelled(path, scene, LabelOptions(frame=case.frame))


def test_a_raster_of_measurements_has_too_many_classes(scene: Scene, tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.arange(3500).reshape(50, 70))
    with pytest.raises(ConfigError, match="At most 1000 classes"):
        read_labelled(tmp_path / "values.npy", scene, LabelOptions(frame="frame0"))


def test_a_scene_without_georeference_takes_pixels_only(
    make_plain: Callable[[], Scene], tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "a.csv", ("lon", "lat", "class"), [(1, 2, "a")])
    with pytest.raises(ConfigError, match="georeference"):
        read_labelled(path, make_plain(), LabelOptions())


@pytest.fixture
def make_plain(tmp_path: Path) -> Callable[[], Scene]:
    def make() -> Scene:
        cube = np.random.default_rng(0).random((12, 10, 5)).astype(np.float32)
        np.save(tmp_path / "plain.npy", cube)
        return hs.ingest(
            hs.open_sources([tmp_path / "plain.npy"], ReadOptions(axes="yxb")),
            tmp_path / "plain.zarr",
        )

    return make
