"""Stage 7: the page, from tables and pictures only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.events import StageStarted
from hsistream.manifest import Manifest
from hsistream.report.facts import (
    ClusterSummary,
    FramePicture,
    MergeSummary,
    PageFacts,
    SeamSummary,
    StageSummary,
    TrainingSummary,
)
from hsistream.report.page import write_page
from hsistream.report.picture import write_picture
from hsistream.report.quicklook import false_colour
from hsistream.runs import (
    CONFIDENCE,
    CONFIDENCE_STEPS,
    INDEX,
    LABELS,
    NO_CONFIDENCE,
    NO_LABEL,
    SUPERPIXELS,
    RunDirectory,
)
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs, labelling, look_up_sample, reservoir_pixels
from hsistream.stages import assign as assign_stage
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import encode as encode_stage
from hsistream.stages import segment as segment_stage
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import train as train_stage
from hsistream.stages import walks as walks_stage
from hsistream.stages.class_summary import classification_summary, named
from hsistream.stages.pictures import PICTURE_PIXELS, picture_step
from hsistream.stores.tables import Table, read_table

CHECK = "check."
"""What the names of the checks begin with in the table of a training."""


def run(context: Context) -> None:
    """Write the page and the picture."""
    context.notify(StageStarted("report", 1))
    context.run.drop_scores()
    write(context.run, context.scene, None)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs: pictures, and the spectra of the reservoir."""
    pixels = reservoir_pixels(scene, config)
    shown = min(scene.pixels, PICTURE_PIXELS)
    spectra = pixels * scene.bands * (scene.itemsize + 8)
    driver = {"pictures": 60 * shown, "reservoir spectra": spectra}
    if config.classify is None and config.cluster.head == "prototypes":
        latents = encode_stage.latent_count(scene, config)
        driver |= {
            "prototypes of pictures": 12 * shown,
            "latents of the reservoir": 4 * pixels * latents,
        }
    return Needs(tiles=0, task={}, driver=driver, disk_bytes=4 * 2**20)


def write(run: RunDirectory, scene: Scene, scores: Mapping[str, Any] | None) -> None:
    """Write page and picture of a run whose labels are done."""
    frames = frame_pictures(run, scene)
    facts = page_facts(run, scene, frames, scores)
    write_page(facts, run.page_path)
    classes = facts.classification
    write_picture(frames, run.picture_path, classes.names if classes else ())


def page_facts(
    run: RunDirectory,
    scene: Scene,
    frames: tuple[FramePicture, ...],
    scores: Mapping[str, Any] | None,
) -> PageFacts:
    """Collect what the page shows."""
    config, manifest = run.config(), run.manifest()
    classes = classification_summary(run)
    clusters = {} if classes else read_table(run.table(cluster_stage.TABLE))
    suggested = not config.kmeans and config.learnt is None and not classes
    summaries = cluster_summaries(run, scene, reservoir_labels(run, clusters))
    if classes:
        summaries = named(summaries, classes.names)
    return PageFacts(
        title=scene.uri.rsplit("/", 1)[-1],
        method=config.method,
        scene=scene_facts(scene),
        frames=frames,
        clusters=summaries,
        wavelengths_nm=scene.wavelengths_nm,
        good_bands=scene.good_bands,
        eigenvalues=clusters.get("eigenvalues") if suggested else None,
        clusters_used=len(summaries),
        clusters_suggested=int(clusters["suggested"]) if suggested else None,
        stages=stage_summaries(manifest),
        config_toml=config.to_toml(),
        warnings=(*manifest.warnings, *scene.notes),
        scores=scores,
        training=training_summary(run, config),
        merging=merge_summary(config, clusters),
        seams=seam_summary(run),
        learnt_by=config.learnt.run if config.learnt else None,
        classification=classes,
    )


def stage_summaries(manifest: Manifest) -> list[StageSummary]:
    """Tell what every stage cost."""
    return [
        StageSummary(name, record.elapsed_s, record.peak_bytes)
        for name, record in manifest.stages.items()
    ]


def training_summary(run: RunDirectory, config: RunConfig) -> TrainingSummary | None:
    """Tell how the network was trained; None without one, or where another run has trained it."""
    if config.encoder is None or config.learnt is not None:
        return None
    table = read_table(run.table(train_stage.TABLE))
    return TrainingSummary(
        ending=str(table["ending"]),
        asked_steps=config.training.steps,
        patience=config.training.patience,
        losses=table["losses"],
        check_steps=table["check_steps"],
        checks={
            name.removeprefix(CHECK): values
            for name, values in table.items()
            if name.startswith(CHECK)
        },
    )


def merge_summary(config: RunConfig, clusters: Table) -> MergeSummary | None:
    """Tell how prototypes were merged; None where they were not, or another run has merged them."""
    if not _merges(config):
        return None
    return MergeSummary(
        measure=config.cluster.merge,
        used=clusters["used"],
        linkage=clusters["tree"],
        labels=clusters["lookup"],
        pixels=clusters["usage"],
    )


def _merges(config: RunConfig) -> bool:
    """Tell whether prototypes are merged in a run."""
    by_others = config.learnt is not None or config.classify is not None
    return config.cluster.head == "prototypes" and not by_others


