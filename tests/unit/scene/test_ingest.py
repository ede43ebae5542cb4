from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.errors import HsistreamError, SceneError, StoreError
from hsistream.events import Event, Progress, StageFinished, StageStarted
from hsistream.georeference import Georeference
from hsistream.readers.sources import open_sources
from hsistream.scene.ingest import (
    IngestOptions,
    ingest,
)
from hsistream.scene.layout import CHUNK_BYTES, SHARD_BYTES, choose_storage
from hsistream.scene.missing import BAD_BAND_SHARE, find_missing
from hsistream.scene.scene import Scene
from hsistream.scene.source import FrameHeader, Source
from hsistream.stores import arrays
from hsistream.tiles import Window
from tests.strategies import Shape, array_source, bad_bands, shapes, whole

BANDS, HEIGHT, WIDTH = 4, 10, 12


def cube(seed: int = 0, shape: tuple[int, int, int] = (BANDS, HEIGHT, WIDTH)) -> NDArray[Any]:
    """Positive float32 values without pattern, (band, y, x)."""
    return np.random.default_rng(seed).uniform(1, 2, shape).astype(np.float32)


def valid_of(scene: Scene, frame: int = 0) -> NDArray[np.bool_]:
    return scene.valid(frame, whole(scene.frames[frame].shape))


def spectra_of(scene: Scene, frame: int = 0) -> NDArray[Any]:
    return scene.read(frame, whole(scene.frames[frame].shape))


@dataclass(frozen=True)
class FailingSource:
    """A source whose medium breaks after some reads."""

    inner: Source
    reads: list[int]
    error: BaseException

    @property
    def header(self) -> FrameHeader:
        return self.inner.header

    def read(self, window: Window) -> NDArray[Any]:
        if self.reads.pop() == 0:
            raise self.error
        return self.inner.read(window)

    def valid(self, window: Window) -> NDArray[np.bool_] | None:
        return self.inner.valid(window)


# --- values --------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_storage")
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 1), (16, 32), (47, 65)], ids=str)
def test_what_is_read_is_what_the_source_holds(tmp_path: Path, dtype: str, shape: Shape) -> None:
    values = np.random.default_rng(0).integers(1, 100, (BANDS, *shape)).astype(dtype)
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert scene.frames[0].shape == shape
    assert scene.dtype == values.dtype.name
    np.testing.assert_array_equal(spectra_of(scene), values)
    assert valid_of(scene).all()
    scene.check_complete()


@settings(max_examples=15)
@given(shapes(70), bad_bands(5), st.integers(0, 100))
def test_any_shape_with_any_bad_bands_is_kept(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, bad: tuple[int, ...], seed: int
) -> None:
    values = cube(seed, (5, *shape))
    values[list(bad)] = np.nan
    uri = tmp_path_factory.getbasetemp() / "any.zarr"
    scene = ingest([array_source(values)], uri, IngestOptions(overwrite=True))
    np.testing.assert_array_equal(spectra_of(scene), values)
    assert scene.good_bands == tuple(band not in bad for band in range(5))
    assert scene.valid_pixels == scene.pixels == shape[0] * shape[1]


def test_several_frames_keep_their_order_names_and_sizes(tmp_path: Path) -> None:
    parts = [cube(number, (BANDS, 5 + number, 7)) for number in range(3)]
    sources = [array_source(part, name) for part, name in zip(parts, "cab", strict=True)]
    scene = ingest(sources, tmp_path / "s.zarr")
    assert [frame.name for frame in scene.frames] == ["c", "a", "b"]
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(spectra_of(scene, number), part)


def test_frames_of_two_types_get_one_that_holds_both(tmp_path: Path) -> None:
    sources = [
        array_source(np.full((2, 3, 3), 60_000, np.uint16), "a"),
        array_source(np.full((2, 3, 3), 0.5, np.float32), "b"),
    ]
    scene = ingest(sources, tmp_path / "s.zarr")
    assert scene.dtype == "float32"
    assert spectra_of(scene, 0)[0, 0, 0] == 60_000
    assert spectra_of(scene, 1)[0, 0, 0] == 0.5


# --- bands and pixels without data ---------------------------------------------------------


