"""The denoiser of SpectralDiff: a 3-D U-net that halves the bands and never the pixels.

Arrays are (sample, channel, band, y, x). Blocks that go down halve the bands, blocks
that go up double them; each is joined by what the block of the same size gave on the
way down. Features are read at a *tap*: what one of the blocks that go up is given, or
what the first block that goes down gives.

References
----------
.. [1] N. Chen et al., "SpectralDiff: A generative framework for hyperspectral image
   classification with diffusion models", TGRS 61, 2023. doi:10.1109/TGRS.2023.3310023
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.nn.depthwise import depthwise, depthwise_transposed, is_fast_for
from hsistream.nn.diffusion import time_embedding

TIME_SIZE = 32
SMALL, LARGE = (3, 3, 3), (4, 5, 5)
"""Kernels (band, y, x): of the layers of a block, and of the one that halves or doubles."""

FOLD = 8
"""Bands are halved three times: their number must be a multiple of this."""

Tap = Literal["down", 0, 1, 2]
"""Behind the first block that goes down, or before a block that goes up."""

TAP_HALOS: Mapping[Tap, int] = MappingProxyType({"down": 5, 0: 13, 1: 17, 2: 21})
"""Pixels around a pixel that the features of a tap depend on."""

OUTPUT_HALO = 25
"""Pixels around a pixel that the noise which is guessed depends on."""


class Statistics(NamedTuple):
    """Mean and variance of every channel over a batch, (channel,) each."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Pass:
    """How an array goes through the network.

    Parameters
    ----------
    padded : bool
        Whether layers put 0 around the pixels, as in training, or lose pixels at the rim.
    batch : list, optional
        Given in training: normalise by the statistics of the batch, and note them
        here, layer by layer. Without it, those that are kept are used.
    """

    padded: bool = True
    batch: list[Statistics] | None = None


