"""The stream as a table of stages; what a run will need, and the run itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from hsistream.config import RunConfig
from hsistream.errors import ConfigError, IncompleteError
from hsistream.events import Event, Noted, Notify, Progress, StageFinished, Warned, ignore
from hsistream.execution import Execution
from hsistream.files import filing
from hsistream.manifest import StageRecord
from hsistream.planning import Plan, plan, refuse
from hsistream.runs import RunDirectory, fingerprint
from hsistream.runtime.blas import one_blas_thread
from hsistream.runtime.ledger import Ledger
from hsistream.runtime.memory import PeakMemory, release_memory
from hsistream.runtime.workers import tasks_at_once
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Stage
from hsistream.stages.table import stream
from hsistream.stores.raster import RasterStore
from hsistream.version import __version__


def run(
    scene: Scene,
    config: RunConfig,
    directory: str | PathLike[str],
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
    directory : str or path-like
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
    execution = _joined(execution, client)
    target = RunDirectory(directory)
    needed = _admitted(scene, config, execution, target.path)
    with filing(target.path):
        target.check_place()  # before it holds a lock
    with target.locked() as holder, one_blas_thread():
        target.begin(config, scene.uri, scene.identity, __version__)
        stages, marks = stream(config), list(fingerprints(scene, config))
        target.keep_stages(marks)
        tell = _logged(target, notify)
        shape = (needed.tile_px, needed.workers)
        context = Context(target, scene, config, execution, *shape, client, tell, "", holder)
        for stage, mark in zip(stages, marks, strict=True):
            _run_stage(stage, replace(context, fingerprint=mark))
    return target


def relabel(
    directory: str | PathLike[str],
    clusters: int,
    *,
    execution: Execution = Execution(),
    client: Any = None,
    notify: Notify = ignore,
) -> RunDirectory:
    """Change the number of clusters of a run of merged prototypes, or of superpixels alone.

    Nothing is trained or encoded again: these are merged or divided to another
    number, and the labels are looked up. Scores of the old labels are dropped.

    Parameters
    ----------
    directory : str or path-like
        A run; what it lacks of its earlier stages is done first.
    clusters : int
        New number of clusters.
    execution, client, notify
        As for :func:`run`.

    Returns
    -------
    RunDirectory
        The same run, with new labels.

    Raises
    ------
    StoreError
        If this is not a run directory.
    ConfigError
        If the clusters of the run are made of neither, or were learnt by another
        run, or there are fewer prototypes than clusters; or if its scene is no
        longer the same.
    MemoryBudgetError, ResourceError
        If the plan exceeds the memory or the disk; the run is left as it is.
    """
    target = RunDirectory(directory)
    before = target.config()
    if before.learnt is not None:
        raise ConfigError(
            f"relabel needs a run that has learnt its clusters, but those of {target.path} are "
            f"those of {before.learnt.run}. Relabel that one, and repeat hsistream predict by it."
        )
    asked = before.with_clusters(clusters)
    scene = Scene.open(target.manifest().scene_uri)
    _admitted(scene, asked, _joined(execution, client), target.path)
    with target.locked():
        target.begin(before, scene.uri, scene.identity, __version__)
        target.adopt(asked, list(fingerprints(scene, asked)))
    return run(scene, asked, target.path, execution=execution, client=client, notify=notify)


def fingerprints(scene: Scene, config: RunConfig) -> Iterator[str]:
    """Fingerprint of every stage: what it is, what was asked of it, what it reads."""
    return stage_marks(scene.identity, config)


def stage_marks(identity: str, config: RunConfig) -> Iterator[str]:
    """Fingerprint of every stage of a run on the scene of an identity."""
    known = {"scene": identity}
    values = config.model_dump(mode="json")
    values["projected"] = config.projected.model_dump(mode="json")
    values["learnt"] = config.learnt and config.learnt.fingerprint
    values["classify"] = config.classify and config.classify.model_dump(exclude={"labels"})
    for stage in stream(config):
        asked = {section: values[section] for section in stage.sections}
        below = [known[name] for name in stage.needs if name in known] or [identity]
        known[stage.name] = fingerprint(stage.name, stage.version, asked, below)
        yield known[stage.name]


def default_directory(scene: Scene, config: RunConfig) -> Path:
    """Name a run directory beside the scene: the same for the same request, else another."""
    uri = Path(scene.uri)
    clusters, classify = config.cluster.clusters, config.classify
    parts = [config.method, f"k{clusters}" if clusters else "auto"]
    asked: list[Any] = [config.model_dump(mode="json", exclude={"learnt", "classify"})]
    asked.append(scene.identity)
    if classify is not None:
        parts[1] = classify.classifier
        asked.append(classify.model_dump(mode="json", exclude={"labels"}))
    if config.learnt is not None:
        parts += ["by", Path(config.learnt.run).name]
        asked.append(config.learnt.fingerprint)
    mark = fingerprint(*asked)[:6]
    return uri.with_name(f"{uri.stem}.runs") / "-".join([*parts, mark])


@dataclass(frozen=True, slots=True)
class StageStatus:
    """How far one stage is."""

    stage: str
    done: bool
    begun: bool
    finished_tiles: int
    elapsed_s: float
    peak_bytes: int


def status(directory: str | PathLike[str]) -> list[StageStatus]:
    """Tell how far a run is, stage by stage.

    Raises
    ------
    StoreError
        If there is no run in the directory.
    """
    target = RunDirectory(directory)
    manifest, config = target.manifest(), target.config()
    found = []
    for stage, mark in zip(
        stream(config), stage_marks(manifest.scene_identity, config), strict=True
    ):
        record = manifest.stages.get(stage.name)
        if record and (record.fingerprint != mark or not _written(stage, target)):
            record = None
        tiles = record.tiles if record else len(Ledger(target.ledger(stage.name)).finished())
        found.append(
            StageStatus(
                stage.name,
                record is not None,
                tiles > 0 or any((target.path / name).exists() for name in stage.writes),
                tiles,
                record.elapsed_s if record else 0.0,
                record.peak_bytes if record else 0,
            )
        )
    return found


def _joined(execution: Execution, client: Any) -> Execution:
    """Plan for the workers of a client; never fall back to threads where workers are asked for."""
    if client is not None and (not hasattr(client, "submit") or client.asynchronous is True):
        raise ConfigError(
            f"A dask.distributed.Client that is not asynchronous is needed, but found {client!r}."
        )
    if client is not None and not execution.scheduler.startswith("local:"):
        threads = execution.threads or tasks_at_once(client)
        return replace(execution, scheduler=client.scheduler.address, threads=threads)
    if client is None and execution.scheduler != "none":
        raise ConfigError(
            f"A client is needed with the scheduler {execution.scheduler}, but there is none. "
            f'Use: with hsistream.connect("{execution.scheduler}") as client, and client=client.'
        )
    return execution


def _admitted(scene: Scene, config: RunConfig, execution: Execution, directory: Path) -> Plan:
    """Plan a run, and refuse one that cannot be done before anything is written."""
    if directory.is_relative_to(scene.uri):
        raise ConfigError(
            f"Results need a directory outside of the scene, but {directory} lies in {scene.uri}. "
            f"Choose another one."
        )
    needed = plan(scene, config, execution, directory)
    refuse(needed, execution)
    now = Scene.open(scene.uri).identity
    if now != scene.identity:
        raise ConfigError(
            f"The scene must be the one that lies there, but {scene.uri} was replaced since it was "
            f"opened (identity {scene.identity[:8]} then, {now[:8]} now). Open it again."
        )
    scene.check_complete()
    return needed


def _run_stage(stage: Stage, context: Context) -> None:
    """Run one stage unless the manifest says that it is done."""
    manifest = context.run.manifest()
    record = manifest.stages.get(stage.name)
    if record and record.fingerprint == context.fingerprint:
        if _written(stage, context.run):
            context.run.forget(stage.name)  # a kill may have left what is no longer needed
            context.notify(StageFinished(stage.name, record.elapsed_s, skipped=True))
            return
        context.notify(Noted(f"{stage.name}: files that it wrote are missing; it is done again"))
    started = time.monotonic()
    heard: list[str] = []
    release_memory()  # or what the stage before has left counts for this one
    with PeakMemory() as memory:
        stage.run(replace(context, notify=_collecting(context.notify, heard)))
    _check_done(stage, context)
    elapsed_s = time.monotonic() - started
    tiles = len(Ledger(context.run.ledger(stage.name)).finished())
    done = StageRecord(
        context.fingerprint, round(elapsed_s, 3), memory.peak_bytes, tiles, tuple(heard)
    )
    context.run.save(replace(manifest, stages={**manifest.stages, stage.name: done}))
    context.run.forget(stage.name)
    context.notify(StageFinished(stage.name, elapsed_s))


def _check_done(stage: Stage, context: Context) -> None:
    """Keep nothing of a stage whose scene was replaced meanwhile, or whose files are not whole."""
    now = Scene.open(context.scene.uri).identity
    if now != context.scene.identity:
        context.run.forget(stage.name)
        raise ConfigError(
            f"The scene must stay as it is while {context.run.path} is made of it, but "
            f"{context.scene.uri} was replaced during the stage {stage.name} (identity "
            f"{context.scene.identity[:8]} before, {now[:8]} now). Make the run anew."
        )
    if not _written(stage, context.run):
        context.run.forget(stage.name)
        raise IncompleteError(
            f"The stage {stage.name} has left files that are missing or empty in "
            f"{context.run.path}. Repeat the same command: it does the stage again."
        )


def _written(stage: Stage, target: RunDirectory) -> bool:
    """Tell whether all that a stage writes is there; a deleted file means it is done again."""
    return all(_is_whole(target.path / name) for name in stage.writes)


def _is_whole(path: Path) -> bool:
    """Tell whether a result is there, of a store every file, and of a folder any."""
    if path.suffix == ".zarr":
        return RasterStore(str(path)).complete
    return path.is_file() or any(each.is_file() for each in path.rglob("*"))


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
            with filing(target.log_path), target.log_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, **asdict(event)}) + "\n")
        notify(event)

    return tell
