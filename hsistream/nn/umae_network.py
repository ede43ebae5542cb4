"""The layers of a masked autoencoder of small spectral patches.

Tokens are groups of neighbouring bands, seen in the square of pixels around one
pixel. An encoder sees some of them; a decoder guesses the others from its result,
and is needed in training only.

References
----------
.. [1] arXiv:2604.13307, 2026: deep superpixel-based diffusion learning.
.. [2] K. He et al., "Masked autoencoders are scalable vision learners",
   CVPR 2022. arXiv:2111.06377
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.nn.attention import Block, drop

WAVELENGTH = 10_000.0
"""Longest period of the decoder's sines, in tokens, over 2 pi."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a network.

    Parameters
    ----------
    groups : (token, band) int64
        Features of each token, by their numbers.
    scores : int, optional
        Values that each token keeps of its features, pixel by pixel; None keeps
        the features themselves.
    patch_px : int
        Side of the square of pixels that is seen, odd.
    width, depth, heads, hidden : int
        Of the encoder: values of a token, blocks, heads, and width of the layers.
    decoder_width, decoder_depth, decoder_heads : int
        Of the decoder.
    dropout : float
        Share of values that a training step hides.
    """

    groups: NDArray[np.int64]
    scores: int | None
    patch_px: int
    width: int
    depth: int
    heads: int
    hidden: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    dropout: float

    @property
    def tokens(self) -> int:
        """Number of tokens of a pixel."""
        return len(self.groups)

    @property
    def group(self) -> int:
        """Number of features of a token."""
        return len(self.groups[0])


def cyclic_groups(features: int, group: int) -> NDArray[np.int64]:
    """Give every feature a token of itself and its neighbours; the last neighbours the first.

    Examples
    --------
    >>> cyclic_groups(5, 5)[[0, 4]]
    array([[3, 4, 0, 1, 2],
           [2, 3, 4, 0, 1]])
    """
    around = np.arange(group) - group // 2
    return np.asarray((np.arange(features)[:, None] + around) % features)


def even_groups(features: int, tokens: int) -> NDArray[np.int64]:
    """Cut features into so many groups of one size, which overlap where they must.

    Examples
    --------
    >>> even_groups(7, 3)
    array([[0, 1, 2],
           [2, 3, 4],
           [4, 5, 6]])
    """
    tokens = min(tokens, features)
    size = -(-features // tokens)
    first = np.linspace(0, features - size, tokens).round().astype(np.int64)
    return np.asarray(first[:, None] + np.arange(size))


def sines(tokens: int, width: int) -> Tensor:
    """Mark places by sines and cosines of falling frequency, (token, width)."""
    channel = torch.arange(width, dtype=torch.float64)
    place = torch.arange(tokens, dtype=torch.float64)[:, None]
    angle = place / WAVELENGTH ** (2 * torch.div(channel, 2, rounding_mode="floor") / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()


class UmaeNetwork(nn.Module):
    """Encoder and decoder, and by what latents are standardised at the end.

    ``centre`` and ``spread`` (latent,) are buffers: measured, kept with the weights
    and not trained.
    """

    centre: Tensor
    spread: Tensor
    groups: Tensor
    places: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        tokens, group = shape.tokens, shape.group
        width, wide, pixels = shape.width, shape.decoder_width, shape.patch_px**2
        self.shape = shape
        self.mixed = _mixing(shape)
        self.embedded = nn.Linear((shape.scores or group) * pixels, width)
        self.summary = nn.Parameter(torch.randn(width))
        self.position = nn.Parameter(torch.randn(tokens + 1, width))
        sizes = (shape.hidden, shape.dropout)
        self.encoder = nn.ModuleList(Block(width, shape.heads, *sizes) for _ in range(shape.depth))
        self.translated = nn.Linear(width, wide, bias=False)
        self.unseen = nn.Parameter(torch.zeros(wide))
        self.decoder = nn.ModuleList(
            Block(wide, shape.decoder_heads, *sizes) for _ in range(shape.decoder_depth)
        )
        self.normalised, self.guessed = nn.LayerNorm(wide), nn.Linear(wide, group * pixels)
        self.register_buffer("groups", torch.from_numpy(shape.groups), persistent=False)
        self.register_buffer("places", sines(tokens, wide), persistent=False)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    # Tokens

    def targets(self, patches: Tensor) -> Tensor:
        """Arrange patches (pixel, feature, place) as tokens (pixel, token, value)."""
        return patches[:, self.groups].flatten(2)

    def embed(self, spectra: Tensor) -> Tensor:
        """Reduce spectra (feature, pixel) to what tokens keep of them, (embedding, pixel)."""
        if self.mixed is None:
            return spectra
        return torch.einsum("tsg,tgp->tsp", self.mixed, spectra[self.groups]).flatten(0, 1)

    def embed_patches(self, patches: Tensor) -> Tensor:
        """Reduce patches (pixel, feature, place), (pixel, embedding, place)."""
        embedded = self.embed(patches.transpose(0, 1).flatten(1))
        return embedded.reshape(-1, len(patches), patches.shape[2]).transpose(0, 1)

    def tokens(self, embedded: Tensor) -> Tensor:
        """Turn embedded patches (pixel, embedding, place) into tokens (pixel, token, width)."""
        if self.mixed is None:
            parts = self.targets(embedded)
        else:
            parts = embedded.reshape(len(embedded), self.shape.tokens, -1)
        found: Tensor = self.embedded(parts)
        return found

    # Encoder and decoder

    def encode(
        self, tokens: Tensor, seen: Tensor | None = None, random: torch.Generator | None = None
    ) -> Tensor:
        """Encode tokens (pixel, token, width), or those of them that are ``seen``.

        ``seen`` (pixel, seen) are numbers of tokens; ``random`` draws the dropout.
        The result has no summary token: (pixel, seen, width).
        """
        tokens = drop(tokens + self.position[1:], self.shape.dropout, random)
        if seen is not None:
            tokens = _picked(tokens, seen)
        summary = (self.summary + self.position[0]).expand(len(tokens), 1, -1)
        found = torch.cat([drop(summary, self.shape.dropout, random), tokens], dim=1)
        for block in self.encoder:
            found = block(found, random)
        return found[:, 1:]

    def decode(
        self,
        encoded: Tensor,
        seen: Tensor,
        hidden: Tensor,
        random: torch.Generator | None = None,
    ) -> Tensor:
        """Guess the ``hidden`` (pixel, hidden) tokens, (pixel, hidden, value), from the others."""
        known = self.translated(encoded) + self.places[seen]
        found = torch.cat([known, self.unseen + self.places[hidden]], dim=1)
        for block in self.decoder:
            found = block(found, random)
        guessed: Tensor = self.guessed(self.normalised(found[:, seen.shape[1] :]))
        return guessed

    def loss(
        self, patches: Tensor, seen: Tensor, hidden: Tensor, random: torch.Generator | None = None
    ) -> Tensor:
        """Mean squared error of the guesses, of patches (pixel, feature, place)."""
        encoded = self.encode(self.tokens(self.embed_patches(patches)), seen, random)
        guessed = self.decode(encoded, seen, hidden, random)
        return fn.mse_loss(guessed.float(), _picked(self.targets(patches), hidden))

    # Latents

    def latents(self, embedded: Tensor) -> Tensor:
        """Encode all tokens of embedded patches (pixel, embedding, place), (pixel, width)."""
        return self.encode(self.tokens(embedded)).mean(dim=1)

    def standardised(self, latents: Tensor) -> Tensor:
        """Standardise latents (pixel, width), and give them unit length."""
        return fn.normalize((latents - self.centre) / self.spread, dim=1, eps=1e-6)

    def measure(self, latents: Tensor) -> None:
        """Standardise by the mean and deviation of these latents (pixel, width) from now on."""
        wide = latents.double()
        spread = wide.std(dim=0) if len(wide) > 1 else torch.zeros_like(wide[0])
        self.centre.copy_(wide.mean(dim=0))
        self.spread.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))


def _mixing(shape: Shape) -> nn.Parameter | None:
    """Begin the weights (token, score, feature of a token) of what tokens keep."""
    if shape.scores is None:
        return None
    weights, bound = torch.empty(shape.tokens, shape.scores, shape.group), shape.group**-0.5
    return nn.Parameter(nn.init.uniform_(weights, -bound, bound))


def _picked(tokens: Tensor, numbers: Tensor) -> Tensor:
    """Pick tokens of each pixel, (pixel, number, value), by their numbers (pixel, number)."""
    return tokens.gather(1, numbers[..., None].expand(-1, -1, tokens.shape[2]))
