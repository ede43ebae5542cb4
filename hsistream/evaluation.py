"""Agreement of a finished run with reference labels, read tile by tile.

The only place where a truth meets a result, after the result is written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsistream.errors import ConfigError, DamagedError, IncompleteError, SceneError, StoreError
from hsistream.files import filing, local_path, write_text
from hsistream.readers.label_sources import SOURCES, check_places, read_labelled
from hsistream.readers.labelled import Labelled, LabelOptions, by_frame
from hsistream.readers.labels import USUAL_KEY, read_label_mosaic, read_labels, whole_labels
from hsistream.report.export import check_replaceable, write_geotiff
from hsistream.report.palette import palette
from hsistream.report.scores import Contingency, Matching, Scores, score_table
from hsistream.runs import LABELS, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import report, scene_tiles
from hsistream.stages.classify import class_names
from hsistream.stages.labelling import cluster_pixels
from hsistream.stages.table import stream
from hsistream.stores.raster import RasterStore
from hsistream.tiles import TileGrid

TILE_PX = 2048

Truth = Mapping[str, ArrayLike] | ArrayLike | Labelled
"""Maps of classes, or single labelled pixels."""

log = logging.getLogger(__name__)


def evaluate(
    directory: str | PathLike[str],
    truth: Truth | str | PathLike[str],
    *,
    frame: str | None = None,
    matching: Matching = "rectangular",
    write: bool = True,
) -> Scores:
    """Score the labels of a run; write ``scores.json`` and put the scores on the page.

    Parameters
    ----------
    directory : str or path-like
        A finished run.
    truth : mapping of str to (y, x) integer, or (y, x) integer, or Labelled, or path
        Reference labels, 0 = unlabelled; floats count if all are whole numbers, and
        NaN is unlabelled; of booleans true is the only class. One array for a scene of
        one frame or with ``frame``; otherwise named by frame, and frames without an
        entry are left out. Dimensions ``x`` and ``y`` of xarray may come in any order.
        A file of labels is read by :func:`read_truth`, which takes options; the classes
        of single places and polygons are numbered from 1 by their names.
    frame : str, optional
        The only frame to score.
    matching : {"rectangular", "square"}
        How clusters are matched to classes; see
        :func:`hsistream.report.scores.score`.
    write : bool
        Without it the run is only read, and its page stays as it is.

    Returns
    -------
    Scores
        Over all scored frames together.

    Raises
    ------
    ConfigError
        If the truth does not fit the frames, or names others, or ``matching`` is
        none of these.
    SceneError
        If it holds fractions, or no label, or the file cannot be read.
    IncompleteError
        If the run is not finished.
    DamagedError
        If stored labels are missing or fail their checksum.
    """
    if matching not in get_args(Matching):
        raise ConfigError(
            f"matching must be {' or '.join(get_args(Matching))}, but is {matching!r}."
        )
    run, scene = _open(directory)
    names: dict[int, str] = {}
    if isinstance(truth, str | PathLike):
        truth = read_truth(truth, run, LabelOptions(frame=frame))
    if isinstance(truth, Labelled):
        table, names = _places_table(run, scene, truth, frame), dict(enumerate(truth.names, 1))
    else:
        table = _maps_table(run, scene, truth, frame)
    if not table.pixels:
        raise SceneError(
            "Labelled pixels are needed, but the truth is 0 everywhere that there are data."
        )
    scores = replace(score_table(table, matching=matching, class_names=names), frame=frame)
    if write:
        write_text(run.scores_path, json.dumps(scores.to_json(), indent=2) + "\n")
        report.write(run, scene, scores.to_json())
    return scores


def read_truth(
    path: str | PathLike[str],
    directory: str | PathLike[str],
    options: LabelOptions = LabelOptions(),
    *,
    mosaic: bool = False,
) -> Truth:
    """Read reference labels of the scene of a run, from any file that holds labels.

    With ``mosaic``, ``path`` is a folder of GeoTIFF tiles of one frame. Rasters that are
    of no frame are left out, unless none is of one.

    Raises
    ------
    SceneError
        If the file cannot be read, or labels no pixel.
    ConfigError
        If the labels do not fit the frames.
    """
    if mosaic:
        return read_label_mosaic(path)
    place = local_path(path, SceneError)
    scene = Scene.open(RunDirectory(directory).manifest().scene_uri)
    if place.suffix.lower() in SOURCES:
        found = read_labelled(place, scene, options)
        for note in found.notes:
            log.warning("%s", note)
        return found
    maps = read_labels(place, options.key)
    frames = [frame.name for frame in scene.frames]
    check_places(place, scene, frames if options.frame is None else [options.frame])
    return {name: labels for name, labels in maps.items() if name in frames} or maps


def _open(directory: str | PathLike[str]) -> tuple[RunDirectory, Scene]:
    """Open a run that has labels, all of them, and its scene."""
    run = RunDirectory(directory)
    manifest = run.manifest()
    needed = [stage.name for stage in stream(run.config()) if stage.name != "report"]
    if missing := [name for name in needed if name not in manifest.stages]:
        raise IncompleteError(
            f"A finished run is needed, but the stage {missing[0]} of {run.path} is not done. See: "
            f"hsistream status {run.path}"
        )
    if not Path(manifest.scene_uri).exists():
        raise SceneError(
            f"The scene of {run.path} is needed, but there is none at {manifest.scene_uri} now. If "
            f"it was moved: hsistream cluster NEW_PLACE --run {run.path}"
        )
    scene = Scene.open(manifest.scene_uri)
    if scene.identity != manifest.scene_identity:
        raise ConfigError(
            f"The scene of {run.path} is needed, but another one lies at {scene.uri} now (identity "
            f"{manifest.scene_identity[:8]} there, {scene.identity[:8]} here). Make the run anew."
        )
    RasterStore(run.labels_uri).check_complete(scene.frames, LABELS)
    return run, scene


def _maps_table(
    run: RunDirectory,
    scene: Scene,
    truth: Mapping[str, ArrayLike] | ArrayLike,
    frame: str | None,
) -> Contingency:
    """Count classes against clusters in maps of classes."""
    given = truth if isinstance(truth, Mapping) else {USUAL_KEY: truth}
    named = {str(name): _as_map(values) for name, values in given.items()}
    _check_names(scene, named)
    table = Contingency.empty()
    for name, reference in by_frame(scene, whole_labels(named), frame).items():
        table += _frame_table(run, name, reference)
    return table


def _as_map(values: Any) -> NDArray[Any]:
    """Take what numpy understands as a map (y, x); xarray names its dimensions."""
    if set(getattr(values, "dims", ())) == {"y", "x"}:
        values = values.transpose("y", "x")
    found = np.asarray(values)
    return found.astype(np.uint8) if found.dtype == np.bool_ else found


def _check_names(scene: Scene, maps: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a map that is of no frame where others are: it would be left out unseen."""
    frames = [frame.name for frame in scene.frames]
    unknown = [name for name in maps if name not in frames]
    if unknown and len(unknown) < len(maps):
        raise ConfigError(
            f"The truth must name frames of the scene, but {', '.join(unknown[:8])} is none of "
            f"them. The frames are {', '.join(frames[:8])}{', …' if len(frames) > 8 else ''}."
        )


