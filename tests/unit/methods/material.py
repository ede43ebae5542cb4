"""What a network learns from, made of small frames that lie in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.consensus.projections import Moments, leading
from hsistream.events import Notify, ignore
from hsistream.illumination import illuminated
from hsistream.methods.base import Material, Probe, Reservoir, Standard, Work
from hsistream.scene.crops import Crop, CropPair
from hsistream.scene.patches import fill_gaps

BANDS = 8
SIDE_PX = 16
"""Height and width of the crops; smaller than those of a run, to be quick."""


@dataclass(frozen=True)
class Image:
    """A frame in memory: spectra (band, y, x) as stored, and which pixels are valid (y, x)."""

    spectra: NDArray[Any]
    valid: NDArray[np.bool_]

    @property
    def pixels(self) -> NDArray[Any]:
        """Spectra of the valid pixels, (band, pixel)."""
        return self.spectra[:, self.valid]


def fields(
    shape: tuple[int, int] = (40, 40),
    *,
    seed: int = 0,
    bands: int = BANDS,
    gain: float = 1.0,
    dtype: str = "uint16",
) -> Image:
    """Make a frame of three materials in fields, with noise, and a corner without data."""
    rng = np.random.default_rng((seed, 7))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    material = (rows // 7 + 2 * (columns // 9) + seed) % 3
    spectra = np.random.default_rng(1).uniform(500, 2000, (3, bands))[material].transpose(2, 0, 1)
    light = 1 + 0.05 * rng.standard_normal(shape)
    values = gain * spectra * light + 60 * rng.standard_normal((bands, *shape))
    return Image(values.clip(1, 60_000).astype(dtype), rows + columns >= 5)


def standard_of(
    images: Sequence[Image], illumination: str = "none", groups: Sequence[int] | None = None
) -> Standard:
    """Measure how networks see spectra, one statistics group for all frames or as given."""
    group_of_frame = np.asarray(groups if groups is not None else [0] * len(images))
    wavelengths = np.linspace(400, 900, len(images[0].spectra))
    found = [
        np.concatenate(
            [
                illuminated(illumination, image.pixels, wavelengths).astype(np.float64)
                for image, own in zip(images, group_of_frame, strict=True)
                if own == group
            ],
            axis=1,
        )
        for group in range(group_of_frame.max() + 1)
    ]
    moments = Moments(
        np.asarray([part.shape[1] for part in found]),
        np.stack([part.mean(axis=1) for part in found]),
        np.stack([np.atleast_2d(np.cov(part, bias=True)) for part in found]),
        np.stack([part.std(axis=1) > 1e-5 for part in found]),
    )
    scale = moments.scale()
    variance, directions = leading(moments.pooled(scale), 128)
    good = np.ones(len(images[0].spectra), np.bool_)
    return Standard(
        good=good,
        illumination=illumination,
        wavelengths_nm=tuple(wavelengths.tolist()),
        group_of_frame=group_of_frame,
        mean=moments.mean,
        scale=scale,
        low=np.stack([part.min(axis=1) for part in found]),
        high=np.stack([np.where(part.std(axis=1) > 1e-5, *ends(part)) for part in found]),
        directions=directions,
        variance=variance,
    )


def ends(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Greatest and least values of features (feature, pixel)."""
    return features.max(axis=1), features.min(axis=1)


def patches_of(images: Sequence[Image], numbers: NDArray[np.int64], reach: int) -> NDArray[Any]:
    """Cut the squares around valid pixels, which are numbered frame by frame, row by row."""
    found = []
    for image in images:
        values = image.spectra.copy()
        fill_gaps(values, image.valid, reach)
        wide = np.pad(values, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
        side = 2 * reach + 1
        squares = np.lib.stride_tricks.sliding_window_view(wide, (side, side), (1, 2))
        found.append(squares[:, image.valid].swapaxes(0, 1))
    return np.concatenate(found)[numbers]


def crop_of(image: Image, origin: tuple[int, int], side_px: int = SIDE_PX) -> Crop:
    """Cut a crop."""
    window = tuple(slice(start, start + side_px) for start in origin)
    return Crop(image.spectra[:, *window], image.valid[window], origin)


def pair_of(
    images: Sequence[Image],
    frame: int,
    first: tuple[int, int],
    second: tuple[int, int],
    side_px: int = SIDE_PX,
) -> CropPair:
    """Cut two crops of a frame."""
    return CropPair(0, frame, *(crop_of(images[frame], at, side_px) for at in (first, second)))


def pairs_of(
    images: Sequence[Image], first_step: int, *, pairs: int = 2, seed: int = 0
) -> Iterator[list[CropPair]]:
    """Yield the crop pairs of every step; those of a step do not depend on the first one."""
    step = first_step
    while True:
        rng = np.random.default_rng((seed, step))
        batch = []
        for _ in range(pairs):
            frame = int(rng.integers(len(images)))
            room = np.subtract(images[frame].valid.shape, SIDE_PX)
            first = rng.integers(0, room, endpoint=True)
            second = np.clip(first + rng.integers(-9, 10, 2), 0, room)
            batch.append(pair_of(images, frame, tuple(first.tolist()), tuple(second.tolist())))
        yield batch
        step += 1


def material_of(
    images: Sequence[Image],
    illumination: str = "none",
    groups: Sequence[int] | None = None,
    *,
    pairs: int = 2,
) -> Material:
    """Put together what a network learns from: all pixels are in the reservoir."""
    spectra = np.concatenate([image.pixels.T for image in images])
    frame = np.concatenate(
        [np.full(int(image.valid.sum()), n, np.int64) for n, image in enumerate(images)]
    )
    numbers = [n for n in range(len(images)) for _ in range(4)]
    places = [(0, 0), (0, 20), (20, 0), (20, 20)] * len(images)
    probe = Probe([crop_of(images[n], at) for n, at in zip(numbers, places, strict=True)], numbers)
    return Material(
        standard_of(images, illumination, groups),
        Reservoir(spectra, frame),
        probe,
        lambda first_step: pairs_of(images, first_step, pairs=pairs),
        partial(patches_of, images),
    )


def work_in(
    folder: Path, *, threads: int = 1, notify: Notify = ignore, device: str = "cpu"
) -> Work:
    """Say where a network is trained."""
    return Work(folder, "mark", threads, device, notify)
