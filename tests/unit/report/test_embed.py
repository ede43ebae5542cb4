from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hsistream.report.embed import confidence_map, label_map, photograph, sparse_map
from hsistream.report.palette import palette, scale_colours
from hsistream.report.quicklook import label_image
from hsistream.runs import NO_LABEL


def opened(uri: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(uri.split(",")[1])))


def decoded(uri: str) -> NDArray[np.uint8]:
    return np.asarray(opened(uri).convert("RGBA"))


@pytest.mark.parametrize("count", [3, 255, 300])
def test_colours_of_a_label_map_are_exact(count: int) -> None:
    labels = np.arange(600, dtype=np.uint16).reshape(20, 30) % count
    labels[0, 0] = NO_LABEL
    found, expected = (
        decoded(label_map(labels, palette(count))),
        label_image(labels, palette(count)),
    )
    np.testing.assert_array_equal(found[..., 3], expected[..., 3])
    np.testing.assert_array_equal(found[labels != NO_LABEL], expected[labels != NO_LABEL])


@pytest.mark.parametrize(("step", "mode"), [(1, "RGBA"), (2, "P")])
def test_a_sparse_map_counts_only_what_it_shows(step: int, mode: str) -> None:
    colours = palette(256)
    labels = (np.arange(512) % 256 // step * step).astype(np.uint16).reshape(16, 32)
    labels[0, 0] = NO_LABEL
    uri = sparse_map(labels, colours)
    assert opened(uri).mode == mode
    assert decoded(uri)[0, 0, 3] == 0
    known = decoded(uri)[labels != NO_LABEL]
    np.testing.assert_array_equal(known[:, :3], colours[labels[labels != NO_LABEL]])


def test_a_sparse_map_may_be_blank() -> None:
    blank = np.full((4, 5), NO_LABEL, np.uint16)
    assert not decoded(sparse_map(blank, palette(9)))[..., 3].any()


def test_confidence_can_be_read_back_from_its_colour() -> None:
    confidence = np.linspace(0, 1, 51).reshape(3, 17).astype(np.float32)
    confidence[0, 0] = np.nan
    found = decoded(confidence_map(confidence))
    assert found[0, 0, 3] == 0
    np.testing.assert_array_equal(found.reshape(-1, 4)[1:, :3], scale_colours(51)[1:])


def test_photographs_keep_their_look() -> None:
    image = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    assert photograph(image).startswith("data:image/jpeg;base64,")
    assert np.abs(decoded(photograph(image))[..., :3].astype(int) - image).max() < 6
