"""The stream as a table of stages; what a run will need, and the run itself."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from threadpoolctl import threadpool_limits

from hsistream.config import GIB, Execution, RunConfig
from hsistream.errors import ConfigError, MemoryBudgetError, ResourceError, SceneError
from hsistream.events import Event, Notify, Progress, StageFinished, Warned, ignore
from hsistream.files import filing
from hsistream.runs import RunDirectory, StageRecord, fingerprint
from hsistream.runtime.ledger import Ledger
from hsistream.runtime.memory import PeakMemory, resident_bytes
from hsistream.scene.scene import Scene
from hsistream.stages import (
    Context,
    Stage,
    cluster,
    codebooks,
    count,
    label,
    report,
    statistics,
    views,
)
from hsistream.version import __version__

log = logging.getLogger(__name__)

STAGES = (
    Stage(
        name="statistics",
        version=1,
        needs=(),
        sections=("seed", "statistics", "reservoir", "views"),
        writes=("statistics.npz", "reservoir.npz", "pictures.npz"),
        run=statistics.run,
        estimate=statistics.estimate,
    ),
    Stage(
        name="views",
        version=1,
        needs=("statistics",),
        sections=(),
        writes=("views.npz",),
        run=views.run,
        estimate=views.estimate,
    ),
    Stage(
        name="codebooks",
        version=1,
        needs=("views",),
        sections=("codebooks", "cluster"),
        writes=("codebooks.npz",),
        run=codebooks.run,
        estimate=codebooks.estimate,
    ),
    Stage(
        name="count",
        version=1,
        needs=("codebooks",),
        sections=(),
        writes=("codes.zarr", "counts.npz"),
        run=count.run,
        estimate=count.estimate,
    ),
    Stage(
        name="cluster",
        version=1,
        needs=("count",),
        sections=(),
        writes=("clusters.npz",),
        run=cluster.run,
        estimate=cluster.estimate,
    ),
    Stage(
        name="label",
        version=1,
        needs=("cluster",),
        sections=(),
        writes=("labels.zarr", "labels.npz"),
        run=label.run,
        estimate=label.estimate,
    ),
    Stage(
        name="report",
        version=1,
        needs=("label",),
        sections=(),
        writes=("report/page.html", "report/map.png"),
        run=report.run,
        estimate=report.estimate,
    ),
)
"""The consensus head, in order."""

TILES_PX = (1024, 512, 256, 128)
"""Tile sizes that are tried, largest first, where the user names none."""

LATE_BYTES = 160 * 2**20
"""Memory that libraries take after the plan: compiled kernels, codecs, plots."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage will need, in bytes; ``peak_bytes`` is of all processes together."""

    stage: str
    tiles: int
    task_bytes: int
    peak_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will need, and what it may use."""

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

    @property
    def peak_bytes(self) -> int:
        """Promised peak of the resident memory of all processes."""
        return max(stage.peak_bytes for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        """Disk that the run directory takes, at most."""
        return sum(stage.disk_bytes for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Write the plan as plain values."""
        return {**asdict(self), "peak_bytes": self.peak_bytes, "disk_bytes": self.disk_bytes}


