"""The staged denoiser of DiffCRN: attention among pixels, and attention among channels.

No layer changes the number of pixels, so that every stage has features of every pixel.
Two of the stages let pixels of small squares attend to each other; the other two let
channels attend to each other over a whole window, each channel being the pattern that
it makes there. A window is therefore a sample of its own: what a pixel becomes depends
on all of its window, and on nothing else.

The text of the paper [1]_ was not at hand: stages follow its captions, and the two kinds
of attention are read as those of DaViT [2]_, which the captions resemble.

References
----------
.. [1] Y. Zhu and L. Xu, "Spatial-spectral diffusion contrastive representation network
   for hyperspectral image classification", 2025. arXiv:2502.19699
.. [2] M. Ding et al., "DaViT: Dual attention vision transformers", ECCV 2022.
   arXiv:2204.03645
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.nn.diffusion import time_embedding

WIDTH = 64
"""Channels of every stage."""

HEADS = 4
"""Heads of the attention among pixels, and groups of the attention among channels."""

ATTENTION_PX = 8
"""Side of the squares whose pixels attend to each other; it divides the side of a window."""

TIME_SIZE, TIME_WIDTH = 64, 256

StageOrder = Literal["alternating", "paired", "spatial", "spectral"]

KINDS = {
    "alternating": "spatial spectral spatial spectral",
    "paired": "spatial spatial spectral spectral",
    "spatial": "spatial spatial spatial spatial",
    "spectral": "spectral spectral spectral spectral",
}
STAGES = 4


class Modulation(NamedTuple):
    """What the time of a sample does to a step of a stage: (sample, 1, 1, channel) each."""

    gain: Tensor
    shift: Tensor
    weight: Tensor


class NearConv(nn.Module):
    """A convolution of 3 x 3 px of every channel by itself; zeros lie around a window."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.own = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, values: Tensor) -> Tensor:
        """Convolve (sample, y, x, channel)."""
        weight = self.own.weight.contiguous(memory_format=torch.channels_last)
        found = fn.conv2d(
            values.permute(0, 3, 1, 2), weight, self.own.bias, padding=1, groups=len(weight)
        )
        return found.permute(0, 2, 3, 1)