def test_a_band_without_values_is_bad_and_its_pixels_are_not(tmp_path: Path) -> None:
    values = cube()
    values[2] = np.nan
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert scene.good_bands == (True, True, False, True)
    assert valid_of(scene).all()
    assert any("1 of 4 bands are bad" in note for note in scene.notes)


def test_scattered_missing_values_cost_their_pixels(tmp_path: Path) -> None:
    values = cube()
    values[0, 1, 2], values[3, 5, 5], values[1, 5, 5] = np.nan, np.inf, -np.inf
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert all(scene.good_bands)
    expected = np.ones((HEIGHT, WIDTH), bool)
    expected[1, 2] = expected[5, 5] = False
    np.testing.assert_array_equal(valid_of(scene), expected)
    assert scene.valid_pixels == HEIGHT * WIDTH - 2


@pytest.mark.parametrize(("extra", "good"), [(0, True), (1, False)])
def test_a_band_is_bad_beyond_its_share_of_missing_values(
    tmp_path: Path, extra: int, good: bool
) -> None:
    values = cube()
    missing = round(BAD_BAND_SHARE * HEIGHT * WIDTH) + extra
    values[1].reshape(-1)[:missing] = np.nan
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert scene.good_bands[1] is good
    assert scene.valid_pixels == HEIGHT * WIDTH - (missing if good else 0)


def test_the_share_of_missing_values_is_taken_over_all_frames(tmp_path: Path) -> None:
    first, second = cube(), cube(1, (BANDS, 50, 50))
    first[1, :, :6] = np.nan  # half of the first frame, 2 % of the scene
    scene = ingest([array_source(first, "a"), array_source(second, "b")], tmp_path / "s.zarr")
    assert all(scene.good_bands)
    assert scene.frames[0].valid_pixels == HEIGHT * WIDTH // 2


def many_bands(seed: int, *dead: int) -> NDArray[np.float32]:
    """Make twenty bands, some without values."""
    values = cube(seed, (20, HEIGHT, WIDTH))
    values[list(dead)] = np.nan
    return values


def test_a_band_that_is_dead_in_one_of_many_frames_costs_no_pixel(tmp_path: Path) -> None:
    frames = [array_source(many_bands(seed), f"f{seed}") for seed in range(11)]
    frames[4] = array_source(many_bands(4, 0, 7), "f4")
    scene = ingest(frames, tmp_path / "s.zarr")
    assert np.flatnonzero(~np.array(scene.good_bands)).tolist() == [0, 7]
    assert scene.valid_pixels == 11 * HEIGHT * WIDTH
    assert "band 8 (counted from 1) is bad: it has no values in most of f4" in scene.notes


def test_a_broken_frame_costs_no_bands(tmp_path: Path) -> None:
    frames = [array_source(many_bands(seed), f"f{seed}") for seed in range(11)]
    frames[4] = array_source(many_bands(4, 0, 7, 9), "f4")
    scene = ingest(frames, tmp_path / "s.zarr")
    assert all(scene.good_bands)
    assert scene.frames[4].valid_pixels == 0
    assert any(
        "of f4 lack a value in a good band, most in 1, 8, 10" in note for note in scene.notes
    )


@pytest.mark.parametrize(("count", "told"), [(10, True), (9, False)])
def test_a_fill_value_that_nobody_declares_is_told(tmp_path: Path, count: int, told: bool) -> None:
    values = (cube() * 100).astype(np.int16)
    values.reshape(BANDS, -1)[:, :count] = -9999
    note = f"{count} pixels are -9999 in every band; if that means no data, ingest again with"
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert any(note in each for each in scene.notes) is told
    declared = ingest([array_source(values)], tmp_path / "t.zarr", IngestOptions(no_data=-9999))
    assert not any("in every band" in each for each in declared.notes)


def test_a_no_data_value_that_no_value_can_be_is_told(tmp_path: Path) -> None:
    values = np.ones((BANDS, HEIGHT, WIDTH), np.uint16)
    scene = ingest([array_source(values)], tmp_path / "s.zarr", IngestOptions(no_data=-9999))
    assert "-9999 marks no data, but no value of uint16 can be that" in scene.notes
    assert scene.valid_pixels == HEIGHT * WIDTH


