"""The layers of the classifier that looks at a window of features around a pixel.

References
----------
.. [1] N. Chen et al., "SpectralDiff: a generative framework for hyperspectral image
   classification with diffusion models", IEEE TGRS 61, 2023.
   doi:10.1109/TGRS.2023.3310023
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.nn.attention import drop

WIDTH = 64
"""Values of a token."""

JUDGED = 128
"""Width of the layer behind the class token."""

POSITION_SCALE = 0.01
"""Weight of the positions at the start; it is learnt."""

STEM_REACH = 1
"""Pixels around a token that the stem looks at."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Heads of an attention, values of each, width of the layer behind it, and blocks.

    What asks the tokens of a window for the class is the token of its middle, or one that
    is learnt and the same for all windows.
    """

    heads: int
    of_head: int
    hidden: int
    middle_asks: bool
    depth: int = 2


PROFILES: Mapping[str, Widths] = MappingProxyType(
    {
        "base": Widths(4, 16, 128, middle_asks=True),
        "paper": Widths(20, 64, 8, middle_asks=False),
    }
)
"""What ``transformer.profile`` names."""


class Block(nn.Module):
    """Attention among tokens, then a layer on each; both on normalised values, and added."""

    def __init__(self, widths: Widths, dropout: float) -> None:
        super().__init__()
        inner = widths.heads * widths.of_head
        self.before_attention, self.before_layer = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.queries = nn.Linear(WIDTH, inner, bias=False)
        self.keys_values = nn.Linear(WIDTH, 2 * inner, bias=False)
        self.joined = nn.Linear(inner, WIDTH)
        self.widened, self.narrowed = (
            nn.Linear(WIDTH, widths.hidden),
            nn.Linear(widths.hidden, WIDTH),
        )
        self._heads, self._dropout = widths.heads, dropout

    def forward(self, tokens: Tensor, asking: int, random: torch.Generator | None) -> Tensor:
        """Change the first tokens of (pixel, token, width), as many as are asking.

        They look at all; ``random`` draws what is dropped in training.
        """
        seen = self.before_attention(tokens)
        query = self._parts(self.queries(seen[:, :asking]))
        key, value = (self._parts(each) for each in self.keys_values(seen).chunk(2, dim=2))
        found = fn.scaled_dot_product_attention(query, key, value)
        joined = self.joined(found.transpose(1, 2).flatten(2))
        asked = tokens[:, :asking] + drop(joined, self._dropout, random)
        wide = drop(fn.gelu(self.widened(self.before_layer(asked))), self._dropout, random)
        return asked + drop(self.narrowed(wide), self._dropout, random)

    def _parts(self, values: Tensor) -> Tensor:
        """Divide values among the heads, (pixel, head, token, value)."""
        return values.view(*values.shape[:2], self._heads, -1).transpose(1, 2)


class WindowTransformer(nn.Module):
    """A stem on every pixel, and blocks on the window around one of them.

    Features are standardised by ``mean`` and ``scale`` (feature, 1, 1), and 0 where there
    are none.

    Parameters
    ----------
    features, classes : int
        What goes in, and what comes out.
    window_px : int
        Side of the window of tokens.
    widths : Widths
        Of the blocks.
    dropout : float
        Share of values that a training step hides.
    """

    def __init__(
        self, features: int, classes: int, window_px: int, widths: Widths, dropout: float
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.class_token: nn.Parameter | None
        self.register_buffer("mean", torch.zeros(features, 1, 1))
        self.register_buffer("scale", torch.ones(features, 1, 1))
        self.mixed = nn.Conv2d(features, WIDTH, 1 + 2 * STEM_REACH)
        self.levelled = nn.BatchNorm2d(WIDTH)
        start = None if widths.middle_asks else nn.Parameter(torch.randn(1, 1, WIDTH))
        self.register_parameter("class_token", start)
        self.positions = nn.Parameter(torch.randn(1, window_px**2 + 1, WIDTH))
        self.position_scale = nn.Parameter(torch.tensor(POSITION_SCALE))
        self.blocks = nn.ModuleList(Block(widths, dropout) for _ in range(widths.depth))
        self.gathered, self.judged = nn.Linear(WIDTH, JUDGED), nn.Linear(JUDGED, classes)
        self.evened = nn.BatchNorm1d(JUDGED)
        self._dropout = dropout

    def stem(self, features: Tensor) -> Tensor:
        """Turn (pixel, feature, y + 2, x + 2) into tokens (pixel, y, x, width)."""
        standard = torch.nan_to_num((features - self.mean) * self.scale)
        return fn.relu(self.levelled(self.mixed(standard))).permute(0, 2, 3, 1)

    def forward(self, tokens: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Turn the tokens of windows (pixel, token, width) into logits (pixel, class)."""
        asking = self._asking(tokens)
        tokens = torch.cat([asking, tokens], dim=1) + self.position_scale * self.positions
        for block in self.blocks[:-1]:
            tokens = block(tokens, tokens.shape[1], random)
        found = self.blocks[-1](tokens, 1, random)[:, 0]
        wide = drop(self.evened(self.gathered(found)), self._dropout, random)
        logits: Tensor = self.judged(fn.relu(wide))
        return logits

    def _asking(self, tokens: Tensor) -> Tensor:
        """Give the token that asks in every window, (pixel, 1, width)."""
        if self.class_token is not None:
            return self.class_token.expand(len(tokens), -1, -1)
        middle = tokens.shape[1] // 2
        return tokens[:, middle : middle + 1]