class SpatialAttention(nn.Module):
    """Pixels of squares of 8 x 8 px attend to each other; where they lie counts."""

    def __init__(self) -> None:
        super().__init__()
        self.queries_keys_values, self.joined = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.by_offset = nn.Parameter(torch.zeros(HEADS, (2 * ATTENTION_PX - 1) ** 2))
        nn.init.trunc_normal_(self.by_offset, std=0.02)
        self.register_buffer("offset", _offsets(ATTENTION_PX), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Attend among (sample, y, x, channel); the sides are multiples of 8 px."""
        joined: Tensor = self.joined(self.attended(self.queries_keys_values(values)))
        return joined

    def attended(self, values: Tensor) -> Tensor:
        """Mix values (sample, y, x, 3 channel) of queries, keys and values, before they join."""
        samples, height, width, _ = values.shape
        rows, columns = height // ATTENTION_PX, width // ATTENTION_PX
        parts = values.view(samples, rows, ATTENTION_PX, columns, ATTENTION_PX, 3, HEADS, -1)
        squares = parts.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(
            3, -1, ATTENTION_PX**2, WIDTH // HEADS
        )
        query, key, value = squares.unbind()
        bias = self.by_offset[:, cast("Tensor", self.offset)]
        seen = torch.baddbmm(
            bias.repeat(samples * rows * columns, 1, 1),
            query,
            key.transpose(1, 2),
            alpha=(WIDTH // HEADS) ** -0.5,
        )
        found = torch.bmm(seen.softmax(dim=2), value)
        squares = found.view(samples, rows, columns, HEADS, ATTENTION_PX, ATTENTION_PX, -1)
        return squares.permute(0, 1, 4, 2, 5, 3, 6).reshape(samples, height, width, WIDTH)


class SpectralAttention(nn.Module):
    """Channels of a group attend to each other; each stands for its values in the window.

    Sums over pixels are divided by their number's root: windows of other sizes can be
    looked at, and not only those of the training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queries_keys_values, self.joined = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, values: Tensor) -> Tensor:
        """Attend among the channels of (sample, y, x, channel)."""
        joined: Tensor = self.joined(self.attended(self.queries_keys_values(values)))
        return joined

    def attended(self, values: Tensor) -> Tensor:
        """Mix values (sample, y, x, 3 channel) of queries, keys and values, before they join."""
        samples, height, width, _ = values.shape
        pixels = height * width
        query, key, value = values.view(samples, pixels, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = torch.matmul(query.transpose(2, 3), key) * pixels**-0.5
        found = torch.matmul(value, seen.softmax(dim=3).transpose(2, 3))
        return found.permute(0, 2, 1, 3).reshape(samples, height, width, WIDTH)


class Layer(nn.Module):
    """Twice as many channels, their neighbours, and back again."""

    def __init__(self) -> None:
        super().__init__()
        self.widened, self.narrowed = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.near = NearConv(2 * WIDTH)

    def forward(self, values: Tensor) -> Tensor:
        """Change (sample, y, x, channel)."""
        found: Tensor = self.narrowed(fn.gelu(self.near(self.widened(values))))
        return found


class Stage(nn.Module):
    """Neighbours, attention, neighbours, a layer: each is added to what there was.

    Attention and layer see values that are normalised over the channels of a pixel,
    and stretched, shifted and weighted as the time wants it.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.timed = nn.Linear(TIME_WIDTH, 6 * WIDTH)
        nn.init.zeros_(self.timed.weight)
        nn.init.zeros_(self.timed.bias)
        self.before_attention, self.before_layer = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.near_attention, self.near_layer = NearConv(WIDTH), NearConv(WIDTH)
        self.attention, self.layer = attention, Layer()

    def forward(self, values: Tensor, time: Tensor) -> Tensor:
        """Change (sample, y, x, channel) by the time (sample, value)."""
        parts = self.timed(time)[:, None, None].chunk(6, dim=3)
        first, second = Modulation(*parts[:3]), Modulation(*parts[3:])
        values = values + self.near_attention(values)
        values = _added(values, self.before_attention, self.attention, first)
        values = values + self.near_layer(values)
        return _added(values, self.before_layer, self.layer, second)


class DiffcrnNetwork(nn.Module):
    """The denoiser: 649,744 parameters with 200 bands.

    Parameters
    ----------
    bands : int
        Values of a spectrum.
    order : {"alternating", "paired", "spatial", "spectral"}
        Whether the two kinds of stages take turns, or which one all are of.
    """

    def __init__(self, bands: int, order: StageOrder = "alternating") -> None:
        super().__init__()
        self.stem, self.near = nn.Linear(bands, WIDTH), NearConv(WIDTH)
        self.time = nn.Sequential(
            nn.Linear(TIME_SIZE, TIME_WIDTH), nn.SiLU(), nn.Linear(TIME_WIDTH, TIME_WIDTH)
        )
        self.stages = nn.ModuleList(
            Stage(SpatialAttention() if kind == "spatial" else SpectralAttention())
            for kind in KINDS[order].split()
        )
        self.before_head, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, bands)

    def features(self, noised: Tensor, index: Tensor, stages: int = STAGES) -> list[Tensor]:
        """Read the features of the first stages.

        Parameters
        ----------
        noised : (sample, band, y, x)
            Windows with noise; their sides are multiples of 8 px.
        index : (sample,) int64
            Step of the noise, from 0.
        stages : int
            How many.

        Returns
        -------
        list of (sample, y, x, channel)
            One for each stage.
        """
        time = self.time(time_embedding(index, TIME_SIZE, noised.dtype))
        values = self.stem(noised.permute(0, 2, 3, 1))
        values = values + self.near(values)
        found = []
        for stage in self.stages[:stages]:
            values = stage(values, time)
            found.append(values)
        return found

    def forward(self, noised: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Guess the noise (sample, band, y, x); also give the last features."""
        last = self.features(noised, index)[-1]
        guess: Tensor = self.head(self.before_head(last)).permute(0, 3, 1, 2)
        return guess, last


def kept_floats(bands: int) -> int:
    """Count the values per pixel that a pass keeps for the gradient, generously.

    Examples
    --------
    >>> kept_floats(32)
    7744
    """
    squares = 2 * HEADS * ATTENTION_PX**2
    stage = 17 * WIDTH + 4 * 2 * WIDTH
    return STAGES * stage + STAGES // 2 * squares + 3 * WIDTH + 4 * bands


def live_floats(bands: int) -> int:
    """Count the values per pixel that live at once without a gradient, generously."""
    return 2 * HEADS * ATTENTION_PX**2 + (STAGES + 8) * WIDTH + 3 * bands


def _added(values: Tensor, norm: nn.Module, step: nn.Module, how: Modulation) -> Tensor:
    """Add what a step makes of normalised values."""
    seen = norm(values) * (1 + how.gain) + how.shift
    added: Tensor = values + (1 + how.weight) * step(seen)
    return added


def _offsets(side: int) -> Tensor:
    """Give a number to the offset between all pixels of a square, (pixel, pixel), from 0."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    place = torch.stack([row, column]).flatten(1)
    steps = place[:, :, None] - place[:, None] + (side - 1)
    return steps[0] * (2 * side - 1) + steps[1]