def test_pixels_without_any_value_do_not_make_bands_bad(tmp_path: Path) -> None:
    values = cube()
    values[:, :5] = np.nan
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert all(scene.good_bands)
    assert scene.valid_pixels == HEIGHT * WIDTH // 2


@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf])
def test_padding_that_is_not_finite_is_no_data(tmp_path: Path, padding: float) -> None:
    values = cube()
    values[:, 0] = padding
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert scene.valid_pixels == (HEIGHT - 1) * WIDTH
    assert scene.frames[0].brightness == pytest.approx(values[:, 1:].mean(), rel=1e-6)


@dataclass(frozen=True)
class NoData:
    id: str
    dtype: str
    of_file: float | None
    of_user: float | None
    valid: bool
    """Whether pixels that hold 7 in every band stay valid."""


NO_DATA = [
    NoData("of the file", "i2", 7, None, False),
    NoData("of the user", "i2", None, 7, False),
    NoData("the user's before the file's", "i2", 7, 3, True),
    NoData("in floats", "f4", 7, None, False),
    NoData("beyond the type", "u1", None, -9999, True),
    NoData("between the integers", "i2", None, 7.5, True),
    NoData("not finite, of integers", "i2", float("nan"), None, True),
    NoData("none", "i2", None, None, True),
]


@pytest.mark.parametrize("case", NO_DATA, ids=lambda case: case.id)
def test_no_data_values(tmp_path: Path, case: NoData) -> None:
    values = np.random.default_rng(0).integers(20, 90, (BANDS, HEIGHT, WIDTH)).astype(case.dtype)
    values[:, 2, 3] = 7
    source = array_source(values, no_data=case.of_file)
    scene = ingest([source], tmp_path / "s.zarr", IngestOptions(no_data=case.of_user))
    valid = valid_of(scene)
    assert valid[2, 3] == case.valid
    assert valid.sum() == HEIGHT * WIDTH - (not case.valid)


@pytest.mark.parametrize("value", [1e39, -np.finfo(np.float64).max])
def test_what_single_precision_cannot_hold_is_missing(tmp_path: Path, value: float) -> None:
    """Stages compute in it: a fill value that is not declared would make all of them infinite."""
    values = cube().astype(np.float64)
    values[:, 0] = value
    values[1, 3, 4] = value
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert scene.valid_pixels == (HEIGHT - 1) * WIDTH - 1
    assert scene.frames[0].brightness < 1e30


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_what_single_precision_can_hold_is_a_value(kind: str) -> None:
    largest = float(min(np.finfo(np.float32).max, np.finfo(kind).max))
    block = np.array([[[largest, -largest, 0, np.nan, -np.inf]]], kind)
    assert find_missing(block, None)[0, 0].tolist() == [False, False, False, True, True]


def test_a_no_data_value_is_rounded_as_the_data_are() -> None:
    block = np.array([[[-9999.9, 1.0]]], np.float32)
    assert find_missing(block, -9999.9).tolist() == [[[True, False]]]


def test_pixels_that_are_zero_in_every_band_are_padding(tmp_path: Path) -> None:
    values = cube()
    values[:, 0, :5] = 0
    values[:2, 1] = 0  # dark in some bands only
    scene = ingest([array_source(values)], tmp_path / "s.zarr")
    assert scene.valid_pixels == HEIGHT * WIDTH - 5
    assert any("5 pixels are zero" in note for note in scene.notes)
    kept = ingest([array_source(values)], tmp_path / "k.zarr", IngestOptions(keep_zeros=True))
    assert kept.valid_pixels == HEIGHT * WIDTH
    assert kept.notes == ()


def test_fill_values_that_nothing_names_are_suspected(tmp_path: Path) -> None:
    values = cube().astype(np.float32)
    values[:, 0, :2] = np.finfo(np.float32).min
    found = ingest([array_source(values, "a")], tmp_path / "scene.zarr")
    assert any("the brightness of a is" in note and "--no-data" in note for note in found.notes)
    options = IngestOptions(no_data=float(np.finfo(np.float32).min))
    assert ingest([array_source(values, "a")], tmp_path / "told.zarr", options).notes == ()


