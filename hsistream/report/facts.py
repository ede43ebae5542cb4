"""What the page and the picture show: plain values, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.classifiers.metrics import class_scores
from hsistream.regions.seams import LabelChanges
from hsistream.runs import NO_LABEL


@dataclass(frozen=True)
class FramePicture:
    """One frame, taken down by ``step`` along both axes.

    ``shape`` is the (y, x) size of the whole frame; ``colour`` is (y, x, 3)
    uint8, ``labels`` (y, x) uint16 with 65535 where there is no data,
    ``confidence`` (y, x) float32 from 0 to 1 with NaN where there is no data.
    ``prototypes`` (y, x) uint16, with 65535 where there is no data, are what
    the labels were merged from, where they were. ``superpixels`` (y, x) int64
    and ``modes`` (mode, 2), rows and columns of the picture, are those of a
    frame that was cut into superpixels.
    """

    name: str
    shape: tuple[int, int]
    step: int
    colour: NDArray[np.uint8]
    labels: NDArray[np.uint16]
    confidence: NDArray[np.float32]
    prototypes: NDArray[np.uint16] | None = None
    superpixels: NDArray[np.int64] | None = None
    modes: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster: its size, and the (band,) mean and deviation of ``sampled`` of its pixels.

    Classes of labelled pixels have a ``name``.
    """

    label: int
    pixels: int
    area_m2: float | None
    mean: NDArray[Any]
    std: NDArray[Any]
    sampled: int
    name: str = ""


@dataclass(frozen=True)
class StageSummary:
    """What one stage cost."""

    name: str
    elapsed_s: float
    peak_bytes: int
    detail: str = ""


@dataclass(frozen=True)
class TrainingSummary:
    """How the training of a network went.

    ``ending`` is ``finished``, ``stable``, ``minutes`` or ``floor``;
    ``asked_steps`` and ``patience`` are what was asked. ``losses`` (step,) may
    hold values that are not finite; ``checks`` maps the name of a measured
    quantity to its values (check,) at ``check_steps`` (check,).
    """

    ending: str
    asked_steps: int
    patience: int
    losses: NDArray[Any]
    check_steps: NDArray[Any]
    checks: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class MergeSummary:
    """How prototypes became clusters.

    ``linkage`` (leaf - 1, 4) is the merge tree over the prototypes ``used``
    (leaf,), in the format of :func:`scipy.cluster.hierarchy.linkage`; ``labels``
    and ``pixels`` (prototype,) are of all of them. ``measure`` is ``diffusion``
    or ``ward``.
    """

    measure: str
    used: NDArray[np.integer[Any]]
    linkage: NDArray[Any]
    labels: NDArray[np.integer[Any]]
    pixels: NDArray[np.integer[Any]]


@dataclass(frozen=True)
class SeamSummary:
    """How often labels change at the edges of tiles of ``tile_px``, where superpixels end."""

    tile_px: int
    changes: LabelChanges


