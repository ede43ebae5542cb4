"""A map of classes from labelled pixels: the door of the supervised route.

The run is a run directory like any other; what is asked of it names the labels by
their content, so that other labels are another run.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from hsistream import pipeline
from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.events import Notify, ignore
from hsistream.execution import Execution
from hsistream.readers.label_sources import read_labelled
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages.divide import options_of


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
        their names; its scores are of labels that were not learnt from.

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


def request(scene: Scene, config: RunConfig) -> RunConfig:
    """Fill in what the labels tell: their hash, and how many they are; see :func:`classify`."""
    settings = config.classify
    if settings is None:
        raise ConfigError(
            "A map of classes needs labels, but none are named. Give --labels FILE, or set "
            "classify.labels."
        )
    path = str(Path(settings.labels).absolute())
    labels = read_labelled(path, scene, options_of(settings))
    known = {
        "labels": path,
        "fingerprint": labels.fingerprint,
        "classes": len(labels.names),
        "labelled": len(labels.number),
    }
    return config.model_copy(update={"classify": settings.model_copy(update=known)})