def test_a_frame_that_loses_many_pixels_says_so_and_by_which_bands(tmp_path: Path) -> None:
    values = np.ones((4, 20, 20))
    values[2, :8] = np.nan
    other = array_source(np.ones((4, 60, 60)), "b")
    scene = ingest([array_source(values, "a"), other], tmp_path / "scene.zarr")
    assert scene.frames[0].valid_pixels == 240
    assert [note for note in scene.notes if "160 of 400 pixels of a lack a value" in note]
    assert any("most in 3 (counted from 1)" in note for note in scene.notes)


def test_a_scene_is_not_joined_in_its_own_place(tmp_path: Path) -> None:
    path = tmp_path / "scene.zarr"
    ingest([array_source(np.ones((2, 9, 9)))], path)
    [again] = open_sources([path])
    other = array_source(np.ones((2, 9, 9)), "other")
    with pytest.raises(SceneError, match="one of what is read"):
        ingest([again, other], path, IngestOptions(overwrite=True))
    assert len(ingest([again], path, IngestOptions(overwrite=True)).frames) == 1


def test_joined_scenes_keep_the_pixels_that_they_had(tmp_path: Path) -> None:
    first, second = np.ones((2, 2, 9, 9))
    second[0, :4] = -1  # a value, here
    ingest([array_source(first, "a", no_data=-1.0)], tmp_path / "a.zarr")
    ingest([array_source(second, "b")], tmp_path / "b.zarr")
    both = ingest(open_sources([tmp_path / "a.zarr", tmp_path / "b.zarr"]), tmp_path / "ab.zarr")
    again = ingest(open_sources([tmp_path / "ab.zarr"]), tmp_path / "again.zarr")
    assert [frame.valid_pixels for frame in both.frames] == [81, 81]
    assert [frame.valid_pixels for frame in again.frames] == [81, 81]


