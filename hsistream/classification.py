"""A map of classes from labelled pixels: the door of the supervised route.

The run is a run directory like any other; what is asked of it names the labels by
their content, so that other labels are another run.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream import pipeline
from hsistream.config import RunConfig
from hsistream.errors import ConfigError, IncompleteError, SceneError
from hsistream.events import Notify, ignore
from hsistream.execution import Execution
from hsistream.files import local_path
from hsistream.readers.label_sources import read_labelled
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages.class_summary import classification_summary
from hsistream.stages.divide import options_of


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of a score over the splits; of one split the latter is 0."""

    mean: float
    sd: float


@dataclass(frozen=True, eq=False)
class ClassificationScores:
    """How well classes are found again that were learnt from a part of the labels.

    Parameters
    ----------
    oa, aa, kappa : Spread
        Overall accuracy, mean recall of the classes, and kappa: shares, at most 1.
    names : tuple of str
        Names of the classes, in the order of their labels.
    confusion : (split, class, said) int64
        Pixels of the test of every split, by their class and by what was said of them.
    split : str
        In words, how labels were divided.
    """

    oa: Spread
    aa: Spread
    kappa: Spread
    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    split: str


def classify(
    scene: Scene,
    config: RunConfig,
    directory: str | PathLike[str] | None = None,
    *,
    execution: Execution = Execution(),
    client: Any = None,
    notify: Notify = ignore,
) -> RunDirectory:
    """Map the classes of labelled pixels over all frames of a scene.

    Parameters
    ----------
    scene : Scene
        What to map; frames without a label are mapped, too.
    config : RunConfig
        What is asked, with ``classify.labels``.
    directory : str or path-like, optional
        Where the results go; beside the scene by default. A directory of the
        same run is resumed.
    execution, client, notify
        As for :func:`hsistream.run`.

    Returns
    -------
    RunDirectory
        The finished run. Its labels number the classes from 0, in the order of
        their names; :func:`classification_scores` reads what was scored on labels
        that were not learnt from.

    Raises
    ------
    ConfigError
        If no labels are named, or they do not suit the scene or the request.
    SceneError
        If the labels cannot be read.
    MemoryBudgetError, ResourceError
        If the plan exceeds the memory or the disk.
    DamagedError
        If stored data are missing or fail their checksum.
    IncompleteError
        If workers were lost; the same call resumes.
    """
    asked = request(scene, config)
    target = directory or pipeline.default_directory(scene, asked)
    return pipeline.run(scene, asked, target, execution=execution, client=client, notify=notify)


def classification_scores(directory: str | PathLike[str]) -> ClassificationScores:
    """Read how well classes were found again, on labels that were not learnt from.

    Parameters
    ----------
    directory : str or path-like
        A finished run of :func:`classify`.

    Returns
    -------
    ClassificationScores
        Not of the map itself, which has learnt from all labels, but of maps of the same
        kind, each learnt from the labels of one split and tested on others.

    Raises
    ------
    StoreError
        If this is no run directory.
    ConfigError
        If the run is no map of classes, or keeps no labels back.
    IncompleteError
        If it is not that far.
    DamagedError
        If what it kept of the tests is damaged.
    """
    run = RunDirectory(directory)
    stages, settings = run.manifest().stages, run.config().classify
    if settings is None:
        raise ConfigError(
            f"A map of classes is needed, but {run.path} is one of clusters. Score it against "
            f"reference labels: hsistream.evaluate, or hsistream evaluate {run.path}"
        )
    if not settings.splits:
        raise ConfigError(
            f"Scores need labels that are not learnt from, but {run.path} keeps none back: it has "
            f"classify.splits = 0. Make a run with splits."
        )
    if "examine" not in stages:
        raise IncompleteError(
            f"Scores need the stage examine of {run.path}, which is not done. Repeat the command "
            f"that was interrupted: it resumes. See: hsistream status {run.path}"
        )
    found = classification_summary(run)
    assert found is not None, "its settings were there"
    spreads = {name: Spread(**values) for name, values in found.scores.items()}
    return ClassificationScores(
        **spreads, names=found.names, confusion=found.confusion, split=found.split
    )


def request(scene: Scene, config: RunConfig) -> RunConfig:
    """Fill in what the labels tell: their hash, and how many they are; see :func:`classify`."""
    settings = config.classify
    if settings is None:
        raise ConfigError(
            "A map of classes needs labels, but none are named. Give --labels FILE, or set "
            "classify.labels."
        )
    path = str(local_path(settings.labels, SceneError).absolute())
    labels = read_labelled(path, scene, options_of(settings))
    known = {
        "labels": path,
        "fingerprint": labels.fingerprint,
        "classes": len(labels.names),
        "labelled": len(labels.number),
    }
    return config.model_copy(update={"classify": settings.model_copy(update=known)})