def seam_summary(run: RunDirectory) -> SeamSummary | None:
    """Tell how often labels change where superpixels were cut; None where no seam is."""
    changes = labelling.seam_changes(run)
    return None if changes is None else SeamSummary(run.config().segment.tile_px, changes)


def scene_facts(scene: Scene) -> dict[str, str]:
    """Describe a scene in words, in the order in which a reader asks."""
    good = sum(scene.good_bands)
    facts = {
        "scene": scene.uri,
        "frames": f"{len(scene.frames)}",
        "pixels": f"{scene.pixels:,}",
        "pixels with data": f"{scene.valid_pixels:,}",
        "bands": f"{scene.bands}, {good} of them used",
    }
    if scene.wavelengths_nm:
        low, high = min(scene.wavelengths_nm), max(scene.wavelengths_nm)
        facts["wavelengths"] = f"{low:.0f} to {high:.0f} nm"
    return facts


def frame_pictures(run: RunDirectory, scene: Scene) -> tuple[FramePicture, ...]:
    """Turn the gathered samples into pictures."""
    samples = read_table(run.table(statistics_stage.PICTURES))
    labels = read_table(run.table(labelling.TABLE))
    prototypes = prototype_pictures(run, scene)
    superpixels = superpixel_pictures(run, scene)
    numbers = range(len(scene.frames))
    maps = [labels[f"{LABELS}.{number}"] for number in numbers]
    shown = [samples[str(number)] for number in numbers]
    colours = false_colour(shown, [each != NO_LABEL for each in maps])
    return tuple(
        FramePicture(
            name=frame.name,
            shape=frame.shape,
            step=picture_step(scene),
            colour=colours[number],
            labels=maps[number],
            confidence=_unpacked(labels[f"{CONFIDENCE}.{number}"]),
            prototypes=None if prototypes is None else prototypes[number],
            superpixels=None if superpixels is None else superpixels[number],
            modes=None if superpixels is None else mode_places(run, scene, number),
        )
        for number, frame in enumerate(scene.frames)
    )


def prototype_pictures(run: RunDirectory, scene: Scene) -> list[NDArray[np.uint16]] | None:
    """Read the prototypes of every frame's picture; None where they were not merged here."""
    config = run.config()
    if not _merges(config):
        return None
    assigned = read_table(run.table(assign_stage.TABLE))
    return [assigned[f"{INDEX}.{number}"] for number in range(len(scene.frames))]


def superpixel_pictures(run: RunDirectory, scene: Scene) -> list[NDArray[np.int64]] | None:
    """Read the superpixels of every frame's picture; None where a run has none."""
    if not run.config().has_superpixels:
        return None
    table = read_table(run.table(segment_stage.TABLE))
    return [table[f"{SUPERPIXELS}.{number}"] for number in range(len(scene.frames))]


def mode_places(run: RunDirectory, scene: Scene, frame: int) -> NDArray[np.int64]:
    """Find where the modes of a frame lie on its picture, (mode, 2)."""
    joint = run.config().cluster.head == "joint"
    table = walks_stage.TABLE if joint else cluster_stage.TABLE
    modes = read_table(run.table(table))["modes"]
    return np.asarray(modes[modes[:, 0] == frame, 1:] // picture_step(scene))


def reservoir_labels(run: RunDirectory, clusters: Table) -> NDArray[np.uint16]:
    """Read the labels (pixel,) of the reservoir."""
    config = run.config()
    if config.learnt is None and config.classify is None:
        return np.asarray(clusters["reservoir_label"])
    return np.asarray(read_table(run.table(look_up_sample.TABLE))["label"])


def cluster_summaries(
    run: RunDirectory, scene: Scene, of_pixel: NDArray[np.uint16]
) -> tuple[ClusterSummary, ...]:
    """Describe every cluster: its size, and its spectra in the reservoir of these labels."""
    pixels = read_table(run.table(labelling.TABLE))["pixels"]
    spectra = read_table(run.table(statistics_stage.RESERVOIR))["spectra"]
    return tuple(
        _summarise(label, pixels[:, label], spectra[of_pixel == label], scene)
        for label in range(pixels.shape[1])
    )


def _summarise(
    label: int, pixels: NDArray[np.int64], spectra: NDArray[np.generic], scene: Scene
) -> ClusterSummary:
    """Describe one cluster."""
    known = spectra.astype(np.float64) if len(spectra) else np.full((1, scene.bands), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):  # bad bands hold anything
        mean, std = known.mean(axis=0), known.std(axis=0)
    return ClusterSummary(
        label, int(pixels.sum()), _area_m2(pixels, scene), mean, std, len(spectra)
    )


def _area_m2(pixels: NDArray[np.int64], scene: Scene) -> float | None:
    """Area of pixel counts (frame,), square metres; None if a frame has no metric grid."""
    total = 0.0
    for count, frame in zip(pixels, scene.frames, strict=True):
        area = frame.georeference.pixel_area_m2() if frame.georeference else None
        if area is None:
            return None
        total += area * int(count)
    return total


def _unpacked(confidence: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn stored confidence into 0 to 1, NaN = no data."""
    values = confidence.astype(np.float32) / CONFIDENCE_STEPS
    return np.where(confidence == NO_CONFIDENCE, np.float32(np.nan), values)
