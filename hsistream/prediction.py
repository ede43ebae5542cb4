"""Label frames that a finished run has never seen, by what it has learnt.

A prediction is a run directory like any other; what is asked of it is what was
asked of the run that has learnt, and which one that was. This is its door.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from hsistream import pipeline
from hsistream.config import RunConfig
from hsistream.errors import ConfigError, IncompleteError
from hsistream.events import Notify, ignore
from hsistream.execution import Execution
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.sections import LearntSection, StatisticsSection
from hsistream.stages.adopt import check_bands, learnt_fingerprint, listed
from hsistream.stages.standardise import strangest_frame
from hsistream.stages.statistics import STANDARD, TABLE
from hsistream.stages.table import stream
from hsistream.stores.tables import Table, read_table

UNITS_FACTOR = 50.0
"""Frames that differ so much in brightness from all that were learnt from have other units."""


def predict(
    scene: Scene,
    run: str | PathLike[str],
    directory: str | PathLike[str] | None = None,
    *,
    groups: Mapping[str, str] | None = None,
    execution: Execution = Execution(),
    client: Any = None,
    notify: Notify = ignore,
) -> RunDirectory:
    """Label the frames of a scene by what a run has learnt; nothing is fitted again.

    Parameters
    ----------
    scene : Scene
        Frames with the bands of those that the run has learnt from.
    run : str or path-like
        A finished run; its scene need not be there any more.
    directory : str or path-like, optional
        Where the results go: a run directory of its own, beside the scene by
        default. A directory of the same prediction is resumed.
    groups : mapping of str to str, optional
        Name of a statistics group of the run for every frame, if the run has
        statistics by group.
    execution, client, notify
        As for :func:`hsistream.run`.

    Returns
    -------
    RunDirectory
        The finished prediction, with the labels of the run.

    Raises
    ------
    StoreError
        If ``run`` is no run directory.
    IncompleteError
        If the run is not finished, or workers were lost.
    ConfigError
        If the run cannot label these frames, or the directory holds something else.
    SceneError
        If no pixel of the scene has data.
    MemoryBudgetError, ResourceError
        If the plan exceeds the memory or the disk.
    DamagedError
        If stored data are missing or fail their checksum.
    """
    asked = request(scene, run, groups or {})
    target = RunDirectory(directory or pipeline.default_directory(scene, asked))
    _check_directory(target, asked, scene)
    return pipeline.run(
        scene, asked, target.path, execution=execution, client=client, notify=notify
    )


def request(scene: Scene, run: str | PathLike[str], groups: Mapping[str, str]) -> RunConfig:
    """Say what is asked, as a configuration; see :func:`predict`."""
    learnt = RunDirectory(run)
    config = learnt.config()
    if config.learnt is not None:
        raise ConfigError(
            f"A run that has learnt is needed, but {learnt.path} is itself a prediction, by "
            f"{config.learnt.run}. Name that one with --run."
        )
    if config.classify is not None:
        raise ConfigError(
            f"predict needs a run of clusters, but {learnt.path} is a map of classes. Ingest the "
            f"new frames beside those with labels: hsistream classify maps all frames of a scene."
        )
    asked = _by(learnt, config, fingerprint="")
    stream(asked)
    _check_finished(learnt, config)
    known = read_table(learnt.table(TABLE))
    check_bands(scene, learnt, known)
    _check_units(scene, learnt, known, config.statistics)
    asked = _by(learnt, config, learnt_fingerprint(learnt, config))
    section = _grouped(scene, learnt, config.statistics, groups)
    return asked.model_copy(update={"statistics": section})


def _by(learnt: RunDirectory, config: RunConfig, fingerprint: str) -> RunConfig:
    """Ask for the same as a run, by what it has learnt."""
    section = LearntSection(run=str(learnt.path), fingerprint=fingerprint)
    return config.model_copy(update={"learnt": section})


def _check_finished(learnt: RunDirectory, config: RunConfig) -> None:
    """Refuse a run without all of its labels, or whose stages this version would do otherwise."""
    manifest = learnt.manifest()
    marks = pipeline.stage_marks(manifest.scene_identity, config)
    for stage, mark in zip(stream(config), marks, strict=True):
        if stage.name not in manifest.stages:
            raise IncompleteError(
                f"A finished run is needed, but stage {stage.name} of {learnt.path} is to do. "
                f"Repeat the command that made it. See: hsistream status {learnt.path}"
            )
        if manifest.stages[stage.name].fingerprint != mark:
            raise ConfigError(
                f"{learnt.path} was made by version {manifest.version} of hsistream, whose stage "
                f"{stage.name} differs from that of this version. Use the version that made it, or "
                f"repeat the command that made it."
            )


def _check_units(
    scene: Scene, learnt: RunDirectory, known: Table, section: StatisticsSection
) -> None:
    """Refuse frames whose spectra have other units, where brightness counts."""
    if section.by == "frame" or section.illumination in ("snv", "l2", "continuum"):
        return
    found = strangest_frame(scene, known, read_table(learnt.table(STANDARD)))
    if not found:
        return
    frame, factor = found
    if factor >= UNITS_FACTOR:
        low, high = known["brightness"].min(), known["brightness"].max()
        raise ConfigError(
            f"Frames need the units of those that {learnt.path} has learnt from, whose brightness "
            f"is {low:.4g} to {high:.4g} ({known['dtype']}), but that of {frame.name} of "
            f"{scene.uri} is {frame.brightness:.4g} ({scene.dtype}). Ingest it in the same units, "
            f"or learn with --statistics frame."
        )


def _grouped(
    scene: Scene, learnt: RunDirectory, section: StatisticsSection, groups: Mapping[str, str]
) -> StatisticsSection:
    """Give every frame a statistics group that was learnt, where there are groups."""
    if section.by != "group":
        if groups:
            raise ConfigError(
                f"--group is for runs with statistics by group, but those of {learnt.path} are by "
                f"{section.by}. Leave --group out."
            )
        return section
    known, names = sorted(set(section.groups.values())), [frame.name for frame in scene.frames]
    wrong = [name for name in names if groups.get(name) not in known]
    others = sorted(set(groups) - set(names))
    if wrong or others:
        found = (
            f"{listed(wrong)} of {scene.uri} has none of them"
            if wrong
            else f"{scene.uri} has no frame {listed(others)}"
        )
        raise ConfigError(
            f"Every frame needs one of the statistics groups of {learnt.path} "
            f"({', '.join(known)}), but {found}. Give --group FRAME=GROUP for every frame."
        )
    return section.model_copy(update={"groups": {name: groups[name] for name in names}})


def _check_directory(target: RunDirectory, asked: RunConfig, scene: Scene) -> None:
    """Refuse a directory of another run, or of the same one before it was changed."""
    if not target.exists:
        return
    if asked.learnt is not None and target.path == Path(asked.learnt.run):
        raise ConfigError(
            f"A prediction needs a directory of its own, but {target.path} is that of the run that "
            f"has learnt. Choose another directory with --out."
        )
    differences = target.config().differences(asked)
    if target.manifest().scene_identity != scene.identity:
        differences.append("another scene")
    if differences:
        raise ConfigError(
            f"{target.path} holds another run, or labels of one that has been changed since: "
            f"{'; '.join(differences)}. Choose another directory with --out."
        )
