"""Train the network of a run on crops of the scene, in memory that the scene does not change."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.projections import edge_scale
from hsistream.events import Noted, Warned
from hsistream.illumination import feature_count
from hsistream.methods import choose_device, load_method, using
from hsistream.methods.base import (
    Crop,
    Encoder,
    Material,
    Probe,
    Reservoir,
    Standard,
    Trained,
    Work,
)
from hsistream.network_sections import EncoderSection
from hsistream.runs import RunDirectory
from hsistream.scene.crops import (
    CROP_PX,
    CropSettings,
    CropStream,
    buffer_bytes,
    open_crops,
    padded_frames,
)
from hsistream.scene.patches import read_patches
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs, reservoir_pixels
from hsistream.stages import statistics as statistics_stage
from hsistream.stages.gaps import close_gaps
from hsistream.stores.tables import Table, read_table, write_table

TABLE = "training"

PROBE_SEED = 1_000_003
"""Added to the seed, so that the probe is not what is trained on first."""

PADDED_SHOWN = 3

COMPARED_PX = 16
"""Side of the middle of a crop in which neighbours are compared: networks may take long."""

ROUNDING = 1e-9
"""Squared difference of unit latents below which they are the same: mirrored pixels are."""

ENDINGS = {
    "finished": "finished",
    "stable": "stopped, because the assignments no longer changed,",
    "minutes": "stopped, because the time was over,",
    "floor": "taken back to the start, because it collapsed too often,",
}
"""How a training ended, in words."""

SCORES_BYTES = 2**9
"""Memory of the scores of a pixel of the reservoir, from which networks start."""

CHECKPOINT_BYTES = 64 * 2**20
"""Disk of the checkpoints, generously."""


def run(context: Context) -> None:
    """Train, or finish a training that was interrupted."""
    scene, config = context.scene, context.config
    _tell_padded(context)
    table = read_table(context.run.table(statistics_stage.STANDARD))
    standard, counts = standard_of(table), valid_counts(table, scene)
    stream = open_crops(scene, _crops(config), counts)
    probe = _probe(scene, config, counts)
    assert config.encoder is not None, "the stream has this stage only with a network"
    method = load_method(config.encoder.name)
    device = choose_device(context.execution.device)
    work = Work(
        context.run.checkpoint_path, context.fingerprint, context.threads, device, context.notify
    )
    sampled = read_table(context.run.table(statistics_stage.RESERVOIR))
    material = Material(
        standard, _reservoir(sampled), probe, stream.batches, partial(_patches, scene, sampled)
    )
    with using(device):
        trained = method.train(config.encoder, config.training, config.seed, material, work)
        encoder = method.load(config.encoder, standard, context.run.checkpoint_path, device)
        scale = edge_scale(_neighbour_differences(encoder, probe))
    if stream.counters.blocks_read:  # some networks learn from patches
        context.notify(Noted(_reading(stream)))
    context.notify(Noted(f"train: {ENDINGS[trained.ending]} after {len(trained.losses)} steps"))
    for message in errors_that_did_not_fall(trained, config.training.learning_rate):
        context.notify(Warned(message))
    _write(context.run, trained, scale)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs: nothing of it grows with the scene."""
    assert config.encoder is not None, "the stream has this stage only with a network"
    features = feature_count(config.statistics.illumination, scene.bands)
    method = load_method(config.encoder.name)
    step = method.training_bytes(config.encoder, features)
    reads_crops = method.LEARNS_FROM == "crops"
    crop = CROP_PX**2 * scene.bands * scene.itemsize
    sampled = reservoir_pixels(scene, config)
    return Needs(
        tiles=0,
        task={},
        driver={
            "blocks of crops": buffer_bytes(scene, (_crops if reads_crops else _probed)(config)),
            "one step": (config.training.pairs if reads_crops else 1) * step,
            "probe": 2 * config.training.probe * crop + _label_bytes(features),
            "reservoir spectra": sampled * (scene.bands * scene.itemsize + 2 * 4 * features),
            "reservoir scores": sampled * SCORES_BYTES,
        },
        disk_bytes=CHECKPOINT_BYTES,
    )


def _label_bytes(features: int) -> int:
    """Memory of one probe crop while it is labelled."""
    return 6 * CROP_PX**2 * features * 4


def standard_of(table: Table) -> Standard:
    """Read how networks see spectra from the table of the first stage."""
    return Standard(
        good=table["good"],
        illumination=str(table["illumination"]),
        wavelengths_nm=tuple(table["wavelengths_nm"].tolist()),
        group_of_frame=table["group_of_frame"],
        mean=table["mean"],
        scale=table["scale"],
        low=table["low"],
        high=table["high"],
        directions=table["directions"],
        variance=table["variance"],
        clipped=bool(table.get("clipped", False)),  # runs of earlier versions do not say
    )


def valid_counts(table: Table, scene: Scene) -> list[NDArray[np.int32]]:
    """Read the valid pixels of every storage chunk, (chunk row, chunk column) per frame."""
    return [table[f"valid_per_chunk.{number}"] for number in range(len(scene.frames))]


