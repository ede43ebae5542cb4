from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor  # noqa: TID253 the layer of the networks

from hsistream.nn.masking import masks
from hsistream.nn.umae_network import Shape, UmaeNetwork, cyclic_groups, even_groups, sines
from tests.unit.nn.tiny import normal

PATCH = 9
"""Places of a patch of 3 x 3 pixels."""


def network_of(bands: int = 12, *, few: bool = False, **others: Any) -> UmaeNetwork:
    groups = even_groups(bands, 4) if few else cyclic_groups(bands, 5)
    sizes = {"patch_px": 3, "width": 12, "depth": 2, "heads": 3, "hidden": 16}
    sizes |= {"decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
    scores = 2 if few else None
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(4)
        return UmaeNetwork(Shape(groups, scores, dropout=0.1, **(sizes | others)))


def masks_of(network: UmaeNetwork, pixels: int) -> tuple[Tensor, Tensor]:
    tokens = network.shape.tokens
    seen, hidden = masks(0, range(pixels), 0, tokens, tokens // 2)
    return torch.from_numpy(seen), torch.from_numpy(hidden)


# --- size ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands", "parameters"), [(145, 314_597), (176, 316_085), (200, 317_237), (204, 317_429)]
)
def test_the_published_network_has_as_many_parameters(bands: int, parameters: int) -> None:
    shape = Shape(cyclic_groups(bands, 5), None, 7, 48, 6, 6, 192, 48, 4, 4, 0.1)
    assert sum(each.numel() for each in UmaeNetwork(shape).parameters()) == parameters


# --- tokens --------------------------------------------------------------------------------


def test_a_token_is_a_band_and_its_neighbours_all_around() -> None:
    network = network_of(5)
    patches = torch.arange(5.0).expand(2, PATCH, 5).transpose(1, 2)
    tokens = network.targets(patches).view(2, 5, 5, PATCH)
    for token, bands in ((0, [3.0, 4, 0, 1, 2]), (4, [2.0, 3, 4, 0, 1])):
        assert torch.equal(tokens[1, token], torch.tensor(bands)[:, None].expand(5, PATCH))


def test_tokens_of_a_constant_patch_are_equal() -> None:
    tokens = network_of().targets(torch.full((1, 12, PATCH), 0.3))
    assert torch.equal(tokens, tokens[:, :1].expand_as(tokens))


@given(st.integers(1, 300), st.integers(1, 40))
def test_even_groups_hold_all_features_and_are_of_one_size(features: int, tokens: int) -> None:
    groups = even_groups(features, tokens)
    assert groups.shape == (min(tokens, features), -(-features // min(tokens, features)))
    assert set(groups.ravel().tolist()) == set(range(features))
    assert (np.diff(groups, axis=1) == 1).all()
    assert (np.diff(groups[:, 0]) > 0).all()


@given(st.integers(1, 30), st.sampled_from([1, 3, 5, 7]))
def test_cyclic_groups_are_the_same_from_every_band(features: int, group: int) -> None:
    groups = cyclic_groups(features, group)
    assert (groups[:, group // 2] == np.arange(features)).all()
    assert ((np.roll(groups, -1, axis=0) - groups) % features == 1 % features).all()


@pytest.mark.parametrize("few", [False, True])
def test_patches_are_embedded_pixel_by_pixel(few: bool) -> None:
    network = network_of(few=few)
    patches = normal((3, 12, PATCH), 1)
    found = network.embed_patches(patches)
    for place in range(PATCH):
        torch.testing.assert_close(found[..., place], network.embed(patches[..., place].T).T)


def test_a_token_of_few_keeps_scores_of_its_own_bands() -> None:
    network = network_of(few=True)
    before = normal((12, 1), 1)
    for token, group in enumerate(network.shape.groups):
        after = before.clone()
        after[group] += 1
        differs = (network.embed(after) != network.embed(before)).view(4, 2).any(dim=1)
        assert differs.nonzero().ravel().tolist() == [token]


# --- places --------------------------------------------------------------------------------


def test_places_are_sines_and_cosines() -> None:
    table = sines(7, 6)
    for place in range(7):
        for channel in range(6):
            angle = place / 10_000 ** (2 * (channel // 2) / 6)
            expected = np.cos(angle) if channel % 2 else np.sin(angle)
            assert table[place, channel].item() == pytest.approx(expected, abs=1e-6)


# --- what is hidden ------------------------------------------------------------------------


@pytest.mark.parametrize("few", [False, True])
def test_what_is_hidden_is_never_seen(few: bool) -> None:
    network = network_of(few=few)
    tokens = normal((6, network.shape.tokens, 12), 1)
    seen, hidden = masks_of(network, 6)
    expected = network.decode(network.encode(tokens, seen), seen, hidden)
    changed = tokens.scatter_add(
        1, hidden[..., None].expand(-1, -1, 12), 9 * normal((*hidden.shape, 12), 2)
    )
    assert torch.equal(network.decode(network.encode(changed, seen), seen, hidden), expected)
    shown = tokens.scatter_add(1, seen[..., None].expand(-1, -1, 12), normal((*seen.shape, 12), 2))
    assert not torch.equal(network.decode(network.encode(shown, seen), seen, hidden), expected)


def test_guesses_follow_their_places() -> None:
    network = network_of()
    network.unseen.data += 1
    seen, hidden = masks_of(network, 2)
    encoded = network.encode(normal((2, 12, 12), 1), seen)
    expected = network.decode(encoded, seen, hidden)
    torch.testing.assert_close(
        network.decode(encoded, seen, hidden.flip(1)), expected.flip(1), rtol=1e-5, atol=1e-5
    )


def test_the_loss_is_that_of_the_hidden_tokens() -> None:
    network = network_of()
    patches, (seen, hidden) = normal((3, 12, PATCH), 1), masks_of(network, 3)
    guessed = network.decode(network.encode(network.tokens(patches), seen), seen, hidden)
    targets = network.targets(patches)
    expected = [
        ((guessed[pixel, number] - targets[pixel, token]) ** 2).mean()
        for pixel in range(3)
        for number, token in enumerate(hidden[pixel])
    ]
    torch.testing.assert_close(network.loss(patches, seen, hidden), torch.stack(expected).mean())


def test_all_may_be_hidden() -> None:
    network = network_of(1)
    nothing, all_of_it = (
        torch.zeros((2, 0), dtype=torch.int64),
        torch.zeros(2, 1, dtype=torch.int64),
    )
    assert network.loss(normal((2, 1, PATCH), 1), nothing, all_of_it).isfinite()


def test_dropout_follows_its_generator() -> None:
    network, patches = network_of(), normal((3, 12, PATCH), 1)
    shown = masks_of(network, 3)
    first, second = (
        network.loss(patches, *shown, random=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, network.loss(patches, *shown))


# --- latents -------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [False, True])
def test_latents_do_not_depend_on_who_else_is_encoded(few: bool) -> None:
    network = network_of(few=few).eval()
    embedded = network.embed_patches(normal((40, 12, PATCH), 1))
    whole = network.latents(embedded)
    for batch in (1, 7, 39):
        parts = torch.cat([network.latents(part) for part in embedded.split(batch)])
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def test_latents_are_means_of_all_tokens_but_the_summary() -> None:
    network = network_of()
    tokens = network.tokens(normal((2, 12, PATCH), 1))
    everything = torch.arange(12).expand(2, 12)
    found = network.encode(tokens, everything)
    assert found.shape == (2, 12, 12)
    torch.testing.assert_close(network.encode(tokens), found)
    torch.testing.assert_close(network.latents(normal((2, 12, PATCH), 1)), found.mean(dim=1))


def test_latents_are_standardised_by_the_sample_deviation() -> None:
    network = network_of()
    latents = normal((50, 12), 1) * 3 + 5
    latents[:, 3] = 2.0
    network.measure(latents)
    scores = (latents - latents.mean(dim=0)) / latents.std(dim=0).where(
        latents.std(dim=0) > 0, torch.ones(12)
    )
    expected = scores / scores.norm(dim=1, keepdim=True)
    torch.testing.assert_close(network.standardised(latents), expected)


def test_a_single_pixel_can_be_measured() -> None:
    network = network_of()
    network.measure(normal((1, 12), 1))
    assert torch.equal(network.spread, torch.ones(12))
    assert network.standardised(normal((1, 12), 1)).abs().max() == 0