def plan(
    scene: Scene,
    config: RunConfig,
    execution: Execution = Execution(),
    directory: str | Path | None = None,
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
    directory : str or Path, optional
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
    workers = execution.workers
    fewer = [max(1, workers >> halvings) for halvings in range(workers.bit_length())]
    for count_of_workers in fewer if execution.scheduler == "none" else [workers]:
        for tile_px in (execution.tile_px,) if execution.tile_px else TILES_PX:
            found = _plan(scene, config, execution, tile_px, count_of_workers, directory)
            if found.peak_bytes <= found.limit_bytes:
                return found
    return found


def run(
    scene: Scene,
    config: RunConfig,
    directory: str | Path,
    *,
    execution: Execution = Execution(),
    client: Any = None,
    notify: Notify = ignore,
) -> RunDirectory:
    """Cluster a scene, or finish a run that was interrupted.

    Parameters
    ----------
    scene : Scene
        What to cluster.
    config : RunConfig
        What is asked; together with the scene it determines the result.
    directory : str or Path
        Where the results go. A directory of the same run is resumed.
    execution : Execution
        How to run it.
    client : distributed.Client, optional
        Where tiles are worked on; without one, threads of this process.
    notify : callable
        Receives progress and warnings.

    Returns
    -------
    RunDirectory
        The finished run.

    Raises
    ------
    ConfigError
        If the request does not suit the scene, or the directory holds another run.
    MemoryBudgetError, ResourceError
        If the plan exceeds the memory or the disk.
    DamagedError
        If stored data are missing or fail their checksum.
    IncompleteError
        If workers were lost; the same call resumes.
    """
    needed = plan(scene, config, execution, directory)
    refuse(needed, execution)
    scene.check_complete()
    target = RunDirectory(Path(directory).absolute())
    with target.locked(), threadpool_limits(1):
        target.begin(config, scene.uri, scene.identity, __version__)
        tell = _logged(target, notify)
        context = Context(
            target, scene, config, execution, needed.tile_px, needed.workers, client, tell, ""
        )
        for stage, mark in zip(STAGES, fingerprints(scene, config), strict=True):
            _run_stage(stage, replace(context, fingerprint=mark))
    return target


def refuse(needed: Plan, execution: Execution) -> None:
    """Refuse a plan that exceeds the memory or the disk.

    Raises
    ------
    MemoryBudgetError
        Naming the stage that needs most, and what would help.
    ResourceError
        If the disk is too small.
    """
    worst = max(needed.stages, key=lambda stage: stage.peak_bytes)
    if worst.peak_bytes > needed.limit_bytes:
        raise MemoryBudgetError(
            f"Stage {worst.stage} needs {worst.peak_bytes / GIB:.2f} GiB with {needed.workers} "
            f"workers and tiles of {needed.tile_px} px, but may use "
            f"{needed.limit_bytes / GIB:.2f} GiB ({needed.reserved_bytes / GIB:.2f} GiB of it for "
            f"the libraries). {_memory_advice(needed)}"
        )
    if needed.disk_bytes > needed.free_disk_bytes:
        raise ResourceError(
            f"The run needs up to {needed.disk_bytes / GIB:.2f} GiB of disk, but only "
            f"{needed.free_disk_bytes / GIB:.2f} GiB are free. Free some space or choose another "
            f"disk with --run."
        )


def _memory_advice(needed: Plan) -> str:
    """Say what would make a run fit its memory."""
    least = f"--memory of at least {needed.peak_bytes / GIB + 0.01:.2f} GiB"
    if needed.limit_bytes <= needed.reserved_bytes:
        return f"Give it a {least}."
    return (
        f"Use fewer workers (--threads 1), a smaller --tile, a smaller reservoir "
        f"(--set reservoir.pixels=50000), or a {least}."
    )


def fingerprints(scene: Scene, config: RunConfig) -> Iterator[str]:
    """Fingerprint of every stage: what it is, what was asked of it, what it reads."""
    known = {"scene": scene.identity}
    values = config.model_dump(mode="json")
    for stage in STAGES:
        asked = {section: values[section] for section in stage.sections}
        below = [known[name] for name in stage.needs] or [scene.identity]
        known[stage.name] = fingerprint(stage.name, stage.version, asked, below)
        yield known[stage.name]


def default_directory(scene: Scene, config: RunConfig) -> Path:
    """Name a run directory beside the scene: the same for the same request, else another."""
    uri = Path(scene.uri)
    clusters = config.cluster.clusters
    parts = [config.method, f"k{clusters}" if clusters else "auto"]
    mark = fingerprint(config.model_dump(mode="json"), scene.identity)[:6]
    return uri.with_name(f"{uri.stem}.runs") / "-".join([*parts, mark])


@dataclass(frozen=True, slots=True)
class StageStatus:
    """How far one stage is."""

    stage: str
    done: bool
    finished_tiles: int
    elapsed_s: float
    peak_bytes: int


def status(directory: str | Path) -> list[StageStatus]:
    """Tell how far a run is, stage by stage.

    Raises
    ------
    StoreError
        If there is no run in the directory.
    """
    target = RunDirectory(directory)
    records = target.manifest().stages
    found = []
    for stage in STAGES:
        record = records.get(stage.name) if _written(stage, target) else None
        tiles = record.tiles if record else len(Ledger(target.ledger(stage.name)).finished())
        found.append(
            StageStatus(
                stage.name,
                record is not None,
                tiles,
                record.elapsed_s if record else 0.0,
                record.peak_bytes if record else 0,
            )
        )
    return found


def _run_stage(stage: Stage, context: Context) -> None:
    """Run one stage unless the manifest says that it is done."""
    manifest = context.run.manifest()
    record = manifest.stages.get(stage.name)
    if record and record.fingerprint == context.fingerprint and _written(stage, context.run):
        context.notify(StageFinished(stage.name, record.elapsed_s, skipped=True))
        return
    started = time.monotonic()
    heard: list[str] = []
    with PeakMemory() as memory:
        stage.run(replace(context, notify=_collecting(context.notify, heard)))
    elapsed_s = time.monotonic() - started
    tiles = len(Ledger(context.run.ledger(stage.name)).finished())
    done = StageRecord(context.fingerprint, round(elapsed_s, 3), memory.peak_bytes, tiles)
    context.run.save(
        replace(
            manifest,
            stages={**manifest.stages, stage.name: done},
            warnings=tuple(dict.fromkeys((*manifest.warnings, *heard))),
        )
    )
    context.run.forget(stage.name)
    context.notify(StageFinished(stage.name, elapsed_s))


def _written(stage: Stage, target: RunDirectory) -> bool:
    """Tell whether all that a stage writes is there; a deleted file means it is done again."""
    return all((target.path / name).exists() for name in stage.writes)


def _collecting(notify: Notify, heard: list[str]) -> Notify:
    """Pass events on and keep the warnings."""

    def tell(event: Event) -> None:
        if isinstance(event, Warned):
            heard.append(event.message)
        notify(event)

    return tell


def _logged(target: RunDirectory, notify: Notify) -> Notify:
    """Pass events on and write all but progress to the log of the run."""

    def tell(event: Event) -> None:
        if not isinstance(event, Progress):
            line = {"time": datetime.now(UTC).isoformat(), "event": type(event).__name__}
            with filing(target.log_path), target.log_path.open("a") as file:
                file.write(json.dumps({**line, **asdict(event)}) + "\n")
        notify(event)

    return tell


def _check_request(scene: Scene, config: RunConfig) -> None:
    """Refuse what the scene cannot give, before a pixel is read."""
    statistics.statistics_groups(scene, config.statistics)
    if not scene.valid_pixels:
        raise SceneError(f"Pixels with data are needed, but {scene.uri} has none.")
    wanted = config.cluster.clusters
    if wanted is not None and wanted > scene.valid_pixels:
        raise ConfigError(
            f"At most one cluster per pixel can be found, but --clusters is {wanted} and "
            f"{scene.uri} has {scene.valid_pixels} valid pixels."
        )


def _plan(
    scene: Scene,
    config: RunConfig,
    execution: Execution,
    tile_px: int,
    workers: int,
    directory: str | Path | None,
) -> Plan:
    """Plan with one tile size and number of workers."""
    tile_px = _fitting(tile_px, scene)
    processes = 1 + (workers if execution.scheduler != "none" else 0)
    reserved = (resident_bytes() + LATE_BYTES) * processes
    stages = []
    for stage in STAGES:
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
        limit_bytes=execution.memory_bytes or psutil.virtual_memory().total // 2,
        free_disk_bytes=_free_disk(Path(directory or scene.uri)),
        stages=tuple(stages),
    )


def _fitting(tile_px: int, scene: Scene) -> int:
    """Cut a tile that is larger than every frame, so that storage is not padded to it."""
    side = max(max(frame.shape) for frame in scene.frames)
    return min(tile_px, -(-side // 16) * 16)


def _free_disk(path: Path) -> int:
    """Free bytes on the disk that holds, or will hold, ``path``."""
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), Path())
    return shutil.disk_usage(existing).free
