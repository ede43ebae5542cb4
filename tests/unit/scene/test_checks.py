from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.scene.ingest import ingest
from hsistream.scene.source import FrameHeader
from hsistream.tiles import Window
from tests.strategies import whole

SHAPE, BANDS = (5, 7), 3
HEADER = FrameHeader("lab", SHAPE, BANDS, np.dtype("u1"))


@dataclass(frozen=True)
class OwnSource:
    """A source as a user may write it: its values are one array, whatever is asked for."""

    header: FrameHeader
    values: Any = None
    mask: Any = None

    def read(self, window: Window) -> NDArray[Any]:
        return np.ones((BANDS, *SHAPE), "u1") if self.values is None else self.values

    def valid(self, window: Window) -> NDArray[np.bool_] | None:
        return self.mask  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".lab", "a/b", "a\\b", "zarr.json", "a\0", None, 3]
)
def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path, name: Any) -> None:
    source = OwnSource(replace(HEADER, name=name))
    with pytest.raises(SceneError, match=r"source 1 \(OwnSource\) has .*Choose another"):
        ingest([source], tmp_path / "s.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": np.dtype("c8")}, "Spectra are real numbers, but those of lab are complex"),
        ({"dtype": np.dtype(bool)}, "integers or floats of at most 64 bits"),
        ({"dtype": "spectra"}, "dtype of lab must be a numpy type"),
        ({"bands": 0}, "bands of lab must be a whole number from 1, but is 0"),
        ({"bands": 2.5}, "bands of lab must be a whole number"),
        ({"shape": (0, 7)}, "shape of lab must be height and width"),
        ({"shape": (5, 7, 3)}, "shape of lab must be height and width"),
        ({"shape": 5}, "shape of lab must be height and width"),
        ({"name": "é" * 121}, "a name of at most 240 bytes"),
        ({"wavelengths_nm": (450.0,)}, "one value per band or none, but has 1 for 3 bands"),
        ({"wavelengths_nm": (450.0, np.nan, 1)}, "a vector of finite numbers"),
        ({"wavelengths_nm": "blue"}, "a vector of finite numbers"),
        ({"wavelengths_nm": np.ones((3, 1))}, "a vector of finite numbers"),
        ({"fwhm_nm": (5.0,) * 4}, "fwhm_nm of lab must have one value per band"),
        ({"good_bands": (0, 1, 2)}, "good_bands of lab must be a vector of truth values"),
        ({"good_bands": (True,)}, "good_bands of lab must have one value per band"),
        ({"no_data": "none"}, "no_data of lab must be a number or None"),
        ({"georeference": (1, 0, 0, 0, 1, 0)}, "georeference of lab must be a Georeference"),
        ({"attributes": ["a"]}, "attributes of lab must be a mapping"),
    ],
    ids=str,
)
def test_a_header_that_describes_no_frame_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SceneError, match=message):
        ingest([OwnSource(replace(HEADER, **change))], tmp_path / "s.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_header_of_another_type_is_refused(tmp_path: Path) -> None:
    source = OwnSource({"name": "lab"})  # type: ignore[arg-type]
    with pytest.raises(SceneError, match=r"must be a FrameHeader .* but is a dict"):
        ingest([source], tmp_path / "s.zarr")


def test_values_of_numpy_in_a_header_are_taken(tmp_path: Path) -> None:
    header = FrameHeader(
        name="lab",
        shape=np.array(SHAPE),  # type: ignore[arg-type]
        bands=np.int64(BANDS),  # type: ignore[arg-type]
        dtype=np.uint8,  # type: ignore[arg-type]
        wavelengths_nm=np.array([450, 550, 650]),  # type: ignore[arg-type]
        good_bands=np.array([1, 0, 1]),  # type: ignore[arg-type]
        no_data=np.uint8(9),  # type: ignore[arg-type]
        attributes={"gain": np.float32(0.5), "dark": np.arange(2), "lines": 5},  # type: ignore[dict-item]
    )
    scene = ingest([OwnSource(header)], tmp_path / "s.zarr")
    assert scene.wavelengths_nm == (450.0, 550.0, 650.0)
    assert scene.good_bands == (True, False, True)
    assert scene.no_data == 9
    attributes = scene.open_frame("lab").attrs["source"]
    assert attributes == {"gain": "0.5", "dark": "[0, 1]", "lines": "5"}


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (np.ones((*SHAPE, BANDS), "u1"), "u1", r"returned \(5, 7, 3\)"),
        (np.ones((BANDS, 1, 1), "u1"), "u1", r"returned \(3, 1, 1\)"),
        (np.full((BANDS, *SHAPE), 1000.0), "u1", "returned float64, which uint8 cannot hold"),
        (np.full((BANDS, *SHAPE), 0.5, "f4"), "i2", "returned float32, which int16 cannot hold"),
        (np.full((BANDS, *SHAPE), 300, "u2"), "u1", "returned uint16, which uint8 cannot hold"),
        (np.full((BANDS, *SHAPE), 1 + 1j), "f4", "returned complex128, which float32 cannot"),
        (np.ma.masked_less(np.ones((BANDS, *SHAPE), "u1"), 2), "u1", "a masked array"),
    ],
    ids=["order of axes", "broadcast", "wraps", "truncates", "too large", "complex", "masked"],
)
def test_values_that_the_header_does_not_describe_are_refused(
    tmp_path: Path, values: NDArray[Any], dtype: str, message: str
) -> None:
    source = OwnSource(replace(HEADER, dtype=np.dtype(dtype)), values)
    with pytest.raises(SceneError, match=f"lab.*{message}"):
        ingest([source], tmp_path / "s.zarr")
    assert list(tmp_path.iterdir()) == []


