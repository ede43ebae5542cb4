"""Cross-time-step spatial-spectral fusion: what a denoiser knows of a pixel, learnt to be classes.

Features are the latents of ``diffcrn`` by stages: what each of four stages of its network
makes of a pixel at each of some time steps. The same stage at all time steps is added up
by learnt weights; then the pixel, by its spectral stages, looks at the spatial stages of
the window around it. The variant ``steps`` compares the stages at all time steps of the
pixel alone.

The paper [1]_ names these parts, and gives no formula within our reach: layers, sizes and
the training are ours. So is the rule that chooses time steps where latents have more than
``ctssfm.keep``: a network of all, with one weight for each time step, learns for some
epochs; the time steps of the largest weights are kept, and the classifier is trained anew
with these. A term for how far each time step turns the spectrum of a pixel is left out:
latents do not tell.

References
----------
.. [1] Y. Zhu and L. Xu, "Spatial-spectral diffusion contrastive representation network
   for hyperspectral image classification", arXiv:2502.19699, 2025.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hsistream.classifiers.base import Lesson
from hsistream.classifiers.ctssfm_network import (
    CHANNELS,
    PIXELS_AT_ONCE,
    RIM,
    VALUES,
    StepFusion,
    Weighing,
    WindowFusion,
)
from hsistream.classifiers.windows import (
    FLOAT32,
    WINDOWS_AT_ONCE,
    Arrays,
    Learnt,
    load_weights,
    of_known,
    train,
)
from hsistream.nn.exact import drawing, one_thread
from hsistream.sections import ClassifySection, CtssfmSection

HELD_OUT_FITS = 1
"""Fits to a part of the labels by which probabilities are calibrated on the others."""

CHOOSING_EPOCHS = 30
"""How often a network sees every label before it says which time steps are the best."""

CHOSEN = "weights.time_steps.chosen"
"""Array of what was learnt that holds the places of the time steps that are used."""


def reach(settings: ClassifySection) -> int:
    """Pixels around a pixel that are looked at: the window, and what its tokens see, or none."""
    return _window_px(settings.ctssfm) // 2 + (RIM if _looks_around(settings.ctssfm) else 0)


@one_thread()
def fit(settings: ClassifySection, lesson: Lesson, seed: int) -> Learnt:
    """Learn from the latents of a lesson.

    Raises
    ------
    ValueError
        If features are not those of a denoiser.
    """
    of, given = settings.ctssfm, time_steps(lesson.squares.shape[1])
    labelled, known = of_known(lesson)
    chosen = np.arange(given)
    if of.keep != "all" and given > of.keep:
        chosen = _best(labelled, of, seed)
    network = _network(of, chosen, len(known), seed)
    losses = train(network, _optimiser(network, of), labelled, of, seed)
    return Learnt(network, _window_px(of), known, lesson.classes, losses)


def restore(settings: ClassifySection, arrays: Arrays) -> Learnt:
    """Make a network of its weights."""
    of, known = settings.ctssfm, arrays["known"]
    network = _network(of, arrays[CHOSEN], len(known), 0)
    load_weights(network, arrays)
    return Learnt(network, _window_px(of), known, int(arrays["classes"][0]), arrays["losses"])


def training_bytes(settings: ClassifySection, features: int, _classes: int) -> int:
    """Memory of a step, and of the network.

    Raises
    ------
    ValueError
        If features are not those of a denoiser.
    """
    of, given = settings.ctssfm, time_steps(features)
    fused = 60 * CHANNELS if _looks_around(of) else 16 * given * VALUES
    pixels = of.batch * (2 * reach(settings) + 1) ** 2
    return FLOAT32 * pixels * (4 * given * VALUES + fused) + 2**26


def judging_bytes(settings: ClassifySection, features: int, classes: int, pixels: int) -> int:
    """Memory of the tokens of a strip, of what is fused and judged at once, and of logits."""
    of, logits = settings.ctssfm, 3 * classes * pixels
    if not _looks_around(of):
        return FLOAT32 * (24 * WINDOWS_AT_ONCE * features + logits) + 2**26
    around = (2 * reach(settings) + 1) / 128 + 1
    tokens = int(around**2 * pixels) * 12 * CHANNELS
    windows = WINDOWS_AT_ONCE * of.window_px**2 * 10 * CHANNELS
    return FLOAT32 * (tokens + windows + 5 * PIXELS_AT_ONCE * features + logits) + 2**26


def time_steps(features: int) -> int:
    """Count the time steps of features.

    Raises
    ------
    ValueError
        If features are not those of a denoiser.
    """
    if features < VALUES or features % VALUES:
        raise ValueError(
            f"ctssfm needs the stages of diffcrn, {VALUES} values for each time step, but pixels "
            f"have {features} values. Use --method diffcrn --set encoder.latents=stages, or "
            f"another classifier"
        )
    return features // VALUES


def _best(lesson: Lesson, of: CtssfmSection, seed: int) -> NDArray[np.int64]:
    """Choose the time steps that a network of all weighs most; their places, rising."""
    assert of.keep != "all", "asked only where some are left out"
    given = time_steps(lesson.squares.shape[1])
    steps = max(1, CHOOSING_EPOCHS * len(lesson.number) // of.batch)
    network = _network(of, np.arange(given), lesson.classes, seed, weighing="scene")
    train(network, _optimiser(network, of), lesson, of.model_copy(update={"steps": steps}), seed)
    weights = network.of_time_steps().detach().numpy()
    return np.sort(np.argsort(-weights, kind="stable")[: of.keep])


def _network(
    of: CtssfmSection,
    chosen: NDArray[np.int64],
    classes: int,
    seed: int,
    *,
    weighing: Weighing | None = None,
) -> WindowFusion | StepFusion:
    """Make a network of random weights."""
    places = torch.from_numpy(np.array(chosen))
    with drawing(seed):
        if not _looks_around(of):
            return StepFusion(places, classes, of)
        return WindowFusion(places, classes, of, weighing or of.weights)


def _optimiser(network: WindowFusion | StepFusion, of: CtssfmSection) -> torch.optim.Optimizer:
    """Give what changes the weights of a network."""
    return torch.optim.AdamW(
        network.parameters(), lr=of.learning_rate, weight_decay=of.weight_decay
    )


def _looks_around(of: CtssfmSection) -> bool:
    """Tell whether a pixel is compared with others."""
    return of.variant == "window"


def _window_px(of: CtssfmSection) -> int:
    """Side of what is looked at."""
    return of.window_px if _looks_around(of) else 1