def _places_table(
    run: RunDirectory, scene: Scene, truth: Labelled, frame: str | None
) -> Contingency:
    """Count classes against clusters at single pixels, tile by tile."""
    store, table = RasterStore(run.labels_uri), Contingency.empty()
    if frame is not None:
        truth = truth.at(truth.frame == scene.frame_number(frame))
    for tile in scene_tiles(scene, TILE_PX):
        here = truth.within(tile.frame, tile.core)
        if len(here.number):
            labels = store.read(scene.frames[tile.frame].name, LABELS, tile.core)
            place = here.row - tile.core[0].start, here.column - tile.core[1].start
            table += Contingency.from_pixels(here.number + 1, labels[place])
    return table


def _frame_table(run: RunDirectory, name: str, reference: NDArray[np.integer[Any]]) -> Contingency:
    """Count classes against clusters in one frame, tile by tile."""
    store = RasterStore(run.labels_uri)
    table = Contingency.empty()
    height, width = reference.shape
    for tile in TileGrid((height, width), TILE_PX):
        labels = store.read(name, LABELS, tile.core)
        table += Contingency.from_pixels(reference[tile.core], labels)
    return table


def rewrite_report(directory: str | PathLike[str]) -> RunDirectory:
    """Write page and picture of a finished run again, with the scores that it has.

    Raises
    ------
    IncompleteError
        If the run is not finished.
    """
    run, scene = _open(directory)
    report.write(run, scene, _known_scores(run))
    return run


def _known_scores(run: RunDirectory) -> dict[str, Any] | None:
    """Read the scores that a run has."""
    if not run.scores_path.is_file():
        return None
    try:
        scores: dict[str, Any] = json.loads(run.scores_path.read_bytes())
    except ValueError as error:
        raise DamagedError(
            f"{run.scores_path} cannot be understood. Delete it, and evaluate again."
        ) from error
    return scores


def export_labels(directory: str | PathLike[str], folder: str | PathLike[str]) -> list[Path]:
    """Write the labels of every frame as a Cloud-Optimised GeoTIFF, with the names of classes.

    Raises
    ------
    IncompleteError
        If the run is not finished.
    StoreError
        If a file that is no exported map is in the way, or the folder cannot be written.
    """
    run, scene = _open(directory)
    target = local_path(folder, StoreError)
    paths = [target / f"{frame.name}.tif" for frame in scene.frames]
    for path in paths:
        check_replaceable(path)
    store = RasterStore(run.labels_uri)
    with filing(target):
        target.mkdir(parents=True, exist_ok=True)
    colours = palette(len(cluster_pixels(run)))
    names = class_names(run) if run.config().classify else ()
    for frame, path in zip(scene.frames, paths, strict=True):
        read = partial(store.read, frame.name, LABELS)
        write_geotiff(
            path, frame.name, frame.shape, frame.georeference, read, palette=colours, names=names
        )
    return paths
