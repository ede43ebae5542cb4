"""Noise that is added to a square, and taken away again by a trained network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsistream.methods import spectraldiff
from hsistream.methods.base import Place
from hsistream.methods.reverse import SHOWN_STEPS, Reversal, reverse
from hsistream.methods.spectraldiff_model import SCHEDULE
from hsistream.network_sections import SpectraldiffSection, TrainingSection
from hsistream.nn.noise import field_noise
from tests.unit.methods.material import fields, material_of, work_in

PLACE = Place(40, 8)
SIDE_PX = 8


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reversal, Reversal, list[int]]:
    """The same square twice, and what was told on the way back."""
    image, folder = fields(), tmp_path_factory.mktemp("reverse")
    settings = SpectraldiffSection(name="spectraldiff", prototypes=4)
    material, told = material_of((image,)), []
    training = TrainingSection(steps=2, check_every=2, learning_rate=0.01)
    spectraldiff.train(settings, training, 0, material, work_in(Path(folder)))
    square = image.spectra[:, :SIDE_PX, :SIDE_PX]

    def once() -> Reversal:
        return reverse(
            settings, material.standard, Path(folder), square, 0, PLACE,
            lambda done, _: told.append(done),
        )  # fmt: skip

    return once(), once(), told


def test_noise_is_added_as_the_schedule_says(
    found: tuple[Reversal, Reversal, list[int]],
) -> None:
    first = found[0]
    bands = len(first.clean)
    noise = field_noise((PLACE.row, PLACE.column), (SIDE_PX, SIDE_PX), -(-bands // 8) * 8, 0)
    for step, noised in zip(SHOWN_STEPS, first.noised, strict=True):
        kept = SCHEDULE.kept[step]
        expected = kept**0.5 * first.clean + (1 - kept) ** 0.5 * noise[:bands]
        np.testing.assert_allclose(noised, expected, atol=1e-5)


def test_the_way_back_begins_with_the_noisiest_square_and_is_the_same_again(
    found: tuple[Reversal, Reversal, list[int]],
) -> None:
    first, second, told = found
    np.testing.assert_array_equal(first.restored[-1], first.noised[-1])
    assert np.isfinite(first.last).all()
    assert first.last.shape == first.clean.shape
    assert (first.restored[0] != first.noised[0]).any()
    np.testing.assert_array_equal(first.last, second.last)
    assert told[: SHOWN_STEPS[-1] + 1] == list(range(1, SHOWN_STEPS[-1] + 2))