class SpectralDiffNetwork(nn.Module):
    """Guess the noise of noised spectra, or give features.

    Parameters
    ----------
    widths : (4,) int
        Channels of the first layer and of the three blocks that go down.
    factorised : bool
        Each layer is one per channel, followed by one per pixel.
    """

    def __init__(self, widths: tuple[int, int, int, int], *, factorised: bool = False) -> None:
        super().__init__()
        first, second, third, deepest = widths
        self.time = nn.Linear(TIME_SIZE, TIME_SIZE)
        self.stem = SpatialConv(1, first, SMALL, padding=(1, 1, 1))
        downs = ((first, second), (second, third), (third, deepest))
        ups = ((2 * deepest, third), (2 * third, second), (2 * second, first))
        self.down = nn.ModuleList(Block(*sizes, factorised, "down") for sizes in downs)
        self.up = nn.ModuleList(Block(*sizes, factorised, "up") for sizes in ups)
        self.last = nn.Conv3d(first, 1, 1)

    def forward(self, noised: Tensor, index: Tensor, how: Pass = Pass()) -> Tensor:
        """Guess the noise (sample, band, y, x) of noised spectra at steps (sample,)."""
        guess: Tensor = self.last(self._through(noised, index, len(self.up), how))
        return guess[:, 0]

    def tap(self, noised: Tensor, index: Tensor, tap: Tap, how: Pass = Pass()) -> Tensor:
        """Read the features (sample, channel, band, y, x) of a tap, and compute nothing beyond.

        Tap 0 would hold the deepest features twice; they are given once.
        """
        if tap == "down":
            first: Tensor = self.down[0](*self._start(noised, index, how), how)
            return first
        found = self._through(noised, index, tap, how)
        return found[:, : found.shape[1] // 2] if tap == 0 else found

    def norms(self) -> list[ChannelNorm]:
        """List the layers that normalise, in the order in which they are passed."""
        blocks = [*self.down, *self.up]
        return [norm for block in blocks for norm in (block.norm_first, block.norm_second)]

    def _start(self, noised: Tensor, index: Tensor, how: Pass) -> tuple[Tensor, Tensor]:
        """Give what the first block is given, and the time (sample, value)."""
        marks = time_embedding(index, TIME_SIZE, noised.dtype)
        return self.stem(noised[:, None], how.padded), fn.relu(self.time(marks))

    def _through(self, noised: Tensor, index: Tensor, ups: int, how: Pass) -> Tensor:
        """Go down, and some blocks up; what the next block up would be given."""
        found, time = self._start(noised, index, how)
        skips = []
        for block in self.down:
            found = block(found, time, how)
            skips.append(found)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            joined = torch.cat([found, inner(skip, found)], dim=1)
            if not ups:
                return joined
            found, ups = block(joined, time, how), ups - 1
        return found


class SpatialConv(nn.Conv3d):
    """A convolution that may leave out the zeros around the pixels; bands are always padded."""

    def forward(self, values: Tensor, padded: bool = True) -> Tensor:
        """Convolve (sample, channel, band, y, x)."""
        bands, rows, columns = (int(each) for each in self.padding)
        around = (bands, rows, columns) if padded else (bands, 0, 0)
        if self.groups > 1 and self.bias is not None and is_fast_for(values):
            return depthwise(values, self.weight, self.bias, self.stride[0], around[1])
        return fn.conv3d(
            values, self.weight, self.bias, self.stride, around, self.dilation, self.groups
        )


class SpatialTransposedConv(nn.ConvTranspose3d):
    """The same, transposed: it doubles the bands."""

    def forward(  # type: ignore[override]  # an output size is never asked for
        self, values: Tensor, padded: bool = True
    ) -> Tensor:
        """Convolve (sample, channel, band, y, x)."""
        bands, rows, columns = (int(each) for each in self.padding)
        around = (bands, rows, columns) if padded else (bands, 2 * rows, 2 * columns)
        stride, group = self.stride, self.groups
        if group > 1 and self.bias is not None and is_fast_for(values):
            return depthwise_transposed(values, self.weight, self.bias, around[1])
        return fn.conv_transpose3d(values, self.weight, self.bias, stride, around, 0, group)


class ChannelNorm(nn.Module):
    """Normalise every channel, by statistics of the batch or by those that are kept."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, values: Tensor, how: Pass) -> Tensor:
        """Normalise (sample, channel, band, y, x)."""
        if how.batch is None:
            return fn.batch_norm(values, self.mean, self.variance, self.weight, self.bias)
        mean, variance = torch.zeros_like(self.mean), torch.ones_like(self.variance)
        found = fn.batch_norm(values, mean, variance, self.weight, self.bias, True, 1.0)
        how.batch.append(Statistics(mean, variance))
        return found

    def keep(self, statistics: Statistics) -> None:
        """Normalise by these from now on."""
        self.mean.copy_(statistics.mean)
        self.variance.copy_(statistics.variance)


class FactorisedConv(nn.Module):
    """A convolution of every channel by itself, and one that mixes the channels of a place."""

    def __init__(self, own: nn.Module, wide: int, channels: int) -> None:
        super().__init__()
        self.own, self.mixed = own, nn.Conv3d(wide, channels, 1)

    def forward(self, values: Tensor, padded: bool = True) -> Tensor:
        """Convolve (sample, channel, band, y, x)."""
        found: Tensor = self.mixed(self.own(values, padded))
        return found


class Block(nn.Module):
    """Two layers with the time between them, and one that halves or doubles the bands."""

    def __init__(self, wide: int, channels: int, factorised: bool, direction: str) -> None:
        super().__init__()
        self.first = _layer(wide, channels, factorised)
        self.norm_first = ChannelNorm(channels)
        self.time = nn.Linear(TIME_SIZE, channels)
        self.second = _layer(channels, channels, factorised)
        self.norm_second = ChannelNorm(channels)
        self.resized = _resizing(channels, factorised, direction)

    def forward(self, values: Tensor, time: Tensor, how: Pass) -> Tensor:
        """Take (sample, channel, band, y, x) and the time (sample, value)."""
        found = self.norm_first(fn.relu(self.first(values, how.padded)), how)
        found = found + fn.relu(self.time(time))[:, :, None, None, None]
        found = self.norm_second(fn.relu(self.second(found, how.padded)), how)
        resized: Tensor = self.resized(found, how.padded)
        return resized


def mean_statistics(batches: Sequence[Statistics]) -> Statistics:
    """Average what batches are normalised by."""
    return Statistics(
        torch.stack([each.mean for each in batches]).mean(dim=0),
        torch.stack([each.variance for each in batches]).mean(dim=0),
    )


def band_count(bands: int) -> int:
    """Round a number of bands up to one that can be halved three times.

    Examples
    --------
    >>> [band_count(bands) for bands in (1, 8, 103, 204)]
    [8, 8, 104, 208]
    """
    return -(-bands // FOLD) * FOLD


def tap_size(widths: tuple[int, int, int, int], bands: int, tap: Tap) -> int:
    """Count the features of a pixel at a tap, with so many bands.

    Examples
    --------
    >>> [tap_size((16, 32, 64, 128), 200, tap) for tap in ("down", 0, 1, 2)]
    [3200, 3200, 6400, 6400]
    """
    _, second, third, deepest = widths
    channels, fold = {
        "down": (second, 2),
        0: (deepest, 8),
        1: (2 * third, 4),
        2: (2 * second, 2),
    }[tap]
    return channels * (band_count(bands) // fold)


class PassFloats(NamedTuple):
    """Values per pixel that a pass keeps for the gradient, and that live at once without one."""

    kept: int
    live: int


def pass_floats(widths: tuple[int, int, int, int], bands: int, *, factorised: bool) -> PassFloats:
    """Count the values per pixel of a pass, generously; what 3-D layers rearrange included.

    Examples
    --------
    >>> pass_floats((16, 32, 64, 128), 200, factorised=False).kept // 1000
    339
    """
    first, second, third, deepest = widths
    length = band_count(bands)
    sizes = [(first, second, 1), (second, third, 2), (third, deepest, 4)]
    sizes += [(2 * deepest, third, 8), (2 * third, second, 4), (2 * second, first, 2)]
    # given, first layer, its two ends, time, second layer, its two ends; half as much at the end
    blocks = [(wide + 8 * channels) * length // fold for wide, channels, fold in sizes]
    cut = [(wide + 2 * channels) * length // fold for wide, channels, fold in sizes]
    kept = sum(blocks) + factorised * sum(cut) + 3 * first * length
    return PassFloats(kept + 2 * max(blocks), 2 * max(blocks))


def _layer(wide: int, channels: int, factorised: bool) -> nn.Module:
    """Make a layer that keeps the number of bands."""
    if not factorised:
        return SpatialConv(wide, channels, SMALL, padding=(1, 1, 1))
    own = SpatialConv(wide, wide, SMALL, padding=(1, 1, 1), groups=wide)
    return FactorisedConv(own, wide, channels)


def _resizing(channels: int, factorised: bool, direction: str) -> nn.Module:
    """Make the layer that halves or doubles the number of bands."""
    kind = {"down": SpatialConv, "up": SpatialTransposedConv}[direction]
    groups = channels if factorised else 1
    own = kind(channels, channels, LARGE, (2, 1, 1), (1, 2, 2), groups=groups)
    return FactorisedConv(own, channels, channels) if factorised else own


def inner(outer: Tensor, found: Tensor) -> Tensor:
    """Cut off the rim (..., y, x) that layers without padding have lost since."""
    rows, columns = outer.shape[-2:]
    rim = (rows - found.shape[-2]) // 2
    return outer[..., rim : rows - rim, rim : columns - rim]
