"""Stage 7: the page, from tables and pictures only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.events import StageStarted
from hsistream.report.facts import ClusterSummary, FramePicture, PageFacts, StageSummary
from hsistream.report.page import write_page
from hsistream.report.picture import write_picture
from hsistream.report.quicklook import false_colour
from hsistream.runs import (
    CONFIDENCE,
    CONFIDENCE_STEPS,
    LABELS,
    NO_CONFIDENCE,
    NO_LABEL,
    RunDirectory,
)
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs, reservoir_pixels
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import label as label_stage
from hsistream.stages import statistics as statistics_stage
from hsistream.stages.pictures import PICTURE_PIXELS, picture_step
from hsistream.stores.tables import Table, read_table


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
    return Needs(tiles=0, task={}, driver=driver, disk_bytes=4 * 2**20)


def write(run: RunDirectory, scene: Scene, scores: Mapping[str, Any] | None) -> None:
    """Write page and picture of a run whose labels are done."""
    frames = frame_pictures(run, scene)
    write_page(page_facts(run, scene, frames, scores), run.page_path)
    write_picture(frames, run.picture_path)


def page_facts(
    run: RunDirectory,
    scene: Scene,
    frames: tuple[FramePicture, ...],
    scores: Mapping[str, Any] | None,
) -> PageFacts:
    """Collect what the page shows."""
    config, manifest = run.config(), run.manifest()
    clusters = read_table(run.table(cluster_stage.TABLE))
    return PageFacts(
        title=scene.uri.rsplit("/", 1)[-1],
        method=config.method,
        scene=scene_facts(scene),
        frames=frames,
        clusters=cluster_summaries(run, scene, clusters),
        wavelengths_nm=scene.wavelengths_nm,
        good_bands=scene.good_bands,
        eigenvalues=None if config.kmeans else clusters.get("eigenvalues"),
        clusters_used=int(clusters["clusters"]),
        clusters_suggested=None if config.kmeans else int(clusters["suggested"]),
        stages=[
            StageSummary(name, record.elapsed_s, record.peak_bytes)
            for name, record in manifest.stages.items()
        ],
        config_toml=config.to_toml(),
        warnings=(*manifest.warnings, *scene.notes),
        scores=scores,
    )


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
    labels = read_table(run.table(label_stage.TABLE))
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
        )
        for number, frame in enumerate(scene.frames)
    )


def cluster_summaries(
    run: RunDirectory, scene: Scene, clusters: Table
) -> tuple[ClusterSummary, ...]:
    """Describe every cluster: its size, and its spectra in the reservoir."""
    pixels = read_table(run.table(label_stage.TABLE))["pixels"]
    spectra = read_table(run.table(statistics_stage.RESERVOIR))["spectra"]
    of_pixel = clusters["reservoir_label"]
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