def test_values_of_a_wider_type_are_taken_where_they_fit(tmp_path: Path) -> None:
    values = np.full((BANDS, *SHAPE), 200, "u2")
    scene = ingest([OwnSource(HEADER, values)], tmp_path / "s.zarr")
    assert scene.dtype == "uint8"
    np.testing.assert_array_equal(scene.read(0, whole(SHAPE)), values)


@pytest.mark.parametrize(
    "mask", [np.ones(SHAPE[::-1], bool), np.ones((1, 1), bool), np.ones(SHAPE), True], ids=str
)
def test_a_mask_of_another_shape_or_type_is_refused(tmp_path: Path, mask: Any) -> None:
    with pytest.raises(SceneError, match="valid of lab must return truth values"):
        ingest([OwnSource(HEADER, mask=mask)], tmp_path / "s.zarr")


def test_a_mask_of_integers_is_taken(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, "u1")
    mask[2, 3:5] = 255
    scene = ingest([OwnSource(HEADER, mask=mask)], tmp_path / "s.zarr")
    np.testing.assert_array_equal(scene.valid(0, whole(SHAPE)), mask > 0)


def test_sources_may_come_from_a_generator(tmp_path: Path) -> None:
    names = ("b", "a")
    scene = ingest((OwnSource(replace(HEADER, name=name)) for name in names), tmp_path / "s.zarr")
    assert tuple(frame.name for frame in scene.frames) == names


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ("hysu.npz", "str"),
        (Path("hysu.npz"), "PosixPath"),
        (["hysu.npz"], "str"),
        (np.ones((5, 7, 3)), "ndarray"),
        ([np.ones((5, 7, 3))], "ndarray"),
        (np.float64(3), "float64"),
        (None, "NoneType"),
        ([OwnSource(HEADER), HEADER], "FrameHeader"),
    ],
    ids=str,
)
def test_what_is_no_source_is_refused_with_what_makes_one(
    tmp_path: Path, sources: Any, found: str
) -> None:
    with pytest.raises(SceneError, match=f"found a {found}.*open_sources.*source_from_array"):
        ingest(sources, tmp_path / "s.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_source_in_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"found a OwnSource alone\. Put it in a list"):
        ingest(OwnSource(HEADER), tmp_path / "s.zarr")  # type: ignore[arg-type]


def test_a_path_of_a_source_may_be_text(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class FileSource(OwnSource):
        path: str = "lab.raw"

    other = FileSource(replace(HEADER, name="other"))
    assert len(ingest([FileSource(HEADER), other], tmp_path / "s.zarr").frames) == 2