def load_encoder(settings: EncoderSection, run: RunDirectory, device: str) -> Encoder:
    """Read the trained network of a run."""
    standard = standard_of(read_table(run.table(statistics_stage.STANDARD)))
    return load_method(settings.name).load(settings, standard, run.checkpoint_path, device)


def _crops(config: RunConfig) -> CropSettings:
    """Say what is drawn for training."""
    training = config.training
    return CropSettings(
        config.seed,
        training.steps,
        training.pairs,
        blocks=max(8, training.pairs),
        amplification=training.amplification,
    )


def _probed(config: RunConfig) -> CropSettings:
    """Say what is drawn for the probe: pairs, of which the first crops are kept."""
    seed, crops = (config.seed + PROBE_SEED) % 2**31, config.training.probe
    return CropSettings(seed, crops, 1, amplification=100, block_px_most=128)


def _probe(scene: Scene, config: RunConfig, counts: list[NDArray[np.int32]]) -> Probe:
    """Draw the crops on which the training is watched."""
    drawn = open_crops(scene, _probed(config), counts)
    pairs = [pair for batch in drawn.batches() for pair in batch]
    return Probe([pair.first for pair in pairs], [pair.frame for pair in pairs])


def _reservoir(table: Table) -> Reservoir:
    """Take the seeded sample of spectra from its table."""
    return Reservoir(table["spectra"], table["frame"])


def _patches(scene: Scene, table: Table, numbers: NDArray[np.int64], reach: int) -> NDArray[Any]:
    """Read the squares around pixels of the sample, (patch, band, y, x)."""
    frame, row, column = (
        table[name][numbers].astype(np.int64) for name in ("frame", "row", "column")
    )
    return read_patches(scene, (frame, row, column), reach)


def _neighbour_differences(encoder: Encoder, probe: Probe) -> NDArray[np.float64]:
    """Squared differences of the latents of neighbouring pixels with data, (pair,)."""
    found = [np.zeros(0)]
    for crop, frame in zip(probe.crops, probe.frames, strict=True):
        latents, valid = _middle(encoder, crop, frame)
        for axis in (1, 2):
            steps = (np.diff(latents, axis=axis) ** 2).sum(axis=0)
            both = np.diff(valid.astype(np.int8), axis=axis - 1) == 0
            mask = both & np.delete(valid, -1, axis=axis - 1)
            found.append(steps[mask & (steps > ROUNDING)].astype(np.float64))
    return np.concatenate(found)


def _middle(
    encoder: Encoder, crop: Crop, frame: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Latents (latent, y, x) of the middle of a crop, and which of its pixels have data (y, x)."""
    halo, (height, width) = encoder.halo, crop.valid.shape
    inside = slice(halo, halo + height), slice(halo, halo + width)
    whole = np.zeros((encoder.embedding_size, height + 2 * halo, width + 2 * halo), np.float32)
    embedded = encoder.embed(crop.spectra.reshape(len(crop.spectra), -1), frame)
    whole[:, *inside] = embedded.reshape(-1, height, width)
    close_gaps(whole, inside, crop.valid, encoder)
    rows, columns = (
        slice(max(0, extent - COMPARED_PX) // 2, (extent + min(extent, COMPARED_PX)) // 2)
        for extent in (height, width)
    )
    seen = whole[:, rows.start : rows.stop + 2 * halo, columns.start : columns.stop + 2 * halo]
    return encoder.refine(np.ascontiguousarray(seen)), crop.valid[rows, columns]


def _write(run: RunDirectory, trained: Trained, scale: float) -> None:
    """Keep what later stages and the page need of a training."""
    write_table(
        run.table(TABLE),
        {
            "ending": np.asarray(trained.ending),
            "losses": trained.losses,
            "check_steps": trained.check_steps,
            **{f"check.{name}": values for name, values in trained.checks.items()},
            "prototypes": trained.prototypes,
            "masses": trained.masses,
            "edge_scale": np.asarray(scale),
        },
    )


def errors_that_did_not_fall(trained: Trained, rate: float) -> list[str]:
    """Warn of what a network guesses no better than before its training, or not at all."""
    return [
        f"train: the {name} was {values[0]:.3g} at the start and is {values[-1]:.3g} after "
        f"{len(trained.losses)} steps, so the network is of no use. Choose a lower "
        f"training.learning_rate than {rate:g}, or more training.steps"
        for name, values in trained.checks.items()
        if name.endswith("error") and len(values) > 1 and not values[-1] < values[0]
    ]


def _tell_padded(context: Context) -> None:
    """Say which frames are smaller than a crop."""
    names = padded_frames(context.scene, CROP_PX)
    if names:
        more = f" and {len(names) - PADDED_SHOWN} more" if len(names) > PADDED_SHOWN else ""
        context.notify(
            Noted(
                f"train: {', '.join(names[:PADDED_SHOWN])}{more} smaller than a crop of {CROP_PX} "
                f"px, continued by reflection"
            )
        )


def _reading(stream: CropStream) -> str:
    """Say what was read for what was used."""
    counters = stream.counters
    return (
        f"train: {counters.bytes_read / 2**20:,.0f} MiB read for "
        f"{counters.bytes_used / 2**20:,.0f} MiB of crops (amplification "
        f"{counters.amplification:.2f}), {counters.blocks_read} blocks read, {counters.hits} reused"
    )
