"""Take over what an earlier run has learnt, as it is; after this, that run may go.

What it has learnt are tables and checkpoints, whose size does not depend on the
scene. All but those of the first stage lie where the run itself would have put
them, so that the stages that label find them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.events import StageStarted
from hsistream.files import filing
from hsistream.runs import RunDirectory
from hsistream.scene.ingest import WAVELENGTH_TOLERANCE_NM
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs, walk_table
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import cut as cut_stage
from hsistream.stages import reference as reference_table
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import train as train_stage
from hsistream.stages.statistics import good_wavelengths_nm
from hsistream.stores.tables import Table, check_table, read_table, write_table

MEASURED = (statistics_stage.TABLE, statistics_stage.STANDARD)
"""Tables of the first stage, which new frames have of their own."""

_OF_WALK = (cut_stage.TABLE, reference_table.TABLE, walk_table.TABLE)

TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "consensus": (codebooks_stage.TABLE, cluster_stage.TABLE),
        "prototypes": (cluster_stage.TABLE,),
        "diffusion": _OF_WALK,
        "joint": (*_OF_WALK, codebooks_stage.TABLE, cluster_stage.TABLE),
    }
)
"""Tables by which each head labels pixels."""

LEFT_BEHIND = ("reservoir_label", reference_table.KEYS)
"""What tables say of pixels of the earlier scene."""

LEARNT_BYTES = 64 * 2**20
"""Memory and disk of learnt tables, generously."""

NAMED = 8
"""Bands and frames that a message names, at most."""

TIMES = "elapsed.json"
"""The one file of a checkpoint that does not follow from what was learnt."""


def run(context: Context) -> None:
    """Copy what was learnt, if it still is what was asked for."""
    config = context.config
    assert config.learnt is not None, "the stream has this stage only where another run has learnt"
    context.notify(StageStarted("adopt", 1))
    learnt = RunDirectory(config.learnt.run)
    if learnt_fingerprint(learnt, config) != config.learnt.fingerprint:
        raise ConfigError(
            f"Frames were to be labelled by what {learnt.path} had learnt, but it has been changed "
            f"since. Label them by what it is now, in another directory: hsistream predict."
        )
    _check_frames(context.scene, learnt, config)
    for name in learnt_tables(config):
        table = read_table(learnt.table(name))
        for column in LEFT_BEHIND:
            table.pop(column, None)
        write_table(_place(context.run, name), table)
    if config.encoder is not None:
        _copy_folder(learnt.checkpoint_path, context.run.checkpoint_path)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs, whatever the scene."""
    checkpoints = train_stage.CHECKPOINT_BYTES if config.encoder else 0
    return Needs(
        tiles=0,
        task={},
        driver={"what was learnt": LEARNT_BYTES + checkpoints},
        disk_bytes=LEARNT_BYTES + checkpoints,
    )


def check_bands(scene: Scene, learnt: RunDirectory, known: Table) -> None:
    """Refuse frames of other bands than a run has learnt from.

    Parameters
    ----------
    scene : Scene
        The frames.
    learnt : RunDirectory
        The run.
    known : Table
        Its table of the first stage.

    Raises
    ------
    ConfigError
        If there are more or fewer bands, others are good, or wavelengths differ by more than
        those of the frames of a scene may.
    """
    needed = f"Frames need the bands that {learnt.path} has learnt from"
    good, mine = known["good"], np.asarray(scene.good_bands)
    if len(good) != len(mine):
        raise ConfigError(
            f"{needed}, but those are {len(good)} and {scene.uri} has {len(mine)}. Ingest the same "
            f"bands, or learn anew."
        )
    differ = np.flatnonzero(good != mine)
    if len(differ):
        raise ConfigError(
            f"{needed}, but of the {len(mine)} bands of {scene.uri} others are good: "
            f"{listed(differ)} (from 0) only in one of them. Mark the same bands bad in the files "
            f"and ingest them again, or learn anew."
        )
    ours, theirs = good_wavelengths_nm(scene), known["wavelengths_nm"]
    if len(ours) and len(theirs):
        differ = np.flatnonzero(good)[~np.isclose(ours, theirs, atol=WAVELENGTH_TOLERANCE_NM)]
        if len(differ):
            raise ConfigError(
                f"{needed}, but the wavelengths of bands {listed(differ)} (from 0) of {scene.uri} "
                f"differ by more than {WAVELENGTH_TOLERANCE_NM:g} nm. Resample the frames, or "
                f"learn anew."
            )


def listed(values: Any) -> str:
    """Name a few values."""
    shown = ", ".join(str(value) for value in values[:NAMED])
    return shown if len(values) <= NAMED else f"{shown} and {len(values) - NAMED} more"


def learnt_tables(config: RunConfig) -> tuple[str, ...]:
    """Name the tables that a run has learnt, and needs to label pixels."""
    network = (train_stage.TABLE,) if config.encoder else ()
    return (*MEASURED, *TABLES[config.cluster.head], *network)


def written(config: RunConfig) -> tuple[str, ...]:
    """Name what this stage leaves in a run directory."""
    here = RunDirectory("/")
    tables = [_place(here, name).relative_to(here.path) for name in learnt_tables(config)]
    folders = [here.checkpoint_path.name] if config.encoder else []
    return (*map(str, tables), *folders)


def learnt_fingerprint(run: RunDirectory, config: RunConfig) -> str:
    """Hash what a run has learnt.

    Raises
    ------
    DamagedError
        If a part of it is missing.
    """
    digest = hashlib.blake2b(digest_size=12)
    for path in _learnt_files(run, config):
        check_table(path)
        with filing(path):
            content = hashlib.blake2b(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(run.path)} {content}\n".encode())
    return digest.hexdigest()


def _check_frames(scene: Scene, learnt: RunDirectory, config: RunConfig) -> None:
    """Refuse frames that no table fits: a configuration may have come here by another door."""
    known = read_table(learnt.table(statistics_stage.TABLE))
    check_bands(scene, learnt, known)
    if config.statistics.by == "group":
        unknown = sorted(set(config.statistics.groups.values()) - set(known["groups"].tolist()))
        if unknown:
            raise ConfigError(
                f"[statistics.groups] must name statistics groups of {learnt.path}, which are "
                f"{', '.join(known['groups'])}, but {listed(unknown)} is none of them."
            )


def _learnt_files(run: RunDirectory, config: RunConfig) -> Iterator[Path]:
    """List the files that a run has learnt, in a fixed order."""
    yield from (run.table(name) for name in learnt_tables(config))
    if config.encoder is not None:
        found = sorted(path for path in run.checkpoint_path.rglob("*") if path.is_file())
        yield from (path for path in found if path.name != TIMES)


def _place(run: RunDirectory, name: str) -> Path:
    """Tell where a learnt table belongs."""
    return run.learnt_table(name) if name in MEASURED else run.table(name)


def _copy_folder(source: Path, target: Path) -> None:
    """Copy a folder in place of an older copy, or of a part of one."""
    with filing(source):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
