from __future__ import annotations

import numpy as np
import pytest

from hsistream.report.palette import BASE, css_colours, palette, scale_colours, shades


@pytest.mark.parametrize("count", [0, 1, 12, 13, 300, 2000])
def test_colours_are_distinct(count: int) -> None:
    assert palette(count).shape == (count, 3)
    assert len(set(css_colours(count))) == count


def test_a_label_keeps_its_colour_in_a_longer_palette() -> None:
    np.testing.assert_array_equal(palette(40)[:7], palette(7))
    assert css_colours(12) == [colour.lower() for colour in BASE]


def test_all_colours_can_be_seen_on_white() -> None:
    linear = (palette(60) / 255) ** 2.2
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    assert (1.05 / (luminance + 0.05) > 1.7).all()


def test_neighbours_among_the_first_colours_differ_clearly() -> None:
    colours = palette(24).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + 999 * np.eye(24, dtype=int)
    assert apart.min() > 40


def test_steps_of_the_scale_are_distinct() -> None:
    assert np.unique(scale_colours(51), axis=0).shape == (51, 3)


def test_a_single_member_has_the_colour_of_its_label() -> None:
    np.testing.assert_array_equal(shades(palette(40), np.arange(40)[::-1]), palette(40)[::-1])
    assert shades(palette(3), np.zeros(0, np.int64)).shape == (0, 3)


@pytest.mark.parametrize("labels", [1, 2, 12, 100])
def test_shades_are_distinct(labels: int) -> None:
    found = shades(palette(labels), np.arange(256) % labels)
    assert len(np.unique(found, axis=0)) == 256


@pytest.mark.parametrize("label", range(12))
def test_shades_go_from_dark_to_light_around_their_colour(label: int) -> None:
    colour = palette(12)[label].astype(int)
    found = shades(palette(12), np.full(5, label)).astype(int)
    assert (np.diff(found.sum(axis=1)) > 0).all()
    assert np.abs(found - colour).sum(axis=1).max() < 330
    strongest = colour.argmax()
    assert (found.argmax(axis=1) == strongest).all()
