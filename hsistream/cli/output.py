"""What the commands print on stdout: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.machine import GIB
from hsistream.pipeline import StageStatus
from hsistream.planning import Plan
from hsistream.presets import CLASSIFY_PRESETS, PRESETS
from hsistream.report.facts import SeamSummary, describe_seams
from hsistream.report.scores import Scores
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages.class_summary import classification_summary
from hsistream.stages.labelling import cluster_pixels
from hsistream.stages.report import seam_summary
from hsistream.stages.statistics import brightness_advice

MIB = 2**20
FRAMES_SHOWN = 12
CLASS_COUNTS = ("labelled_pixels", "learnt_pixels", "cluster_pixels")
RESOLVED = ("prototypes = ", "least = ")
"""Beginnings of settings that are filled in from others, but may be given."""

FILLED_IN = ("fingerprint = ", "classes = ", "labelled = ")
"""Beginnings of those that the program alone fills in."""

NOTABLE_RATIO = 1.1
"""How much more often labels must change at seams than elsewhere to be told."""

PIPED_WIDTH = 200
"""Columns of a table that no terminal shows."""


def say(line: str = "") -> None:
    """Write a line to stdout."""
    sys.stdout.write(line + "\n")


def as_json(facts: Any) -> None:
    """Write one JSON object to stdout; numbers that are none become null."""
    say(json.dumps(_without_nan(facts), indent=2, default=str, allow_nan=False))


def _without_nan(facts: Any) -> Any:
    """Replace what JSON has no word for."""
    if isinstance(facts, Mapping):
        return {name: _without_nan(value) for name, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_without_nan(value) for value in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    Examples
    --------
    >>> counted(1, "frame"), counted(86, "frame")
    ('1 frame', '86 frames')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def facts(pairs: Mapping[str, str]) -> None:
    """Write names and values in two columns."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        say(f"{name:<{width}}  {value}")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """Write a table whose first ``left`` columns are text and whose others are numbers."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(heads):
        justify = "left" if number < left else "right"
        grid.add_column(head, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        grid.add_row(*map(Text, row))  # names of classes and frames are no markup
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(grid)


def scene(of: Scene) -> None:
    """Describe a scene."""
    good = sum(of.good_bands)
    pairs = {
        "scene": of.uri,
        "identity": of.identity,
        "size": f"{of.pixels:,} pixels in {counted(len(of.frames), 'frame')}, "
        f"{of.valid_pixels:,} with data",
        "bands": f"{of.bands} {of.dtype}, {good} good, {of.bands - good} bad",
    }
    if of.wavelengths_nm:
        pairs["wavelengths"] = f"{min(of.wavelengths_nm):.1f} to {max(of.wavelengths_nm):.1f} nm"
    pairs["storage"] = f"chunks of {of.chunk_px} px, shards of {of.shard_px} px, all bands"
    if of.no_data is not None:
        pairs["no data"] = f"{of.no_data:g}"
    facts(pairs)
    say()
    rows = [
        (f.name, f"{f.shape[0]} x {f.shape[1]}", f"{f.valid_pixels:,}", f"{f.brightness:.4g}",
         "yes" if f.georeference else "no")
        for f in of.frames[:FRAMES_SHOWN]
    ]  # fmt: skip
    table(["frame", "y x x, px", "with data", "brightness", "georeference"], rows)
    if len(of.frames) > FRAMES_SHOWN:
        say(f"and {len(of.frames) - FRAMES_SHOWN} more frames")
    for note in of.notes:
        say(f"note: {note}")
    advice = brightness_advice(of)
    if advice:
        say(f"note: {advice}")


def scene_facts(of: Scene) -> dict[str, Any]:
    """Describe a scene as plain values."""
    return {**asdict(of), "pixels": of.pixels, "valid_pixels": of.valid_pixels,
            "advice": brightness_advice(of)}  # fmt: skip


def run(of: RunDirectory) -> None:
    """Print where the results of a run lie, and its clusters."""
    found = run_facts(of)
    facts({name: str(found[name]) for name in ("run", "labels", "map", "page")})
    if found["learnt_by"]:
        say(f"labels are those of {found['learnt_by']}; nothing was learnt from these frames")
    elif found["estimated"]:
        say(f"{found['clusters']} clusters, estimated from the eigenvalues; --clusters sets them")
    say()
    total = max(1, sum(found["cluster_pixels"]))
    rows = [
        (str(label), f"{pixels:,}", f"{pixels / total:.1%}")
        for label, pixels in enumerate(found["cluster_pixels"])
    ]
    table(["cluster", "pixels", "share"], rows)
    seams = seam_summary(of)
    if seams and seams.changes.ratio > NOTABLE_RATIO:
        say(f"note: {describe_seams(seams)} A larger segment.tile_px leaves fewer seams.")


def run_facts(of: RunDirectory) -> dict[str, Any]:
    """Describe a finished run as plain values."""
    manifest, pixels = of.manifest(), cluster_pixels(of).tolist()
    config = of.config()
    return {
        "run": str(of.path),
        "scene": manifest.scene_uri,
        "learnt_by": config.learnt.run if config.learnt else None,
        "labels": of.labels_uri,
        "map": str(of.picture_path),
        "page": str(of.page_path),
        "clusters": len(pixels),
        "estimated": config.cluster.clusters is None,
        "cluster_pixels": pixels,
        "elapsed_s": round(sum(stage.elapsed_s for stage in manifest.stages.values()), 3),
        "peak_bytes": max(stage.peak_bytes for stage in manifest.stages.values()),
        "warnings": list(manifest.warnings),
        "seams": seam_facts(seam_summary(of)),
    }


def classes(of: RunDirectory) -> None:
    """Print where the map lies, how classes were found again, and how large they are."""
    found = classes_facts(of)
    facts({name: str(found[name]) for name in ("run", "labels", "map", "page")})
    say()
    if found["scores"]:
        say(f"over {counted(found['splits'], 'split')}: {found['split']}")
        facts({name: f"{s['mean']:.4f} ± {s['sd']:.4f}" for name, s in found["scores"].items()})
        say()
    rows = [
        (str(label), name, *(f"{found[what][label]:,}" for what in CLASS_COUNTS))
        for label, name in enumerate(found["classes"])
    ]
    table(["label", "class", "labels given", "learnt from", "pixels"], rows, left=2)


def classes_facts(of: RunDirectory) -> dict[str, Any]:
    """Describe a finished map of classes as plain values."""
    found, summary = run_facts(of), classification_summary(of)
    assert summary is not None, "asked only of maps of classes"
    del found["clusters"], found["estimated"], found["seams"]
    return {
        **found,
        "classes": list(summary.names),
        "labelled_pixels": summary.labelled.tolist(),
        "learnt_pixels": summary.learnt.tolist(),
        "splits": len(summary.confusion),
        "split": summary.split,
        "scores": summary.scores,
    }


def seam_facts(of: SeamSummary | None) -> dict[str, Any] | None:
    """Describe label changes at seams as plain values; None where there is no seam."""
    if of is None:
        return None
    changes = of.changes
    return {
        "tile_px": of.tile_px,
        **asdict(changes),
        "seam_rate": changes.seam_rate,
        "inner_rate": changes.inner_rate,
        "ratio": changes.ratio if changes.inner_changes else None,
    }


def plan(of: Plan, times: Mapping[str, float] | None) -> None:
    """Print a plan, and the estimated seconds of its stages if there are any."""
    pairs = {
        "scene": f"{of.scene_uri}: {of.pixels:,} pixels in {counted(of.frames, 'frame')}",
        "tiles": f"{of.tile_px} px, {of.workers} at once",
        "memory": f"{of.peak_bytes / GIB:.2f} GiB at most, in all processes together "
        f"(limit {of.limit_bytes / GIB:.2f} GiB, libraries {of.reserved_bytes / GIB:.2f} GiB)",
        "disk": f"{of.disk_bytes / GIB:.2f} GiB at most ({of.free_disk_bytes / GIB:.1f} free)",
    }
    if times is not None:
        pairs["time"] = f"about {duration(sum(times.values()))}, estimated from small cuts"
    facts(pairs)
    say()
    heads = ["stage", "tiles", "MiB per tile", "MiB peak", "MiB on disk"]
    rows = [
        [s.stage, str(s.tiles or "-"), f"{s.task_bytes / MIB:.0f}", f"{s.peak_bytes / MIB:.0f}",
         f"{s.disk_bytes / MIB:.0f}"]
        for s in of.stages
    ]  # fmt: skip
    if times is not None:
        heads.append("time")
        rows = [[*row, duration(times[row[0]])] for row in rows]
    table(heads, rows)


def plan_facts(of: Plan, times: Mapping[str, float] | None) -> dict[str, Any]:
    """Describe a plan as plain values, with the estimated seconds of its stages, or null."""
    if times is None:
        return {**of.to_json(), "estimated_s": None, "estimated_total_s": None}
    return {
        **of.to_json(),
        "estimated_s": {stage: round(seconds, 3) for stage, seconds in times.items()},
        "estimated_total_s": round(sum(times.values()), 3),
    }


def duration(seconds: float) -> str:
    """Write a time in the unit in which it reads best.

    Examples
    --------
    >>> [duration(seconds) for seconds in (0.04, 9.7, 80, 1000, 40_000, 10**6)]
    ['0.0 s', '9.7 s', '80 s', '17 min', '11 h', '278 h']
    """
    scales = ((120, 1, "s"), (7200, 60, "min"), (math.inf, 3600, "h"))
    size, unit = next((size, unit) for limit, size, unit in scales if seconds < limit)
    value = seconds / size
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def status_facts(directory: Path, stages: Sequence[StageStatus]) -> dict[str, Any]:
    """Describe how far a run is as plain values."""
    done = all(stage.done for stage in stages)
    return {"run": str(directory), "done": done, "stages": [asdict(stage) for stage in stages]}


def status(directory: Path, stages: Sequence[StageStatus]) -> None:
    """Print how far a run is."""
    rows = [
        (s.stage, "done" if s.done else ("begun" if s.begun else "to do"),
         str(s.finished_tiles), f"{s.elapsed_s:.1f}", f"{s.peak_bytes / MIB:.0f}")
        for s in stages
    ]  # fmt: skip
    table(["stage", "state", "tiles done", "seconds", "MiB peak"], rows, left=2)
    if not all(stage.done for stage in stages):
        say(f"incomplete: repeat the command that made {directory} to finish it")


def scores(of: Scores) -> None:
    """Print scores."""
    found = of.to_json()
    names = ("oa", "oa_majority", "aa", "kappa", "nmi", "ari", "purity", "mean_iou")
    facts({name: f"{found[name]:.4f}" for name in names})
    where = f" of {found['frame']} alone" if found["frame"] else ""
    say(f"over {found['pixels']:,} labelled pixels{where}, {found['matching']} matching")


def methods() -> None:
    """Print the presets."""
    table(["method", "what it does"], [(k, str(v["summary"])) for k, v in PRESETS.items()], left=2)
    say()
    rows = [(name, str(preset["summary"])) for name, preset in CLASSIFY_PRESETS.items()]
    table(["of classify", "features"], rows, left=2)


def settings(method: str | None) -> None:
    """Print all settings of a method with their defaults."""
    try:
        text = _of_classes(method) or RunConfig.make(method).to_toml()
    except ConfigError:  # a method that cannot estimate the number of clusters
        example = "clusters = 8"
        text = RunConfig.make(method, settings=[("cluster.clusters", 8)]).to_toml()
        text = text.replace(example, f"{example}  # an example: this method needs the number")
    # what follows from the number of clusters must not be frozen in a file for any number
    lines = (f"# {line}" if line.startswith(RESOLVED) else line for line in text.splitlines())
    say("\n".join(line for line in lines if not line.startswith(FILLED_IN)))


def _of_classes(method: str | None) -> str | None:
    """Write the settings of a method of classes; None for one of clusters."""
    if method in PRESETS or method not in CLASSIFY_PRESETS:
        return None
    example = RunConfig.make(method, settings=[("classify.labels", "labels.geojson")])
    return example.to_toml()
