from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from hsistream.errors import StoreError
from hsistream.georeference import Georeference
from hsistream.report import export
from hsistream.report.export import write_geotiff
from hsistream.report.palette import palette
from hsistream.runs import NO_LABEL
from hsistream.tiles import Window, size

PLACE = Georeference(
    (5.0, 0.0, 370_000.0, 0.0, -5.0, 5_810_000.0),
    rasterio.crs.CRS.from_epsg(32633).to_wkt(),
)


@pytest.fixture
def labels() -> NDArray[np.uint16]:
    blocks = np.random.default_rng(0).integers(0, 6, (13, 22), dtype=np.uint16)
    labels = np.kron(blocks, np.ones((50, 60), np.uint16))
    labels[:80, :80] = NO_LABEL
    return labels


def test_labels_come_back_with_place_and_colours(
    tmp_path: Path, labels: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "READ_PX", export.BLOCK_PX)
    asked: list[Window] = []

    def read(window: Window) -> NDArray[np.uint16]:
        asked.append(window)
        return labels[window]

    path = tmp_path / "maps" / "north.tif"
    write_geotiff(path, "north", labels.shape, PLACE, read, palette=palette(6))
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), labels)
        assert (file.dtypes[0], file.nodata, file.crs.to_epsg()) == ("uint16", NO_LABEL, 32633)
        assert file.transform[:6] == PLACE.transform
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.descriptions == ("north",)
        assert file.colormap(1)[3] == (*palette(6)[3].tolist(), 255)
        assert file.overviews(1)
        assert set(np.unique(file.read(1, out_shape=(325, 660)))) <= {*range(6), NO_LABEL}
    assert max(max(size(window)) for window in asked) <= export.BLOCK_PX
    assert [item.name for item in path.parent.iterdir()] == ["north.tif"]


def test_frames_need_no_place(tmp_path: Path) -> None:
    labels = np.full((3, 4), 300, np.uint16)
    path = tmp_path / "map.tif"
    write_geotiff(path, "only", labels.shape, None, lambda at: labels[at], palette=palette(301))
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), labels)
        assert file.crs is None


def test_a_failed_export_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    path.write_text("old")

    def read(window: Window) -> NDArray[np.uint16]:
        raise OSError("disk on fire")

    with pytest.raises(StoreError, match="disk on fire"):
        write_geotiff(path, "only", (8, 8), None, read, palette=palette(1))
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["map.tif"]