def test_zeros_of_a_single_band_are_values(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    assert ingest([array_source(values)], tmp_path / "s.zarr").valid_pixels == 12


def test_the_mask_of_a_source_counts(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    scene = ingest([array_source(cube(), mask=mask)], tmp_path / "s.zarr")
    np.testing.assert_array_equal(valid_of(scene), mask)


def test_bands_that_a_file_calls_bad_are_bad(tmp_path: Path) -> None:
    sources = [
        array_source(cube(), "a", good_bands=(True, False, True, True)),
        array_source(cube(1), "b"),
        array_source(cube(2), "c", good_bands=(True, True, True, False)),
    ]
    assert ingest(sources, tmp_path / "s.zarr").good_bands == (True, False, True, False)


def test_brightness_is_the_mean_of_good_bands_over_valid_pixels(tmp_path: Path) -> None:
    values, mask = cube(), np.ones((HEIGHT, WIDTH), bool)
    values[3] = np.nan
    mask[:, :4] = False
    scene = ingest([array_source(values, mask=mask)], tmp_path / "s.zarr")
    assert scene.frames[0].brightness == pytest.approx(values[:3, mask].mean(), rel=1e-6)


# --- refusals ------------------------------------------------------------------------------

WAVELENGTHS = (450.0, 550.0, 650.0, 750.0)


def apart(shift_nm: float) -> list[Source]:
    moved = tuple(value + shift_nm for value in WAVELENGTHS)
    return [
        array_source(cube(), "a", wavelengths_nm=WAVELENGTHS),
        array_source(cube(), "b", wavelengths_nm=moved),
    ]


@dataclass(frozen=True)
class Refused:
    id: str
    sources: Callable[[], Sequence[Source]]
    message: str


REFUSED = [
    Refused("no source", list, "at least one source"),
    Refused("a name twice", lambda: [array_source(cube()), array_source(cube())], "appears twice"),
    Refused(
        "another number of bands",
        lambda: [array_source(cube(), "a"), array_source(cube(0, (5, 3, 3)), "b")],
        "a has 4 and b has 5",
    ),
    Refused("other wavelengths", lambda: apart(2.0), "more than 1 nm"),
    Refused("no pixel", lambda: [array_source(np.full_like(cube(), np.nan))], "No pixel of a"),
    Refused("only zeros", lambda: [array_source(np.zeros_like(cube()))], "No pixel of a"),
    Refused(
        "only bad bands",
        lambda: [array_source(cube(), good_bands=(False,) * BANDS)],
        "at least one good band",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_sources_that_make_no_scene_are_refused(tmp_path: Path, case: Refused) -> None:
    with pytest.raises(SceneError, match=case.message):
        ingest(case.sources(), tmp_path / "s.zarr")
    assert list(tmp_path.iterdir()) == []


def test_wavelengths_may_differ_a_little_or_be_unknown(tmp_path: Path) -> None:
    assert ingest(apart(0.5), tmp_path / "s.zarr").wavelengths_nm == WAVELENGTHS
    unknown = [apart(0)[0], array_source(cube(), "b")]
    assert ingest(unknown, tmp_path / "u.zarr").wavelengths_nm == WAVELENGTHS


def test_a_scene_is_not_written_to_a_remote_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SceneError, match=r"s3://bucket/s\.zarr is a remote address"):
        ingest([array_source(cube())], "s3://bucket/s.zarr")
    assert list(tmp_path.iterdir()) == []
    scene = ingest([array_source(cube())], f"file://{tmp_path}/s.zarr")
    assert scene.uri == str(tmp_path / "s.zarr")


# --- identity ------------------------------------------------------------------------------


def identity(folder: Path, source: Source, options: IngestOptions = IngestOptions()) -> str:  # noqa: B008
    scene = ingest([source], folder / "identity.zarr", replace(options, overwrite=True))
    return scene.identity


def test_the_same_content_has_the_same_identity_everywhere(tmp_path: Path) -> None:
    first = identity(tmp_path / "here", array_source(cube()))
    assert identity(tmp_path / "there", array_source(cube())) == first
    assert len(first) == 32


def test_every_difference_that_matters_changes_the_identity(tmp_path: Path) -> None:
    changed = cube()
    changed[3, 9, 11] += 1e-6
    place = Georeference((1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    marks = [
        identity(tmp_path, source)
        for source in (
            array_source(cube()),
            array_source(changed),
            array_source(cube(), "other"),
            array_source(cube().reshape(BANDS, WIDTH, HEIGHT)),
            array_source(cube(), georeference=place),
            array_source(cube(), good_bands=(True, False, True, True)),
            array_source(cube(), wavelengths_nm=WAVELENGTHS),
        )
    ]
    assert len(set(marks)) == len(marks)


def test_another_mask_of_as_many_equal_pixels_is_another_scene(tmp_path: Path) -> None:
    values = np.array([[[1, 3, 5]], [[3, 1, 5]]], np.float32)
    marks = {
        identity(tmp_path, array_source(values, mask=np.array([mask], bool)))
        for mask in ([0, 1, 1], [1, 0, 1])
    }
    assert len(marks) == 2


# --- all or nothing ------------------------------------------------------------------------


@pytest.mark.usefixtures("small_storage")
@pytest.mark.parametrize(
    "error", [OSError("medium error"), SceneError("ours"), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize("good_reads", [0, 1])
def test_a_failed_ingest_leaves_nothing_and_keeps_the_old_scene(
    tmp_path: Path, error: BaseException, good_reads: int
) -> None:
    inner = array_source(cube(0, (BANDS, 70, 40)))
    failing = FailingSource(inner, [0, *[1] * good_reads], error)
    with pytest.raises(type(error)):
        ingest([failing], tmp_path / "s.zarr")
    assert list(tmp_path.iterdir()) == []
    old = ingest([inner], tmp_path / "s.zarr")
    failing.reads[:] = [0, *[1] * good_reads]
    with pytest.raises(type(error)):
        ingest([failing], tmp_path / "s.zarr", IngestOptions(overwrite=True))
    assert list(tmp_path.iterdir()) == [tmp_path / "s.zarr"]
    assert Scene.open(tmp_path / "s.zarr") == old


def test_what_a_killed_ingest_left_is_in_nobodys_way(tmp_path: Path) -> None:
    ingest([array_source(cube())], tmp_path / "s.zarr")
    (tmp_path / "s.zarr").rename(tmp_path / ".s.zarr.partial")
    scene = ingest([array_source(cube(1))], tmp_path / "s.zarr")
    np.testing.assert_array_equal(spectra_of(scene), cube(1))
    assert list(tmp_path.iterdir()) == [tmp_path / "s.zarr"]


def test_an_existing_scene_is_replaced_only_on_request(tmp_path: Path) -> None:
    uri = tmp_path / "s.zarr"
    first = ingest([array_source(cube())], uri)
    with pytest.raises(SceneError, match="--overwrite"):
        ingest([array_source(cube(1))], uri)
    assert Scene.open(uri) == first
    second = ingest([array_source(cube(1))], uri, IngestOptions(overwrite=True))
    assert Scene.open(uri) == second != first


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_but_a_store_is_ever_overwritten(tmp_path: Path, kind: str) -> None:
    uri = tmp_path / "thesis"
    kept = uri if kind == "file" else uri / "chapter.tex"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("years of work")
    with pytest.raises(SceneError, match="no scene of hsistream"):
        ingest([array_source(cube())], uri, IngestOptions(overwrite=True))
    assert kept.read_text() == "years of work"


def test_a_store_of_others_is_never_overwritten(tmp_path: Path) -> None:
    uri = tmp_path / "precious.zarr"
    zarr.create_array(str(uri), data=np.arange(12), zarr_format=3)
    with pytest.raises(SceneError, match="no scene of hsistream"):
        ingest([array_source(cube())], uri, IngestOptions(overwrite=True))
    kept = np.asarray(zarr.open_array(str(uri), mode="r")[:])
    np.testing.assert_array_equal(kept, np.arange(12))


def test_a_link_to_a_scene_is_followed(tmp_path: Path) -> None:
    ingest([array_source(cube())], tmp_path / "old.zarr")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "old.zarr")
    second = ingest([array_source(cube(1))], tmp_path / "link.zarr", IngestOptions(overwrite=True))
    assert Scene.open(tmp_path / "old.zarr") == second
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.zarr", "old.zarr"]


def test_two_commands_do_not_write_one_scene(tmp_path: Path) -> None:
    def again(event: Event) -> None:
        if isinstance(event, Progress):
            with pytest.raises(StoreError, match="Another command is writing"):
                ingest([array_source(cube(1))], tmp_path / "s.zarr")

    scene = ingest([array_source(cube())], tmp_path / "s.zarr", notify=again)
    np.testing.assert_array_equal(spectra_of(scene), cube())
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_wavelengths_are_those_of_the_first_frame_that_knows_them(tmp_path: Path) -> None:
    known, other = (400.0, 500.0, 600.0, 700.0), (1400.0, 1500.0, 1600.0, 1700.0)
    sources = [array_source(cube(), "n"), array_source(cube(), "w", wavelengths_nm=known)]
    assert ingest(sources, tmp_path / "s.zarr").wavelengths_nm == known
    with pytest.raises(SceneError, match="those of w and v differ"):
        ingest([*sources, array_source(cube(), "v", wavelengths_nm=other)], tmp_path / "t.zarr")


def test_no_data_that_is_no_number_needs_no_word(tmp_path: Path) -> None:
    values = cube()
    values[:, 2, 3] = np.nan
    scene = ingest([array_source(values, no_data=np.nan)], tmp_path / "s.zarr")
    assert (scene.no_data, scene.valid_pixels) == (None, HEIGHT * WIDTH - 1)


def test_missing_folders_above_the_scene_are_made(tmp_path: Path) -> None:
    scene = ingest([array_source(cube())], tmp_path / "deep" / "down" / "s.zarr")
    assert Scene.open(scene.uri) == scene


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(HsistreamError):
        ingest([array_source(cube())], tmp_path / "file" / "s.zarr")


# --- storage -------------------------------------------------------------------------------


def test_a_chunk_holds_all_bands_and_a_shard_whole_chunks(
    tmp_path: Path, small_storage: tuple[int, int]
) -> None:
    chunk_px, _ = small_storage
    scene = ingest([array_source(cube(0, (BANDS, 50, 70)))], tmp_path / "s.zarr")
    group: Any = arrays.open_group(scene.uri)
    spectra, valid = group["a/spectra"], group["a/valid"]
    assert spectra.chunks == (BANDS, chunk_px, chunk_px)
    assert (spectra.shards or spectra.chunks) == (BANDS, scene.shard_px, scene.shard_px)
    assert valid.chunks == (scene.shard_px, scene.shard_px)
    assert spectra.metadata.dimension_names == ("band", "y", "x")


@given(
    st.integers(1, 2500),
    st.sampled_from(["u1", "u2", "f4", "f8"]),
    st.lists(shapes(20_000), min_size=1, max_size=3),
)
def test_storage_fits_its_limits(bands: int, dtype: str, frames: list[Shape]) -> None:
    layout = FrameHeader("a", frames[0], bands, np.dtype(dtype))
    chunk, shard = choose_storage(layout, frames)
    spectrum = bands * np.dtype(dtype).itemsize
    assert shard % chunk == 0
    assert chunk in (64, 128, 256)
    assert chunk == 64 or chunk**2 * spectrum <= CHUNK_BYTES
    assert shard == chunk or shard**2 * spectrum <= SHARD_BYTES
    assert shard < max(max(shape) for shape in frames) + chunk


# --- events and notes ----------------------------------------------------------------------


def test_progress_counts_every_shard_of_every_frame(
    tmp_path: Path, small_storage: tuple[int, int]
) -> None:
    heard: list[Event] = []
    sources = [array_source(cube(0, (12, 50, 70)), "a"), array_source(cube(1, (12, 5, 5)), "b")]
    scene = ingest(sources, tmp_path / "s.zarr", notify=heard.append)
    shards = -(-50 // scene.shard_px) * -(-70 // scene.shard_px) + 1
    assert heard[0] == StageStarted("ingest", shards)
    steps = [event for event in heard if isinstance(event, Progress)]
    assert [step.done for step in steps] == list(range(1, shards + 1))
    assert isinstance(heard[-1], StageFinished)


def test_the_facts_of_the_sources_are_kept(tmp_path: Path) -> None:
    source = array_source(
        cube(),
        wavelengths_nm=WAVELENGTHS,
        fwhm_nm=(5.0,) * BANDS,
        no_data=-1.0,
        attributes={"sensor": "made up"},
    )
    scene = ingest([source], tmp_path / "s.zarr")
    assert scene.wavelengths_nm == WAVELENGTHS
    assert scene.fwhm_nm == (5.0,) * BANDS
    assert scene.no_data == -1.0
    assert arrays.open_group(f"{scene.uri}/a").attrs["source"] == {"sensor": "made up"}


def test_a_scene_can_be_moved(tmp_path: Path) -> None:
    scene = ingest([array_source(cube())], tmp_path / "s.zarr")
    shutil.move(tmp_path / "s.zarr", tmp_path / "moved.zarr")
    moved = Scene.open(tmp_path / "moved.zarr")
    assert moved.identity == scene.identity
    np.testing.assert_array_equal(spectra_of(moved), cube())


def test_a_scene_that_cannot_be_replaced_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ingest([array_source(cube())], tmp_path / "s.zarr")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StoreError, match="must be writable"):
        ingest([array_source(cube(1))], tmp_path / "s.zarr", IngestOptions(overwrite=True))
    monkeypatch.undo()
    assert Scene.open(tmp_path / "s.zarr") == before
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_what_cannot_be_deleted_of_an_old_scene_does_not_cost_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest([array_source(cube())], tmp_path / "s.zarr")
    monkeypatch.setattr(shutil, "rmtree", lambda *asked, **options: None)
    scene = ingest([array_source(cube(1))], tmp_path / "s.zarr", IngestOptions(overwrite=True))
    monkeypatch.undo()
    np.testing.assert_array_equal(spectra_of(scene), cube(1))
    third = ingest([array_source(cube(2))], tmp_path / "s.zarr", IngestOptions(overwrite=True))
    np.testing.assert_array_equal(spectra_of(third), cube(2))
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_a_scene_that_a_killed_replacement_put_aside_comes_back(tmp_path: Path) -> None:
    before = ingest([array_source(cube())], tmp_path / "s.zarr")
    (tmp_path / "s.zarr").rename(tmp_path / ".s.zarr.old")
    with pytest.raises(SceneError, match="--overwrite"):
        ingest([array_source(cube(1))], tmp_path / "s.zarr")
    assert Scene.open(tmp_path / "s.zarr") == before
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]
