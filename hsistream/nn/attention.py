"""Blocks of a transformer: attention among the tokens of a pixel, then a layer on each token.

Whatever is random comes from a generator that is passed in: torch's own is shared
by all threads, and its numbers depend on who asks first.

References
----------
.. [1] A. Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021.
   arXiv:2010.11929
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

LEAST_WORD = -(2**63)
"""From here on, all 64 bits of a word are random."""


def drop(values: Tensor, share: float, random: torch.Generator | None) -> Tensor:
    """Set a share of the values to 0 and raise the others; all are kept without a generator.

    Sixteen random bits decide over each value: to draw a number for each takes as
    long as a layer.
    """
    if random is None or not share:
        return values
    words = torch.empty(-(-values.numel() // 4), dtype=torch.int64, device=values.device)
    drawn = words.random_(LEAST_WORD, None, generator=random).view(torch.int16)
    kept = drawn[: values.numel()] >= round(share * 2**16) - 2**15
    return values * (kept.view(values.shape) * (1 / (1 - share)))


class Block(nn.Module):
    """Attention and a layer of two steps, each on normalised values and added to them.

    Parameters
    ----------
    width : int
        Values of a token; a multiple of ``heads``.
    heads : int
        Parts of a token that attend by themselves.
    hidden : int
        Width between the two steps of the layer.
    dropout : float
        Share of the values that a training step hides after each linear map but the first.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.before_attention, self.before_layer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.joined = nn.Linear(width, width)
        self.widened, self.narrowed = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self._heads, self._dropout = heads, dropout

    def forward(self, tokens: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Turn tokens (pixel, token, width) into others of the same shape.

        ``random`` draws what is dropped in training; nothing is dropped without it.
        """
        tokens = tokens + self._attended(self.before_attention(tokens), random)
        wide = drop(fn.gelu(self.widened(self.before_layer(tokens))), self._dropout, random)
        return tokens + drop(self.narrowed(wide), self._dropout, random)

    def _attended(self, tokens: Tensor, random: torch.Generator | None) -> Tensor:
        """Let every token look at all tokens of its pixel."""
        pixels, count, width = tokens.shape
        parts = self.queries_keys_values(tokens).view(pixels, count, 3, self._heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = fn.scaled_dot_product_attention(query, key, value)
        found = found.transpose(1, 2).reshape(pixels, count, width)
        return drop(self.joined(found), self._dropout, random)
