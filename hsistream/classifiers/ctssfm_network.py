"""The layers that fuse the features of a denoiser over time steps, stages and a window.

Features of a pixel are (time step, stage, channel): what each of four stages of a
denoiser gives at each of some time steps. The first and third stage look at pixels
around each other, the second and fourth at how bands belong together.

References
----------
.. [1] Y. Zhu and L. Xu, "Spatial-spectral diffusion contrastive representation network
   for hyperspectral image classification", arXiv:2502.19699, 2025.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.classifiers.windows import parts
from hsistream.nn import diffcrn_network
from hsistream.nn.attention import Block, drop
from hsistream.sections import CtssfmSection

STAGES, CHANNELS = diffcrn_network.STAGES, diffcrn_network.WIDTH
SPATIAL, SPECTRAL = (0, 2), (1, 3)
"""Stages that look at pixels around each other, and at bands."""

VALUES = STAGES * CHANNELS
"""Features of a pixel at one time step."""

HEADS = 4
NARROW = 16
"""Width between the two layers of a gate."""
WIDE = 128
"""Width of the layers behind an attention."""

RIM = 1
"""Pixels around its own that a token of a window sees."""

SIDE = 1 + 2 * RIM

PIXELS_AT_ONCE = 2048
"""Pixels that are fused together; always as many, so that sums are the same."""

MARK_SCALE = 0.02
"""Size of what tells tokens apart, at the start."""

Weighing = Literal["scene", "stage", "pixel", "even"]


class Awam(nn.Module):
    """Weigh the features of one stage at several time steps, and add them up.

    Parameters
    ----------
    time_steps : int
        How many there are.
    weighing : {"scene", "stage", "pixel", "even"}
        Whether weights are the same for all stages, learnt for each of them, told
        besides by a gate that looks at the features of every pixel, or not learnt at all.
    """

    def __init__(self, time_steps: int, weighing: Weighing = "stage") -> None:
        super().__init__()
        rows = 1 if weighing == "scene" else STAGES
        self.logits = nn.Parameter(torch.zeros(rows, time_steps), weighing != "even")
        self.gain = nn.Parameter(torch.ones(STAGES, CHANNELS))
        self.offset = nn.Parameter(torch.zeros(STAGES, CHANNELS))
        self.gate = None
        if weighing == "pixel":
            told = nn.Linear(NARROW, 1, bias=False)
            nn.init.zeros_(told.weight)
            self.gate = nn.Sequential(nn.Linear(CHANNELS, NARROW), nn.GELU(), told)

    def forward(self, features: Tensor) -> Tensor:
        """Turn (pixel, time step, stage, channel) into (pixel, stage, channel).

        Channels are normalised before; gain and offset are those of each stage.
        """
        levelled = fn.layer_norm(features, (CHANNELS,))
        fused = (self._weights(levelled) * levelled).sum(dim=1)
        return self.gain * fused + self.offset

    def of_time_steps(self) -> Tensor:
        """Weight of every time step, (time step,), without what single pixels tell."""
        return self.logits.softmax(dim=1).mean(dim=0)

    def _weights(self, levelled: Tensor) -> Tensor:
        """Weights that sum to 1 over the time steps, (pixel or 1, time step, stage or 1, 1)."""
        logits = self.logits.T[None, :, :, None]
        if self.gate is not None:
            logits = logits + self.gate(levelled)
        return logits.transpose(1, 3).softmax(dim=3).transpose(1, 3)


class _TimeSteps(nn.Module):
    """Features as they are given: of some time steps, of which those at some places are used.

    ``chosen`` (chosen,) int64 holds these places.
    """

    def __init__(self, chosen: Tensor) -> None:
        super().__init__()
        self.chosen: Tensor
        self.register_buffer("chosen", chosen)

    def forward(self, features: Tensor) -> Tensor:
        """Turn pixels (pixel, feature) into (pixel, chosen time step, stage, channel).

        All features of a pixel are of length 1 together; channels become so large that
        normalisation need not add to their variance.
        """
        parted = torch.nan_to_num(features).view(len(features), -1, STAGES, CHANNELS)
        return parted[:, self.chosen] * math.sqrt(features.shape[1])


class _Head(nn.Module):
    """Logits of classes, of some values of a pixel."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.levelled, self.widened = nn.LayerNorm(width), nn.Linear(width, WIDE)
        self.judged, self._dropout = nn.Linear(WIDE, classes), dropout

    def forward(self, values: Tensor, random: torch.Generator | None) -> Tensor:
        """Turn values (pixel, value) into logits (pixel, class)."""
        wide = fn.gelu(self.widened(self.levelled(values)))
        logits: Tensor = self.judged(drop(wide, self._dropout, random))
        return logits


