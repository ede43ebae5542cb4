"""What a run will need, said before a pixel is read, and refused if it is too much."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any

from hsistream.classifiers import NETWORKS, load_classifier
from hsistream.config import RunConfig
from hsistream.errors import ConfigError, MemoryBudgetError, ResourceError, SceneError
from hsistream.execution import Execution
from hsistream.files import local_path
from hsistream.machine import GIB, usable_bytes
from hsistream.methods import choose_device, load_method
from hsistream.runtime.memory import own_bytes
from hsistream.scene.scene import Scene
from hsistream.stages import statistics
from hsistream.stages.codebooks import landmark_sizes
from hsistream.stages.table import stream

TILES_PX = (1024, 512, 256, 128)
"""Tile sizes that are tried, largest first, where the user names none."""

TABLE_BYTES = 256 * 2**20
"""A larger table of pairs of landmarks is what its stage needs most for."""

LATE_BYTES = 248 * 2**20
"""Memory that libraries take after the plan: late imports, compiled kernels, codecs, plots."""

FRESH_BYTES = 208 * 2**20
"""Memory of a process that has only begun, at most; what else a notebook holds, no worker holds."""

NETWORK_BYTES = 192 * 2**20
"""Memory that the network library takes on top once it has worked."""

GPU_BYTES = 3 * GIB
"""Memory of the machine that the libraries of a GPU take in every process, generously.

Unlike the others it is no measurement. The memory of the GPU itself is no part of it.
"""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage will need, in bytes; ``peak_bytes`` is of all processes together."""

    stage: str
    tiles: int
    task_bytes: int
    peak_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Tiles and workers with which a run needs so much, the stage that needs most, and its setting.

    The stage needs less where the setting is smaller, whatever the tiles are.
    """

    tile_px: int
    workers: int
    peak_bytes: int
    stage: str
    setting: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will need, and what it may use.

    Where it may not use as much, ``instead`` has the largest tile with which it
    would fit, or what needs least if there is none.
    """

    scene_uri: str
    frames: int
    pixels: int
    valid_pixels: int
    tile_px: int
    workers: int
    reserved_bytes: int
    limit_bytes: int
    free_disk_bytes: int
    stages: tuple[StagePlan, ...]
    instead: Fit | None = None

    @property
    def worst(self) -> StagePlan:
        """The stage that needs most memory."""
        return max(self.stages, key=lambda stage: stage.peak_bytes)

    @property
    def peak_bytes(self) -> int:
        """Promised peak of the resident memory of all processes."""
        return self.worst.peak_bytes

    @property
    def disk_bytes(self) -> int:
        """Disk that the run directory takes, at most."""
        return sum(stage.disk_bytes for stage in self.stages)

    @property
    def fits(self) -> bool:
        """Whether memory and disk suffice."""
        return self.peak_bytes <= self.limit_bytes and self.disk_bytes <= self.free_disk_bytes

    def to_json(self) -> dict[str, Any]:
        """Write the plan as plain values."""
        return {**asdict(self), "peak_bytes": self.peak_bytes, "disk_bytes": self.disk_bytes}


def plan(
    scene: Scene,
    config: RunConfig,
    execution: Execution = Execution(),
    directory: str | PathLike[str] | None = None,
) -> Plan:
    """Say what a run will need, without reading a pixel.

    Parameters
    ----------
    scene : Scene
        What to cluster.
    config : RunConfig
        What is asked.
    execution : Execution
        How to run it; a tile size that is not given is chosen to fit.
    directory : str or path-like, optional
        Where the results go, for the free disk; beside the scene by default.

    Returns
    -------
    Plan
        Tiles, memory and disk of every stage. It may exceed its limits:
        :func:`run` refuses then.

    Raises
    ------
    ConfigError
        If the scene cannot be clustered as asked.
    """
    _check_request(scene, config)
    _check_device(config, execution)
    tiles_px = (execution.tile_px,) if execution.tile_px else TILES_PX
    for workers, tile_px in product(_workers(execution), tiles_px):
        found = _plan(scene, config, execution, tile_px, workers, directory)
        if found.peak_bytes <= found.limit_bytes:
            return found
    others = [
        _plan(scene, config, execution, tile_px, workers, directory)
        for workers, tile_px in product(_workers(execution), {*TILES_PX, *tiles_px})
    ]
    return replace(found, instead=_nearest(others, config))


def _workers(execution: Execution) -> list[int]:
    """List how many workers there may be; those of a cluster are given."""
    workers = execution.workers
    if execution.scheduler != "none":
        return [workers]
    return [max(1, workers >> halvings) for halvings in range(workers.bit_length())]


def _nearest(plans: Sequence[Plan], config: RunConfig) -> Fit:
    """Choose the plan that fits with the largest tile, or else the one that needs least."""
    fitting = [each for each in plans if each.peak_bytes <= each.limit_bytes]
    if fitting:
        best = max(fitting, key=lambda each: (each.tile_px, each.workers))
    else:
        best = min(plans, key=lambda each: (each.peak_bytes, each.workers, -each.tile_px))
    stage = best.worst.stage
    return Fit(best.tile_px, best.workers, best.peak_bytes, stage, _lowered_by(stage, config))


def _lowered_by(stage: str, config: RunConfig) -> str:
    """Name the setting by which a stage needs less memory."""
    if stage in ("gather", "learn"):
        return "classify.most"
    if stage in ("cut", "segment", "describe"):
        return "segment.tile_px"
    if stage == "walks" or (stage == "cluster" and config.cluster.head == "diffusion"):
        return "segment.superpixels"
    if stage == "train" and config.encoder is not None:
        from_crops = load_method(config.encoder.name).LEARNS_FROM == "crops"
        return "training.pairs" if from_crops else "encoder.batch"
    if stage in ("count", "cluster") and 8 * sum(landmark_sizes(config)) ** 2 > TABLE_BYTES:
        return "codebooks.draws"
    return "reservoir.pixels"


