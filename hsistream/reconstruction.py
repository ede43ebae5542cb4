"""A picture of what the diffusion model of a run has learnt, on request."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from hsistream.errors import ConfigError, IncompleteError, SceneError
from hsistream.events import Notify, Progress, StageStarted, ignore
from hsistream.methods.base import Place
from hsistream.network_sections import SpectraldiffSection
from hsistream.report.reverse_figure import save_reversal
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import statistics as statistics_stage
from hsistream.stages.train import standard_of
from hsistream.stores.tables import read_table
from hsistream.tiles import TileGrid, Window

SIDE_PX = 32
"""Side of the square that is shown, at most."""

DONE = "reconstruct"


def reconstruct(directory: str | PathLike[str], *, notify: Notify = ignore) -> Path:
    """Draw how noise is added to a square of a scene, and how the network takes it away.

    Parameters
    ----------
    directory : str or path-like
        A run of a diffusion model of spectra, trained to its end.
    notify : callable
        Receives progress.

    Returns
    -------
    Path
        The picture, ``report/reconstruct.png`` in the run directory.

    Raises
    ------
    ConfigError
        If the run has no such network.
    IncompleteError
        If the network is not trained yet.
    SceneError
        If no square of the scene has data everywhere.
    """
    from hsistream.methods.reverse import reverse

    run = RunDirectory(directory)
    manifest, settings = run.manifest(), run.config().encoder
    if not isinstance(settings, SpectraldiffSection):
        raise ConfigError(
            f"reconstruct needs a run of a diffusion model, but {run.path} is one of method "
            f"{run.config().method}. Make one with --method spectraldiff."
        )
    learnt = run.config().learnt
    if learnt is not None:
        raise ConfigError(
            f"reconstruct needs the run that has learnt, but {run.path} is a prediction by it. "
            f"Name {learnt.run} instead."
        )
    if "train" not in manifest.stages:
        raise IncompleteError(
            f"A trained network is needed, but that of {run.path} is not trained to its end. "
            f"Repeat the command that made it."
        )
    scene = Scene.open(manifest.scene_uri)
    frame, window = _square(scene)
    notify(StageStarted(DONE, 1))
    found = reverse(
        settings,
        standard_of(read_table(run.table(statistics_stage.STANDARD))),
        run.checkpoint_path,
        scene.read(frame, window),
        frame,
        Place(window[0].start, window[1].start),
        lambda done, steps: notify(Progress(DONE, done, steps)),
    )
    save_reversal(found, run.reconstruction_path)
    return run.reconstruction_path


def _square(scene: Scene) -> tuple[int, Window]:
    """Choose a square with data everywhere, the nearest to the middle of its frame."""
    for number, frame in enumerate(scene.frames):
        side = min(SIDE_PX, *frame.shape)
        row, column = (extent / (2 * side) - 0.5 for extent in frame.shape)
        whole = (tile for tile in TileGrid(frame.shape, side, 0, number) if tile.pixels == side**2)
        for tile in sorted(whole, key=lambda at: abs(at.row - row) + abs(at.column - column)):
            if scene.valid(number, tile.core).all():
                return number, tile.core
    raise SceneError(
        f"reconstruct needs a square of {SIDE_PX} px without a gap, but {scene.uri} has none."
    )
