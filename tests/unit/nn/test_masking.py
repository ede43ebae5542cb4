from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsistream.nn.masking import hidden_count, masks


@pytest.mark.parametrize(
    ("tokens", "share", "expected"),
    [(145, 0.65, 94), (145, 0.5, 72), (176, 0.5, 88), (204, 0.5, 102), (12, 0.5, 6), (1, 0.9, 1)],
)
def test_the_share_of_hidden_tokens_is_rounded_down(
    tokens: int, share: float, expected: int
) -> None:
    assert hidden_count(tokens, share) == expected


@given(st.integers(1, 40), st.data())
def test_every_token_is_either_seen_or_hidden(tokens: int, data: st.DataObject) -> None:
    hidden = data.draw(st.integers(1, tokens))
    seen, guessed = masks(data.draw(st.integers(0, 99)), range(3), 2, tokens, hidden)
    assert guessed.shape == (3, hidden)
    for own, others in zip(seen, guessed, strict=True):
        assert (np.diff(own) > 0).all()
        assert (np.diff(others) > 0).all()
        assert sorted([*own, *others]) == list(range(tokens))


def test_a_mask_is_that_of_seed_pixel_and_epoch_alone() -> None:
    _, together = masks(5, [7, 3, 9], 4, 30, 15)
    for number, pixel in enumerate([7, 3, 9]):
        _, alone = masks(5, [pixel], 4, 30, 15)
        np.testing.assert_array_equal(alone[0], together[number])


@pytest.mark.parametrize("other", [(6, 3, 4), (5, 4, 4), (5, 3, 5)])
def test_another_seed_pixel_or_epoch_is_another_mask(other: tuple[int, int, int]) -> None:
    seed, pixel, epoch = other
    _, mask = masks(5, [3], 4, 30, 15)
    assert (masks(seed, [pixel], epoch, 30, 15)[1] != mask).any()


def test_all_tokens_are_hidden_equally_often() -> None:
    _, hidden = masks(0, range(2000), 0, 10, 5)
    shares = np.bincount(hidden.ravel(), minlength=10) / 2000
    np.testing.assert_allclose(shares, 0.5, atol=0.05)
