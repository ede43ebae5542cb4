"""How long a run will take: its own stages on small cuts of its own scene.

The runs are done in folders that are removed, with the settings, threads and device
of the run that is asked for, on squares that double their side while there is time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hsistream.config import RunConfig
from hsistream.events import Event, Notify, Progress
from hsistream.execution import Execution
from hsistream.growth import (
    FEWEST_MOMENTS,
    TRAIN,
    Load,
    Measured,
    Pace,
    estimated,
    longest_s,
    pace_of,
)
from hsistream.network_sections import TrainingSection
from hsistream.pipeline import run
from hsistream.planning import Plan, plan
from hsistream.scene.cuts import Cut, densest_cuts
from hsistream.scene.ingest import IngestOptions, ingest
from hsistream.scene.scene import Scene
from hsistream.tiles import area

SIDES_PX = (16, 32, 64, 128, 256)
"""Sides of the squares: there is a run for the first two, and for more while there is time."""

BUDGET_S = 20.0
"""Work of each worker for all runs but the first; none is begun that might need more.

Work, not time: where others use the machine, larger runs are needed, not smaller ones.
"""

PIXELS_PER_CLUSTER = 20
"""Pixels that a run needs for each cluster."""

SAMPLED = 4
"""Of so many pixels one is in the reservoir, as in a large scene, where there are enough."""

SAMPLED_PX = 10_000
"""Below, all pixels are in the reservoir, as in a small scene."""

TRAINING_S = 1.0
"""Time for the steps of a training, in each run."""

STEPS = (FEWEST_MOMENTS, 24)
"""Fewest and most steps of a training, in each run."""


def estimate_times(
    scene: Scene, config: RunConfig, execution: Execution = Execution()
) -> dict[str, float]:
    """Estimate how long the stages of a run will take, from runs on small cuts of its scene.

    Parameters
    ----------
    scene : Scene
        What to cluster; some of its pixels are read.
    config : RunConfig
        What is asked.
    execution : Execution
        How to run it; worker processes are taken for as many threads.

    Returns
    -------
    dict of str to float
        Seconds of every stage, in order. A training may stop before its last
        step, and then takes less.

    Raises
    ------
    ConfigError, MemoryBudgetError, ResourceError
        As :func:`hsistream.pipeline.run`.
    SceneError
        If there are no data where they are looked for, or none that differ.

    Notes
    -----
    Takes some ten seconds, and minutes only for a network of which a step takes seconds.
    The folder of the runs is removed, whatever happens.
    """
    needed = plan(scene, config, execution)
    measured = _measurements(scene, config, execution, needed)
    return estimated(measured, Load.of(scene, config, needed), config.training)


def _measurements(
    scene: Scene, config: RunConfig, execution: Execution, needed: Plan
) -> list[Measured]:
    """Do runs on larger and larger cuts, as many side by side as there will be tiles in work."""
    together = min(needed.workers, max(1, *(each.tiles for each in needed.stages)))
    alike = Execution(needed.tile_px, threads=needed.workers, device=execution.device)
    found: list[Measured] = []
    for side_px in SIDES_PX:
        cuts = densest_cuts(scene, side_px, together * side_px**2)
        last = side_px == SIDES_PX[-1] or _pixels(cuts) == scene.pixels
        if not last and _pixels(cuts) < PIXELS_PER_CLUSTER * config.cluster.largest:
            continue
        if len(found) > 1:
            spent_s = sum(each.work_s for each in found[1:])
            if spent_s + longest_s(found, _pixels(cuts)) > BUDGET_S:
                break
        pace = found[-1].pace if found else Pace()
        lessened = _lessened(config, cuts, _less_training(config.training, pace, needed.workers))
        found.append(_measure(cuts, lessened, alike))
        if last:
            break
    return found


def _pixels(cuts: Sequence[Cut]) -> int:
    """Count the pixels of cuts."""
    return sum(area(cut.window) for cut in cuts)


def _lessened(config: RunConfig, cuts: Sequence[Cut], training: dict[str, Any]) -> RunConfig:
    """Ask the same of cuts as of their scene, but less where that has an amount of its own."""
    scene, pixels = cuts[0].scene, _pixels(cuts)
    groups, superpixels = config.statistics.groups, config.segment.superpixels
    grouped = {cut.header.name: groups[scene.frames[cut.frame].name] for cut in cuts if groups}
    sampled = config.reservoir.pixels
    if SAMPLED_PX < pixels < scene.pixels:
        sampled = min(sampled, pixels // SAMPLED)
    changes: dict[str, dict[str, Any]] = {
        "statistics": {"groups": grouped},
        "reservoir": {"pixels": sampled},
        "segment": {"superpixels": superpixels and -(-superpixels * pixels // scene.pixels)},
        "training": training,
    }
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=of) for name, of in changes.items()}
    )


def _less_training(training: TrainingSection, pace: Pace, workers: int) -> dict[str, Any]:
    """Change a training to one of few steps; the last has a check, of a crop for each worker."""
    fewest, most = STEPS
    steps = min(most, max(fewest, int(TRAINING_S / pace.step_s))) if pace.step_s else fewest
    steps, probe = min(training.steps, steps), min(training.probe, workers)
    every = max(1, steps)
    return {"steps": steps, "check_every": every, "probe": probe, "warm_up": 0, "minutes": None}


def _measure(cuts: Sequence[Cut], config: RunConfig, execution: Execution) -> Measured:
    """Do a run on cuts, in a folder that is removed."""
    moments: list[float] = []
    begun = time.process_time()
    with TemporaryDirectory(prefix="hsistream-") as folder:
        scene = ingest(cuts, Path(folder) / "cuts.zarr", IngestOptions(keep_zeros=True))
        needed = plan(scene, config, execution, folder)
        done = run(
            scene, config, Path(folder) / "run", execution=execution, notify=_noting(moments)
        )
        records = done.manifest().stages
    seconds = {name: record.elapsed_s for name, record in records.items()}
    pace = pace_of(moments, config.training.probe)
    if pace.step_s:
        seconds[TRAIN] -= moments[-1] - moments[0] + pace.step_s
    work_s = (time.process_time() - begun) / min(execution.workers, len(cuts))
    return Measured(Load.of(scene, config, needed), seconds, pace, work_s)


def _noting(moments: list[float]) -> Notify:
    """Note the moments at which steps of a training end."""

    def tell(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == TRAIN:
            moments.append(time.monotonic())

    return tell
