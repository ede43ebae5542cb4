"""What a diffusion model has learnt, to look at: noise added to a square, and taken away again.

For figures only; latents are read from a single pass. The square is a batch of its own,
so that layers normalise every step of the way back by what they see, as in training:
the statistics that are kept for encoding are those of one early step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsistream.methods.base import Place, Standard
from hsistream.methods.denoising import embed_spectra
from hsistream.methods.spectraldiff_model import SCHEDULE, Model, filled_up, make_model
from hsistream.network_sections import SpectraldiffSection
from hsistream.nn.exact import one_thread, seed_of
from hsistream.nn.noise import field_noise
from hsistream.nn.spectraldiff_network import Pass
from hsistream.nn.training import load_average

SHOWN_STEPS = (5, 50, 100, 200, 400)
"""Steps of the noise that are shown; the way back begins at the last one."""

FRESH_KEY = 24
"""Sets the random numbers of the way back apart from those of other uses of a seed."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reversal:
    """A square with noise, and on the way back; all from about -1 to 1.

    ``clean`` is (mean of bands, y, x); ``noised`` and ``restored`` (shown step, mean of
    bands, y, x) are those of ``steps``, before the network and behind it; ``last``
    (mean of bands, y, x) is the end of the way back.
    """

    steps: tuple[int, ...]
    clean: Floats
    noised: Floats
    restored: Floats
    last: Floats


@one_thread()
@torch.inference_mode()
def reverse(
    settings: SpectraldiffSection,
    standard: Standard,
    folder: Path,
    raw: NDArray[Any],
    frame: int,
    place: Place,
    tell: Callable[[int, int], None],
) -> Reversal:
    """Add noise to a square, and let the trained network take it away step by step.

    Parameters
    ----------
    settings : SpectraldiffSection
        Of the run.
    standard : Standard
        How its spectra are seen.
    folder : Path
        Where the trained network lies.
    raw : (band, y, x)
        Spectra as stored; all pixels have data.
    frame : int
        Number of their frame.
    place : Place
        Of their first pixel: it decides the noise.
    tell : callable
        Told after every step how many are done, of how many.

    Returns
    -------
    Reversal
        The same for the same arguments.

    References
    ----------
    .. [1] N. Chen et al., "SpectralDiff: A generative framework for hyperspectral image
       classification with diffusion models", TGRS 61, 2023, figures 9 to 11.
    """
    model = make_model(settings, standard.feature_count, 0)
    load_average(folder, model)
    spectra = embed_spectra(settings, standard, raw, frame)
    clean = filled_up(torch.from_numpy(spectra)[None], model.bands)
    noise = field_noise(
        (place.row, place.column), (raw.shape[1], raw.shape[2]), model.bands, int(model.seed)
    )
    noised = _noised(clean, torch.from_numpy(noise)[None])
    restored, last = _way_back(model, noised[-1], tell)
    bands = len(spectra)
    return Reversal(
        SHOWN_STEPS, spectra, *(_bands(each, bands) for each in (noised, restored, last))
    )


def _noised(clean: Tensor, noise: Tensor) -> list[Tensor]:
    """Add noise up to every shown step, (1, band, y, x) each."""
    return [SCHEDULE.noised(clean, noise, torch.tensor([step])) for step in SHOWN_STEPS]


def _way_back(
    model: Model, found: Tensor, tell: Callable[[int, int], None]
) -> tuple[list[Tensor], Tensor]:
    """Go back from the last shown step; what there is at the shown steps, and at the end."""
    random = torch.Generator().manual_seed(seed_of(int(model.seed), FRESH_KEY))
    passed, first = [], SHOWN_STEPS[-1]
    for step in range(first, -1, -1):
        if step in SHOWN_STEPS:
            passed.append(found)
        index = torch.tensor([step])
        guess = model.denoiser(found, index, Pass(batch=[]))
        fresh = torch.randn(found.shape, generator=random)
        found = SCHEDULE.reversed(found, guess, index, fresh)
        tell(first - step + 1, first + 1)
    return passed[::-1], found


def _bands(found: Tensor | list[Tensor], bands: int) -> Floats:
    """Leave out what was filled up."""
    whole = torch.cat(found) if isinstance(found, list) else found[0]
    return whole[..., :bands, :, :].numpy().copy()