def refuse(needed: Plan, execution: Execution) -> None:
    """Refuse a plan that exceeds the memory or the disk.

    Raises
    ------
    MemoryBudgetError
        Naming the stage that needs most, and what would help.
    ResourceError
        If the disk is too small.
    """
    worst = needed.worst
    if worst.peak_bytes > needed.limit_bytes:
        raise MemoryBudgetError(
            f"Stage {worst.stage} needs {worst.peak_bytes / GIB:.2f} GiB with "
            f"{_workers_named(needed.workers)} and tiles of {needed.tile_px} px, but may use "
            f"{needed.limit_bytes / GIB:.2f} GiB ({needed.reserved_bytes / GIB:.2f} GiB of it for "
            f"the libraries and what this process holds). {_memory_advice(needed)}"
        )
    if needed.disk_bytes > needed.free_disk_bytes:
        raise ResourceError(
            f"The run needs up to {needed.disk_bytes / GIB:.2f} GiB of disk, but only "
            f"{needed.free_disk_bytes / GIB:.2f} GiB are free. Free some space or choose another "
            f"disk with --run."
        )


def _workers_named(count: int) -> str:
    """Name a number of workers."""
    return f"{count} worker{'s' if count > 1 else ''}"


def _memory_advice(needed: Plan) -> str:
    """Say what would make a run fit its memory."""
    best = needed.instead
    assert best is not None, "a plan over its limit says what needs less"
    how = f"--tile {best.tile_px} and {_workers_named(best.workers)}"
    if best.peak_bytes <= needed.limit_bytes:
        return f"The largest tile that fits is that of {how}."
    least = f"No tile fits; least is needed with {how}: a --memory of at least "
    least += f"{best.peak_bytes / GIB + 0.01:.2f} GiB."
    if needed.limit_bytes <= needed.reserved_bytes:
        return least
    return f"{least} A smaller {best.setting} (--set) lowers what stage {best.stage} needs then."


def _check_request(scene: Scene, config: RunConfig) -> None:
    """Refuse what the scene cannot give, before a pixel is read."""
    statistics.statistics_groups(scene, config.statistics)
    if config.classify is not None and not config.classify.fingerprint:
        raise ConfigError(
            "Labels must be read before a map of classes is planned. Use hsistream classify "
            "SCENE --labels FILE, or hsistream.classify."
        )
    if not scene.valid_pixels:
        raise SceneError(f"Pixels with data are needed, but {scene.uri} has none.")
    wanted = config.cluster.clusters
    if config.learnt is None and wanted is not None and wanted > scene.valid_pixels:
        raise ConfigError(
            f"At most one cluster per pixel can be found, but --clusters is {wanted} and "
            f"{scene.uri} has {scene.valid_pixels} valid pixels."
        )


def _check_device(config: RunConfig, execution: Execution) -> None:
    """Refuse a device that is not there, or that nothing would use; load the network library.

    It is loaded here so that its memory is seen before any is promised.
    """
    if config.encoder is not None:
        choose_device(execution.device)
        load_method(config.encoder.name)
    if config.classify is not None:
        load_classifier(config.classify.classifier)
    if config.encoder is None and execution.device == "cuda":
        raise ConfigError(
            f"--device cuda is for methods with a network, but {config.method} has none. Leave "
            f"--device out."
        )


def _network_bytes(config: RunConfig, execution: Execution) -> int:
    """Memory of what makes latents, or classes, by a network; only latents are made on a GPU."""
    if config.encoder is not None:
        gpu = choose_device(execution.device) == "cuda"
        return NETWORK_BYTES + (GPU_BYTES if gpu else 0)
    classifier = config.classify and config.classify.classifier
    return NETWORK_BYTES if classifier in NETWORKS else 0


def _plan(
    scene: Scene,
    config: RunConfig,
    execution: Execution,
    tile_px: int,
    workers: int,
    directory: str | PathLike[str] | None,
) -> Plan:
    """Plan with one tile size and number of workers."""
    tile_px = _fitting(tile_px, scene)
    others = workers if execution.scheduler != "none" else 0
    late = LATE_BYTES + _network_bytes(config, execution)
    own = own_bytes()
    reserved = own + late + (min(own, FRESH_BYTES) + late) * others
    stages = []
    for stage in stream(config):
        needs = stage.estimate(scene, config, tile_px)
        task, driver = sum(needs.task.values()), sum(needs.driver.values())
        peak = reserved + driver + task * min(workers, max(1, needs.tiles))
        stages.append(StagePlan(stage.name, needs.tiles, task, peak, needs.disk_bytes))
    return Plan(
        scene_uri=scene.uri,
        frames=len(scene.frames),
        pixels=scene.pixels,
        valid_pixels=scene.valid_pixels,
        tile_px=tile_px,
        workers=workers,
        reserved_bytes=reserved,
        limit_bytes=execution.memory_bytes or usable_bytes() // 2,
        free_disk_bytes=_free_disk(local_path(directory or scene.uri, ConfigError)),
        stages=tuple(stages),
    )


def _fitting(tile_px: int, scene: Scene) -> int:
    """Cut a tile that is larger than every frame, so that storage is not padded to it."""
    return min(tile_px, -(-scene.longest_side // 16) * 16)


def _free_disk(path: Path) -> int:
    """Free bytes on the disk that holds, or will hold, ``path``."""
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), Path())
    return shutil.disk_usage(existing).free
