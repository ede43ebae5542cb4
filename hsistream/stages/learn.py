"""Learn from labels: once for every split, for scores, and once from all of them, for the map.

What is learnt lies in a file of its own as soon as it is there, so that an
interrupted run goes on behind the last of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hsistream.classifiers import load_classifier
from hsistream.classifiers.base import Fitted, Lesson
from hsistream.classifiers.calibration import calibrated, probabilities
from hsistream.classifiers.splits import TRAIN
from hsistream.config import RunConfig
from hsistream.errors import ConfigError, DamagedError
from hsistream.events import Progress, StageStarted
from hsistream.files import filing, replacing
from hsistream.runs import RunDirectory
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.sections import ClassifySection
from hsistream.stages import Address, Context, Needs
from hsistream.stages import divide as divide_stage
from hsistream.stages import gather as gather_stage
from hsistream.stages.features import asked, feature_kinds, feature_total, load_features
from hsistream.stages.gather import lesson_bytes
from hsistream.stores.tables import Table, read_table, write_table

TABLE = "learning"

CHECKSUM = "checksum"
MAP = "map"
"""Name of what is learnt for the map; those of splits are numbers."""

TEMPERATURE, LOSSES, MARK = "temperature", "losses", "fingerprint"
"""Arrays of a file beside what a classifier has learnt."""

CLASSIFIER_BYTES = 8 * 2**20
"""Disk of one classifier, generously."""


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A classifier that has learnt, and the temperature of its logits."""

    fitted: Fitted
    temperature: float

    def probabilities(
        self, seen: NDArray[np.float32], wanted: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Give the probabilities (wanted pixel, class) of pixels of a window.

        Arguments are those of :meth:`hsistream.classifiers.base.Fitted.judge_window`.
        """
        return probabilities(self.fitted.judge_window(seen, wanted), self.temperature)


def run(context: Context) -> None:
    """Learn whatever is not learnt yet."""
    settings = asked(context.config)
    lessons = _lessons(context)
    context.notify(StageStarted("learn", len(lessons)))
    losses = {}
    for done, (name, lesson) in enumerate(lessons.items(), start=1):
        judge = _learnt(name, lesson, settings, context)
        losses[f"losses.{name}"] = judge.fitted.losses
        losses[f"temperature.{name}"] = np.asarray(judge.temperature)
        context.notify(Progress("learn", done, len(lessons)))
    write_table(context.run.table(TABLE), losses)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    settings, features = asked(config), feature_total(scene, config)
    classifier = load_classifier(settings.classifier)
    with _refusing(settings):
        fit_bytes = classifier.training_bytes(settings, features, settings.classes)
    return Needs(
        tiles=0,
        task={},
        driver={
            "squares of features": 3 * lesson_bytes(scene, config),
            "one fit": fit_bytes,
        },
        disk_bytes=(settings.splits + 1) * CLASSIFIER_BYTES,
    )


@kept(results=2)
def load_judges(address: Address, settings: ClassifySection, names: tuple[str, ...]) -> list[Judge]:
    """Read what was learnt, once for many tiles."""
    return [_restored(settings, _read(_path(address.run, name))) for name in names]


def _lessons(context: Context) -> dict[str, Lesson]:
    """Cut the lessons of all splits, and that of the map, from what was gathered."""
    places = read_table(context.run.table(divide_stage.TABLE))
    table = read_table(context.run.table(gather_stage.TABLE))
    number = places["number"][table["pixel"]].astype(np.int64)
    features = load_features(context.address, asked(context.config).features)
    kind = feature_kinds(features, table["squares"].shape[1])
    whole = Lesson(table["squares"], number, len(places["names"]), kind)
    roles = places["roles"][:, table["pixel"]]
    lessons = {str(split): whole.at(each == TRAIN) for split, each in enumerate(roles)}
    return {**lessons, MAP: whole.at(places["final"][table["pixel"]])}


def _learnt(name: str, lesson: Lesson, settings: ClassifySection, context: Context) -> Judge:
    """Learn one lesson, or read what was learnt of it before."""
    path = _path(context.run, name)
    mark = np.frombuffer(context.fingerprint.encode(), np.uint8)
    if path.is_file():
        known = _read(path)
        if np.array_equal(known.get(MARK, mark[:0]), mark):
            return _restored(settings, known)
    judge = _fit(lesson, settings, context)
    arrays = {
        **judge.fitted.arrays(),
        TEMPERATURE: np.asarray([judge.temperature]),
        LOSSES: judge.fitted.losses,
        MARK: mark,
    }
    arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    with replacing(path) as partial:
        partial.write_bytes(save({**arrays, CHECKSUM: _checksum(arrays)}))
    return judge


def _fit(lesson: Lesson, settings: ClassifySection, context: Context) -> Judge:
    """Fit and calibrate a classifier."""
    classifier, seed = load_classifier(settings.classifier), context.config.seed
    with _refusing(settings):
        fitted = classifier.fit(settings, lesson, seed)
    return Judge(fitted, calibrated(classifier, settings, lesson, seed))


@contextmanager
def _refusing(settings: ClassifySection) -> Iterator[None]:
    """Refuse features and labels that a classifier cannot learn from; it says what to do."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(
            f"{settings.classifier} cannot learn the labels of {settings.labels} from the features "
            f"{'+'.join(settings.features)}: {error}."
        ) from error


def _restored(settings: ClassifySection, arrays: Table) -> Judge:
    """Make of stored arrays what was learnt."""
    fitted = load_classifier(settings.classifier).restore(settings, arrays)
    return Judge(fitted, float(arrays[TEMPERATURE][0]))


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read one file of arrays."""
    with filing(path):
        text = path.read_bytes()
    try:
        arrays = dict(load(text))
    except SafetensorError as error:
        raise _damaged(path) from error
    if not np.array_equal(arrays.pop(CHECKSUM, np.empty(0)), _checksum(arrays)):
        raise _damaged(path)
    return arrays


def _damaged(path: Path) -> DamagedError:
    """Say that a classifier cannot be read."""
    return DamagedError(
        f"{path} fails its checksum or cannot be understood. Delete it and run the same command "
        f"again: what was in it is made again."
    )


def _checksum(arrays: Table) -> NDArray[np.uint8]:
    """Sum up arrays and their names: the format itself checks nothing."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _path(run: RunDirectory, name: str) -> Path:
    """File of one classifier."""
    return run.classifiers_path / f"{name}.safetensors"
