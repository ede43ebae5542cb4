"""What a method is given and what it owes; no torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hsistream.events import Notify
from hsistream.illumination import features
from hsistream.tiles import Window

Floats = NDArray[np.float64]

SQUARE_PX = 128
"""Side of the squares that the second part of a network sees, at most; they stay in the cache."""

Gaps = Literal["blank", "filled"]
"""What a network sees where a scene has no spectra.

``"blank"``: 0 at pixels without data; beyond the edges of a frame, its edge is
repeated. ``"filled"``: pixels without data are as the nearest with data, and beyond
its edges a frame is mirrored, the pixels at the edge included.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A pixel of a frame: the first one of the latents that are asked for."""

    row: int
    column: int


ORIGIN = Place(0, 0)
"""The first pixel of a frame, or of a crop that is looked at by itself."""

LearnsFrom = Literal["crops", "patches"]
"""What a network is trained on: pairs of crops, or the squares around pixels of the reservoir."""


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
    low, high : (group, feature) float64
        Least and greatest value of every feature among the valid pixels of a group, or
        percentiles of a sample of these.
    directions : (feature, component) float64
        Leading principal directions of the standardised features.
    variance : (component,) float64
        Variances along them.
    clipped : bool
        Whether values beyond ``low`` and ``high`` occur, and count as these.
    """

    good: NDArray[np.bool_]
    illumination: str
    wavelengths_nm: tuple[float, ...]
    group_of_frame: NDArray[np.int64]
    mean: Floats
    scale: Floats
    low: Floats
    high: Floats
    directions: Floats
    variance: Floats
    clipped: bool = False

    @property
    def feature_count(self) -> int:
        """Number of features of a spectrum."""
        return int(self.mean.shape[1])

    def centred(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Turn spectra (band, ...) into features less their mean, (feature, ...) float32."""
        found = self._features(raw)
        with np.errstate(invalid="ignore", over="ignore"):
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

    def in_range(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Turn spectra (band, ...) into features from 0, the least, to 1, (feature, ...) float32.

        A feature that is constant in a group is 0.
        """
        span = self.high - self.low
        stretch = np.where(span > 0, 1 / np.where(span > 0, span, 1), 0)
        found = self._features(raw)
        with np.errstate(invalid="ignore", over="ignore"):
            found -= self._of_frame(self.low, frame, raw.ndim)
            found *= self._of_frame(stretch, frame, raw.ndim)
        return np.clip(found, 0, 1, out=found) if self.clipped else found

    def _features(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Turn spectra (band, ...) into features, (feature, ...) float32, and leave them alone."""
        with np.errstate(invalid="ignore", over="ignore"):  # pixels without data hold anything
            if self.illumination == "none":
                return self._widened(raw)
            return features(self.illumination, raw[self.good], self.wavelengths_nm)

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

    @property
    def origin(self) -> tuple[int, int]:
        """First pixel (y, x) in its frame."""


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
        return self._by_frame(
            lambda raw, frame: standard.standardise(raw, np.ones(raw.shape[1], np.bool_), frame),
            standard.feature_count,
        )

    def in_range(self, standard: Standard) -> NDArray[np.float32]:
        """Bring all features to the range from 0 to 1, (feature, pixel) float32."""
        return self._by_frame(standard.in_range, standard.feature_count)

    def _by_frame(
        self, change: Callable[[NDArray[Any], int], NDArray[np.float32]], count: int
    ) -> NDArray[np.float32]:
        """Change the spectra (band, pixel) of each frame into so many features."""
        found = np.empty((count, len(self.frame)), np.float32)
        for frame in np.unique(self.frame):
            own = self.frame == frame
            found[:, own] = change(self.spectra[own].T, int(frame))
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
    same ones whenever it is asked. ``patches`` takes numbers (patch,) of pixels
    of the reservoir and a reach in px, and gives the squares of spectra around
    them as stored, (patch, band, y, x); beyond the edges of a frame they are
    mirrored, and pixels without data are those next to them.
    """

    standard: Standard
    reservoir: Reservoir
    probe: Probe
    batches: Callable[[int], Iterator[Sequence[CropPair]]]
    patches: Callable[[NDArray[np.int64], int], NDArray[Any]]


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

    @property
    def square_px(self) -> int:
        """Side of the squares that its second part is to see, at most; what is beyond is waste."""

    @property
    def gaps(self) -> Gaps:
        """What its second part is to see where there are no spectra."""

    def embed(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Embed spectra (band, ...) as stored, (embedding, pixel); a pixel at a time."""

    def refine(
        self,
        embedded: NDArray[np.float32],
        place: Place = ORIGIN,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Turn (embedding, y + 2 halo, x + 2 halo) into latents (latent, y, x).

        ``place`` is where the first of them lies: noise depends on it.
        """


class Method(Protocol):
    """A module with a network that can be trained and used."""

    LEARNS_FROM: LearnsFrom

    def latent_size(self, settings: Any, features: int) -> int:
        """Tell the size of the latents before anything is trained."""

    def halo(self, settings: Any) -> int:
        """Tell the halo of the encoder."""

    def embedding_size(self, settings: Any, features: int) -> int:
        """Tell the values per pixel between the two parts of the encoder, at most."""

    def training_bytes(self, settings: Any, features: int) -> int:
        """Tell the memory that one pair of crops needs in a step, beside the stored crops.

        A network that learns from patches tells what all of them need together.
        """

    def square_bytes(self, settings: Any, features: int, pixels: int) -> int:
        """Tell the memory of the second part of the encoder for so many pixels at once."""

    def train(
        self, settings: Any, training: Any, seed: int, material: Material, work: Work
    ) -> Trained:
        """Train, or finish a training that was interrupted."""

    def load(self, settings: Any, standard: Standard, folder: Path, device: str) -> Encoder:
        """Read a trained network."""
