"""What a method is given and what it owes; no torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsistream.events import Notify
from hsistream.illumination import features
from hsistream.tiles import Window

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Standard:
    """How spectra as stored become what networks see, by constants of the whole scene.

    Parameters
    ----------
    good : (band,) bool
        Bands that are used.
    illumination : str
        What is done to each spectrum first; see :mod:`hsistream.illumination`.
    wavelengths_nm : tuple of float
        Of the good bands; may be empty.
    group_of_frame : (frame,) int64
        Statistics group of every frame.
    mean, scale : (group, feature) float64
        A feature x of group g is standardised to ``(x - mean[g]) * scale[g]``.
    directions : (feature, component) float64
        Leading principal directions of the standardised features.
    variance : (component,) float64
        Variances along them.
    """

    good: NDArray[np.bool_]
    illumination: str
    wavelengths_nm: tuple[float, ...]
    group_of_frame: NDArray[np.int64]
    mean: Floats
    scale: Floats
    directions: Floats
    variance: Floats

    @property
    def feature_count(self) -> int:
        """Number of features of a spectrum."""
        return int(self.mean.shape[1])

    def centred(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Turn spectra (band, ...) into features less their mean, (feature, ...) float32."""
        with np.errstate(invalid="ignore", over="ignore"):  # pixels without data hold anything
            if self.illumination == "none":
                found = self._widened(raw)
            else:
                found = features(self.illumination, raw[self.good], self.wavelengths_nm)
            found -= self._of_frame(self.mean, frame, raw.ndim)
        return found

    def standardise(
        self, raw: NDArray[Any], valid: NDArray[np.bool_], frame: int
    ) -> NDArray[np.float32]:
        """Standardise spectra (band, ...), (feature, ...) float32; 0 where ``valid`` is False."""
        found = self.centred(raw, frame)
        with np.errstate(invalid="ignore", over="ignore"):
            found *= self._of_frame(self.scale, frame, raw.ndim)
        if not valid.all():
            found[:, ~valid] = 0
        return found

    def _widened(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Copy the good bands of spectra (band, ...), (good band, ...) float32."""
        found = np.empty((int(self.good.sum()), *raw.shape[1:]), np.float32)
        done = 0
        for run in self._runs:
            found[done : done + run.stop - run.start] = raw[run]
            done += run.stop - run.start
        return found

    @cached_property
    def _runs(self) -> list[slice]:
        """Runs of good bands side by side, which are copied at once."""
        steps = np.diff(self.good.astype(np.int8), prepend=0, append=0)
        edges = zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0), strict=True)
        return [slice(int(first), int(stop)) for first, stop in edges]

    def _of_frame(self, values: Floats, frame: int, axes: int) -> NDArray[np.float32]:
        """Take the values (group, feature) of a frame's group, for arrays of so many axes."""
        own = values[self.group_of_frame[frame]].astype(np.float32)
        return np.asarray(own.reshape(-1, *(1,) * (axes - 1)))


class Crop(Protocol):
    """A square of a scene: spectra (band, y, x) as stored, and which pixels have data."""

    @property
    def spectra(self) -> NDArray[Any]:
        """Spectra, (band, y, x)."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Pixels with data, (y, x)."""


class CropPair(Protocol):
    """Two overlapping crops of one frame."""

    @property
    def frame(self) -> int:
        """Number of the frame."""

    @property
    def first(self) -> Crop:
        """One crop."""

    @property
    def second(self) -> Crop:
        """The other crop."""

    def overlap(self) -> tuple[Window, Window]:
        """Windows of the shared pixels in the two crops."""


@dataclass(frozen=True)
class Reservoir:
    """Spectra (pixel, band) as stored, and the frame (pixel,) of each."""

    spectra: NDArray[Any]
    frame: NDArray[np.int64]

    def standardised(self, standard: Standard) -> NDArray[np.float32]:
        """Standardise all spectra, (feature, pixel) float32."""
        found = np.empty((standard.feature_count, len(self.frame)), np.float32)
        for frame in np.unique(self.frame):
            own = self.frame == frame
            raw = self.spectra[own].T
            found[:, own] = standard.standardise(raw, np.ones(raw.shape[1], np.bool_), int(frame))
        return found


@dataclass(frozen=True)
class Probe:
    """Crops on which a training is watched, and the frame of each."""

    crops: Sequence[Crop]
    frames: Sequence[int]


@dataclass(frozen=True)
class Material:
    """What a network learns from.

    ``batches`` gives the crop pairs of every step from a first step on, the
    same ones whenever it is asked.
    """

    standard: Standard
    reservoir: Reservoir
    probe: Probe
    batches: Callable[[int], Iterator[Sequence[CropPair]]]


@dataclass(frozen=True)
class Work:
    """Where and how a network is trained."""

    folder: Path
    fingerprint: str
    threads: int
    device: str
    notify: Notify


@dataclass(frozen=True)
class Trained:
    """What training leaves for the report and the stages after it.

    ``losses`` (step,) are those of every step; ``checks`` maps the name of a
    measured quantity to its values, one per check, ``check_steps`` (check,);
    ``prototypes`` (check, prototype, latent) and ``masses`` (check, prototype)
    are those of every check, the last ones those to use.
    """

    ending: str
    losses: Floats
    check_steps: NDArray[np.int64]
    checks: Mapping[str, Floats]
    prototypes: Floats
    masses: Floats


class Encoder(Protocol):
    """A trained network: spectra in, latents out, in two parts.

    The first part looks at single pixels, so that it can follow the stored
    chunks; the second needs a halo, and sees only what the first one left.
    """

    @property
    def embedding_size(self) -> int:
        """Values per pixel between the parts."""

    @property
    def latent_size(self) -> int:
        """Values per pixel of the result."""

    @property
    def halo(self) -> int:
        """Pixels around a window on which its latents depend."""

    def embed(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Embed spectra (band, ...) as stored, (embedding, pixel); a pixel at a time."""

    def refine(
        self, embedded: NDArray[np.float32], dtype: type[np.floating[Any]] = np.float32
    ) -> NDArray[Any]:
        """Turn (embedding, y + 2 halo, x + 2 halo) into latents (latent, y, x)."""


class Method(Protocol):
    """A module with a network that can be trained and used."""

    def latent_size(self, settings: Any, features: int) -> int:
        """Tell the size of the latents before anything is trained."""

    def halo(self, settings: Any) -> int:
        """Tell the halo of the encoder."""

    def training_bytes(self, settings: Any, features: int) -> int:
        """Tell the memory that one pair of crops needs in a step, beside the stored crops."""

    def square_bytes(self, settings: Any, features: int, pixels: int) -> int:
        """Tell the memory of the second part of the encoder for so many pixels at once."""

    def train(
        self, settings: Any, training: Any, seed: int, material: Material, work: Work
    ) -> Trained:
        """Train, or finish a training that was interrupted."""

    def load(self, settings: Any, standard: Standard, folder: Path, device: str) -> Encoder:
        """Read a trained network."""
