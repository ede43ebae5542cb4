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

from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.events import StageStarted
from hsistream.files import filing
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import train as train_stage
from hsistream.stores.tables import read_table, write_table

MEASURED = (statistics_stage.TABLE, statistics_stage.STANDARD)
"""Tables of the first stage, which new frames have of their own."""

TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "consensus": (codebooks_stage.TABLE, cluster_stage.TABLE),
        "prototypes": (cluster_stage.TABLE,),
    }
)
"""Tables by which each head labels pixels."""

OF_RESERVOIR = "reservoir_label"
"""What the table of clusters says of pixels of the earlier scene, and is left behind."""

LEARNT_BYTES = 64 * 2**20
"""Memory and disk of learnt tables, generously."""

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
    for name in learnt_tables(config):
        table = read_table(learnt.table(name))
        table.pop(OF_RESERVOIR, None)
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
    StoreError
        If a part of it is missing.
    """
    digest = hashlib.blake2b(digest_size=12)
    for path in _learnt_files(run, config):
        with filing(path):
            content = hashlib.blake2b(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(run.path)} {content}\n".encode())
    return digest.hexdigest()


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