@dataclass(frozen=True, eq=False)
class ClassificationSummary:
    """How classes were learnt from labels, and how well they were found again.

    ``names`` (class,) are those of the classes, ``labelled`` (class,) counts their
    labels and ``learnt`` (class,) those from which the map was learnt. ``split`` says
    in words how labels were divided; ``confusion`` (split, class, said) counts the
    pixels of every test. ``confidence``, ``right`` and ``judged`` (bin,) are sums over
    the tests, by the probability of the likeliest class. ``losses`` (step,) are of the
    classifier of the map.
    """

    names: tuple[str, ...]
    features: str
    classifier: str
    split: str
    labelled: NDArray[Any]
    learnt: NDArray[Any]
    confusion: NDArray[Any]
    confidence: NDArray[Any]
    right: NDArray[Any]
    judged: NDArray[Any]
    losses: NDArray[Any]

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Mean and deviation over the splits of overall and average accuracy, and kappa."""
        found = [class_scores(table) for table in self.confusion]
        values = {name: [getattr(each, name) for each in found] for name in ("oa", "aa", "kappa")}
        return {
            name: {"mean": float(np.mean(each)), "sd": float(np.std(each, ddof=len(each) > 1))}
            for name, each in values.items()
            if each
        }


@dataclass(frozen=True)
class PageFacts:
    """Everything the page says.

    ``scene`` holds facts about the scene in their order; ``wavelengths_nm``
    may be empty; ``scores`` is what :meth:`~hsistream.report.scores.Scores.to_json`
    gives. ``training`` is None for runs without a network, ``merging`` for
    those whose clusters are not merged prototypes, ``seams`` for those whose
    frames were not cut. ``learnt_by`` is where the run lies that has learnt the
    clusters, if it was another one. ``classification`` is None where there are no labels
    to learn from.
    """

    title: str
    method: str
    scene: Mapping[str, str]
    frames: Sequence[FramePicture]
    clusters: Sequence[ClusterSummary]
    wavelengths_nm: tuple[float, ...]
    good_bands: tuple[bool, ...]
    eigenvalues: NDArray[Any] | None
    clusters_used: int
    clusters_suggested: int | None
    stages: Sequence[StageSummary]
    config_toml: str
    warnings: Sequence[str]
    scores: Mapping[str, Any] | None
    training: TrainingSummary | None = None
    merging: MergeSummary | None = None
    seams: SeamSummary | None = None
    learnt_by: str | None = None
    classification: ClassificationSummary | None = None


def largest_label(frames: Sequence[FramePicture]) -> int:
    """Find the largest label on any picture; -1 if there is none."""
    known = (frame.labels[frame.labels != NO_LABEL] for frame in frames)
    return max((int(labels.max()) for labels in known if labels.size), default=-1)


def describe_ending(training: TrainingSummary) -> str:
    """Say in a sentence how a training ended.

    Examples
    --------
    >>> none = np.zeros(0)
    >>> describe_ending(TrainingSummary("finished", 240, 3, np.ones(240), none, {}))
    'It finished after 240 steps, as asked.'
    """
    steps, asked = counted(len(training.losses), "step"), f"{training.asked_steps:,}"
    if training.ending == "stable":
        return (
            f"It stopped after {steps} of at most {asked}, because {training.patience} checks in a "
            f"row agreed with the one before."
        )
    if training.ending == "minutes":
        return (
            f"It was out of time after {steps} of {asked}; how far it came depends on the speed of "
            f"the machine."
        )
    if training.ending == "floor":
        return (
            f"It collapsed and was taken back to the start after {steps}: the network is the one "
            f"before the first step, as if nothing had been learnt."
        )
    if not training.asked_steps:
        return "No steps were asked for: the network is its start, and nothing was learnt."
    return f"It finished after {steps}, as asked."


def describe_merging(merging: MergeSummary, clusters: int) -> str:
    """Say in a few sentences what was merged, and by what.

    Examples
    --------
    >>> labels = pixels = np.array([1, 1, 0])
    >>> found = MergeSummary("ward", np.array([0, 1]), np.array([[0, 1, 2, 2]]), labels, pixels)
    >>> describe_merging(found, 1)
    '2 prototypes of the network were merged into 1 cluster, by how alike they are. 1 more has no \
pixel.'
    """
    used = len(merging.used)
    if used == 1:
        said = "One prototype of the network has all pixels: there was nothing to merge."
    else:
        by = "how alike they are"
        if merging.measure == "diffusion":
            by = f"where they meet in the scene and {by}"
        said = (
            f"{used:,} prototypes of the network were merged into {counted(clusters, 'cluster')}, "
            f"by {by}."
        )
    unused = len(merging.labels) - used
    return (
        f"{said} {unused:,} more {'has' if unused == 1 else 'have'} no pixel." if unused else said
    )


def describe_seams(seams: SeamSummary) -> str:
    """Say in two sentences how often labels change at seams, and elsewhere.

    Examples
    --------
    >>> describe_seams(SeamSummary(64, LabelChanges(100, 12, 1000, 100)))
    'Superpixels end at the edges of tiles of 64 px. Across these seams the labels of 12.0% of all \
neighbours differ, elsewhere of 10.0%: 1.20 times as often.'
    """
    changes = seams.changes
    often = f": {changes.ratio:.2f} times as often" if changes.inner_changes else ""
    return (
        f"Superpixels end at the edges of tiles of {seams.tile_px:,} px. Across these seams the "
        f"labels of {changes.seam_rate:.1%} of all neighbours differ, elsewhere of "
        f"{changes.inner_rate:.1%}{often}."
    )


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    Examples
    --------
    >>> counted(1, "step"), counted(1200, "step")
    ('1 step', '1,200 steps')
    """
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def format_area(area_m2: float, largest_m2: float | None = None) -> str:
    """Write an area, in the unit that suits the largest one of its column.

    Examples
    --------
    >>> [format_area(area) for area in (950, 25_300, 4_560_000)]
    ['950 m²', '2.53 ha', '4.56 km²']
    >>> format_area(25_300, 4_560_000)
    '0.03 km²'
    """
    suits = area_m2 if largest_m2 is None else largest_m2
    if suits < 1e4:
        return f"{area_m2:,.0f} m²"
    if suits < 1e6:
        return f"{area_m2 / 1e4:,.2f} ha"
    return f"{area_m2 / 1e6:,.2f} km²"


def format_bytes(size_bytes: int) -> str:
    """Write an amount of memory.

    Examples
    --------
    >>> format_bytes(350_000_000), format_bytes(2_147_483_648)
    ('334 MiB', '2.00 GiB')
    """
    if size_bytes < 2**30:
        return f"{size_bytes / 2**20:,.0f} MiB"
    return f"{size_bytes / 2**30:,.2f} GiB"


def format_duration(elapsed_s: float) -> str:
    """Write a time span.

    Examples
    --------
    >>> [format_duration(elapsed) for elapsed in (0.042, 75, 7300)]
    ['0.04 s', '1 min 15 s', '2 h 1 min']
    """
    if elapsed_s < 60:
        return f"{elapsed_s:.2f} s" if elapsed_s < 10 else f"{elapsed_s:.0f} s"
    minutes, seconds = divmod(round(elapsed_s), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"
