"""How the time of stages grows with a scene: what there is to do, and laws from finished runs.

A stage takes some time on next to nothing, and more for every pixel, node or step.
What the first run of a process took longer than the others tell is its start:
libraries, compiled loops. It is counted once, and grows with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.optimize import nnls

from hsistream.config import RunConfig
from hsistream.graph.exemplars import ALONE
from hsistream.network_sections import TrainingSection
from hsistream.planning import Plan
from hsistream.scene.scene import Scene
from hsistream.stages import reservoir_pixels
from hsistream.stages.pictures import PICTURE_PIXELS

TRAIN = "train"

CONSTANT_S = 1.0
"""What a stage may take on next to nothing."""

FEWEST_MOMENTS = 3
"""Steps from which a pace can be told."""


@dataclass(frozen=True, slots=True)
class Load:
    """What there is to do: amounts with which the time of stages grows.

    Attributes
    ----------
    pixels, reservoir, reference, shown : int
        Pixels with data; those from which codebooks are learnt, against which
        densities are measured, and that pictures show.
    nodes : int
        Nodes of the graph of superpixels.
    at_once : mapping of str to float
        By stage, how many tiles are in work on average.
    """

    pixels: int
    reservoir: int
    reference: int
    shown: int
    nodes: int
    at_once: Mapping[str, float]

    @classmethod
    def of(cls, scene: Scene, config: RunConfig, needed: Plan) -> Load:
        """Count what a run on a scene has to do."""
        reservoir = reservoir_pixels(scene, config)
        superpixels = config.segment.count(scene.valid_pixels) if config.has_superpixels else 0
        return cls(
            pixels=scene.valid_pixels,
            reservoir=reservoir,
            reference=min(config.graph.reference_pixels, reservoir),
            shown=min(scene.pixels, PICTURE_PIXELS),
            nodes=superpixels * config.graph.representatives,
            at_once={each.stage: _at_once(each.tiles, needed.workers) for each in needed.stages},
        )

    def of_tiles(self, stage: str) -> float:
        """Pixels with data for each of the tiles that are in work at a time."""
        return self.pixels / self.at_once[stage]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a step of a training, and of a check that looks at so many crops at once."""

    step_s: float = 0.0
    check_s: float = 0.0
    crops: int = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """A run that was done.

    Its load, the seconds of its stages less the steps of a training, the pace of
    these, and the seconds of work that it was for each worker.
    """

    load: Load
    seconds: Mapping[str, float]
    pace: Pace
    work_s: float


Amounts = tuple[float, ...]


def _tiles(stage: str) -> Callable[[Load], Amounts]:
    """Grow with the pixels that one worker has."""
    return lambda load: (load.of_tiles(stage),)


def _reservoir(load: Load) -> Amounts:
    return (load.reservoir,)


def _nodes(load: Load) -> Amounts:
    """Nodes, and pairs of those that are joined one by one."""
    return load.nodes, min(load.nodes, ALONE) ** 2


def _describe(load: Load) -> Amounts:
    """Distances within the sample, of likely nodes from the sample, and the pixels."""
    likely = load.nodes / load.at_once["describe"]
    return load.reference**2, load.reference * likely, load.of_tiles("describe")


GROWTH: Mapping[str, Callable[[Load], Amounts]] = MappingProxyType(
    {
        "adopt": lambda _: (),
        "statistics": lambda load: (load.of_tiles("statistics"), load.reservoir),
        TRAIN: _reservoir,
        "encode": _tiles("encode"),
        "cut": _tiles("cut"),
        "segment": _tiles("segment"),
        "describe": _describe,
        "walks": _nodes,
        "views": _tiles("views"),
        "codebooks": _reservoir,
        "count": _tiles("count"),
        "assign": _tiles("assign"),
        "cluster": lambda load: (load.reservoir, *_nodes(load)),
        "label": _tiles("label"),
        "divide": lambda load: (load.pixels,),
        "gather": _tiles("gather"),
        "learn": lambda _: (),
        "examine": _tiles("examine"),
        "sample": lambda load: (load.pixels, load.reservoir),
        "report": lambda load: (load.shown, load.reservoir),
    }
)
"""Amounts with which the time of every stage grows, beside what is the same for all scenes.

A training grows with its steps, too.
"""


def estimated(
    measured: Sequence[Measured], wanted: Load, training: TrainingSection
) -> dict[str, float]:
    """Estimate the seconds of every stage from runs, of which the first started the process.

    Parameters
    ----------
    measured : sequence of Measured
        At least one, the largest last.
    wanted : Load
        What there is to do.
    training : TrainingSection
        How many steps.
    """
    first = measured[0]
    rest = measured[1:] if len(measured) > 2 else measured  # of two, the start is not told apart
    found = {}
    for stage, seconds in first.seconds.items():
        started_s = max(0.0, seconds - predicted(stage, rest, first.load))
        found[stage] = started_s + predicted(stage, rest, wanted)
    if TRAIN in found:
        found[TRAIN] += _steps_s(training, measured[-1].pace)
    return found


def predicted(stage: str, measured: Sequence[Measured], wanted: Load) -> float:
    """Predict the seconds of one stage from what others took, of which no part shrinks."""
    amounts = np.array([(1.0, *GROWTH[stage](each.load)) for each in measured])
    scale = np.maximum(amounts.max(axis=0), 1e-9)
    rates, _ = nnls(amounts / scale, np.array([each.seconds[stage] for each in measured]))
    return float((1.0, *GROWTH[stage](wanted)) @ (rates / scale))


def longest_s(measured: Sequence[Measured], pixels: int) -> float:
    """Say how long the next run may take, on so many pixels, after two or more.

    What grew between the last two grows on. The first of all started the process:
    then only stages count that took longer than in it, and than ``CONSTANT_S``.
    """
    *others, before, last = measured
    grown_s = max(0.0, last.work_s - before.work_s)
    if not others:
        grown_s = sum(
            max(0.0, seconds - max(CONSTANT_S, before.seconds[stage]))
            for stage, seconds in last.seconds.items()
        )
    grown_px = max(1, last.load.pixels - before.load.pixels)
    return last.work_s + grown_s * (pixels - last.load.pixels) / grown_px


def pace_of(moments: Sequence[float], crops: int) -> Pace:
    """Tell the pace from the moments at which steps ended; the last had a check of these crops."""
    if len(moments) < FEWEST_MOMENTS:
        return Pace()
    step_s = (moments[-2] - moments[0]) / (len(moments) - 2)
    return Pace(step_s, max(0.0, moments[-1] - moments[-2] - step_s), crops)


def _steps_s(training: TrainingSection, pace: Pace) -> float:
    """Seconds of all steps of a training, if nothing but the clock stops it."""
    checks = math.ceil(training.steps / training.check_every)
    check_s = math.ceil(training.probe / pace.crops) * pace.check_s
    limit_s = math.inf if training.minutes is None else 60 * training.minutes
    return min(limit_s, training.steps * pace.step_s + checks * check_s)


def _at_once(tiles: int, workers: int) -> float:
    """Tiles in work on average, where all take equally long; 1 where there are none."""
    return tiles / math.ceil(tiles / workers) if tiles else 1.0