class WindowFusion(nn.Module):
    """Fuse time steps by their weights, then compare a pixel with the window around it.

    Parameters
    ----------
    chosen : (chosen,) int64 Tensor
        Places of the time steps that are used, among those that are given.
    classes : int
        What comes out.
    of : CtssfmSection
        Side of the window, dropout.
    weighing : {"scene", "stage", "pixel", "even"}
        See :class:`Awam`.
    """

    def __init__(self, chosen: Tensor, classes: int, of: CtssfmSection, weighing: Weighing) -> None:
        super().__init__()
        self.time_steps, self.awam = _TimeSteps(chosen), Awam(len(chosen), weighing)
        self.spatial, self.spectral = (nn.Linear(2 * CHANNELS, CHANNELS) for _ in range(2))
        self.kernel = nn.Parameter(torch.empty(SIDE, SIDE, CHANNELS).uniform_(-1 / SIDE, 1 / SIDE))
        self.kernel_offset = nn.Parameter(torch.zeros(CHANNELS))
        self.positions = nn.Parameter(MARK_SCALE * torch.randn(of.window_px**2, CHANNELS))
        self.query, self.joined = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.keys_values = nn.Linear(CHANNELS, 2 * CHANNELS)
        self.gate = nn.Sequential(
            nn.Linear(CHANNELS, NARROW), nn.GELU(), nn.Linear(NARROW, CHANNELS), nn.Sigmoid()
        )
        self.head = _Head(3 * CHANNELS, classes, of.dropout)

    def stem(self, features: Tensor) -> Tensor:
        """Turn (sample, feature, y + 2, x + 2) into tokens (sample, y, x, width).

        The first half of a token is spatial, the second spectral; all of it is 0 where
        there is no data, or no frame.
        """
        known = ~features[:, 0].isnan()[..., None]
        spatial, spectral = (self._fused(features) * known).chunk(2, dim=3)
        inner = (slice(None), slice(RIM, -RIM), slice(RIM, -RIM))
        spatial = spatial[inner] + fn.gelu(self._around(spatial))
        return torch.cat([spatial * known[inner], spectral[inner]], dim=3)

    def forward(self, tokens: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Turn the tokens of windows (window, token, width) into logits (window, class)."""
        spatial, spectral = tokens.chunk(2, dim=2)
        query = self.query(spectral[:, spectral.shape[1] // 2])
        looked = query + self.joined(self._attended(query, spatial + self.positions))
        gated = self.gate(spectral.mean(dim=1)) * query
        logits: Tensor = self.head(torch.cat([looked, gated, spatial.mean(dim=1)], dim=1), random)
        return logits

    def of_time_steps(self) -> Tensor:
        """Weight of every time step, (time step,)."""
        return self.awam.of_time_steps()

    def _fused(self, features: Tensor) -> Tensor:
        """Turn (sample, feature, y, x) into (sample, y, x, width), pixel by pixel."""
        samples, _, height, width = features.shape
        flat, pixels = features.flatten(2), height * width
        found = []
        for part in parts(samples * pixels, PIXELS_AT_ONCE):
            place = torch.arange(part.start, min(part.stop, samples * pixels))
            own = flat[place // pixels, :, place % pixels]
            found.append(self._fused_pixels(own))
        return torch.cat(found).view(samples, height, width, -1)

    def _fused_pixels(self, features: Tensor) -> Tensor:
        """Turn some pixels (pixel, feature) into (pixel, width); judged ones are filled up."""
        missing = 0 if self.training else PIXELS_AT_ONCE - len(features)
        whole = fn.pad(features, (0, 0, 0, missing)) if missing else features
        fused = self.awam(self.time_steps(whole))
        spatial = self.spatial(fused[:, SPATIAL].flatten(1))
        spectral = self.spectral(fused[:, SPECTRAL].flatten(1))
        return torch.cat([spatial, spectral], dim=1)[: len(features)]

    def _around(self, tokens: Tensor) -> Tensor:
        """Convolve (sample, y + 2, x + 2, channel), each channel by itself.

        One place of the kernel after the other: the order of sums in a convolution of torch
        depends on the size of what is convolved.
        """
        height, width = (size - 2 * RIM for size in tokens.shape[1:3])
        found: Tensor = self.kernel_offset
        for down in range(SIDE):
            for right in range(SIDE):
                seen = tokens[:, down : down + height, right : right + width]
                found = found + seen * self.kernel[down, right]
        return found

    def _attended(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Let queries (window, channel) look at tokens (window, token, channel)."""
        windows, count, _ = tokens.shape
        parted = self.keys_values(tokens).view(windows, count, 2, HEADS, -1)
        key, value = parted.permute(2, 0, 3, 1, 4)
        asked = query.view(windows, HEADS, 1, -1)
        return fn.scaled_dot_product_attention(asked, key, value).flatten(1)


class StepFusion(nn.Module):
    """Compare all stages at all time steps of one pixel; arguments are those of above.

    What is found is averaged over tokens, by one weight for each time step.
    """

    def __init__(self, chosen: Tensor, classes: int, of: CtssfmSection) -> None:
        super().__init__()
        self.time_steps = _TimeSteps(chosen)
        self.logits = nn.Parameter(torch.zeros(len(chosen)))
        self.marks = nn.Parameter(MARK_SCALE * torch.randn(len(chosen) * STAGES, CHANNELS))
        self.block = Block(CHANNELS, HEADS, WIDE, of.dropout)
        self.head = _Head(CHANNELS, classes, of.dropout)

    def stem(self, features: Tensor) -> Tensor:
        """Put the features (sample, feature, y, x) of a pixel side by side, as they are."""
        return features.permute(0, 2, 3, 1)

    def forward(self, tokens: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Turn pixels (pixel, 1, feature) into logits (pixel, class)."""
        levelled = fn.layer_norm(self.time_steps(tokens.flatten(1)), (CHANNELS,))
        found = self.block(levelled.flatten(1, 2) + self.marks, random)
        shares = self.of_time_steps().repeat_interleave(STAGES)[:, None] / STAGES
        logits: Tensor = self.head((shares * found).sum(dim=1), random)
        return logits

    def of_time_steps(self) -> Tensor:
        """Weight of every time step, (time step,)."""
        return self.logits.softmax(dim=0)
