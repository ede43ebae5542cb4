"""One self-contained page about a run.

The page needs no network and no library: pictures, styles and script are part
of the file. What it shows comes in as plain values.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from hsistream.files import replacing
from hsistream.report import embed
from hsistream.report.class_figures import class_view
from hsistream.report.facts import (
    FramePicture,
    PageFacts,
    counted,
    describe_ending,
    describe_merging,
    describe_seams,
    format_area,
    format_bytes,
    format_duration,
    largest_label,
)
from hsistream.report.figures import plot_eigenvalues, plot_spectra
from hsistream.report.folding import Fold
from hsistream.report.merge_figures import MergePlot, plot_merging
from hsistream.report.palette import (
    NO_DATA_RGB,
    css_colour,
    css_colours,
    palette,
    scale_colours,
    shades,
)
from hsistream.report.quicklook import SHOWN_STEPS, outlined, stride_for
from hsistream.report.training_figures import CheckPlot, LossPlot, plot_checks, plot_losses
from hsistream.runs import NO_LABEL

FEW_FRAMES = 3
"""At most so many frames have a row of the page each."""
LARGE_FRAMES = 24
"""Frames after this many are shown as small pictures."""
LARGE_PIXELS, LARGE_LIMITS_PX = 5_000_000, (200, 1600)
"""Pixels that all large pictures share, and how long one may be."""
SMALL_PIXELS, SMALL_LIMITS_PX = 1_500_000, (32, 160)
"""The same for the small ones."""
LAYERS = 3
"""Pictures of a frame without prototypes; with a fourth, each has fewer pixels."""
OUTLINE_SCALE = 5
"""How much a picture is enlarged for the outlines of superpixels, at most."""

SPECTRA_BOX = (64.0, 12.0, 980.0, 352.0)
EIGENVALUES_BOX = (64.0, 28.0, 620.0, 252.0)
LOSSES_BOX = (64.0, 12.0, 620.0, 252.0)
CHECKS_BOX = (46.0, 10.0, 290.0, 110.0)
"""Left, top, right and bottom of the axes in their pictures."""

SCORES = {
    "oa": "Overall accuracy (one-to-one)",
    "oa_majority": "Overall accuracy (majority)",
    "aa": "Average accuracy",
    "kappa": "Cohen's kappa",
    "nmi": "Normalised mutual information",
    "ari": "Adjusted Rand index",
    "purity": "Purity",
    "mean_iou": "Mean intersection over union",
}
"""Scores in the order of the page, and what they are called there."""


def write_page(facts: PageFacts, path: Path) -> None:
    """Write the page of a run.

    Parameters
    ----------
    facts : PageFacts
        What to say.
    path : Path
        The HTML file; it is replaced once the new one is whole. The example on
        the page takes the folder above the file's own for that of the run.

    Raises
    ------
    StoreError
        If the file cannot be written.

    Notes
    -----
    Pictures are thinned so that the page stays below about 15 MB whatever the
    number of frames.
    """
    text = render_page(facts, run_name=path.absolute().parent.parent.name)
    with replacing(path) as partial:
        partial.write_bytes(text.encode())


def render_page(facts: PageFacts, run_name: str) -> str:
    """Make the text of the page; ``run_name`` is the folder that its example opens."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "count": "{:,}".format,
        "area": format_area,
        "memory": format_bytes,
        "duration": format_duration,
        "counted": counted,
        "share": "{:.1%}".format,
    }
    colours = css_colours(_label_count(facts))
    merging = _merging(facts, palette(len(colours)), run_name)
    galleries = _galleries(facts.frames, palette(len(colours)), merging)
    template = environment.from_string(_packaged("template.html.j2"))
    return template.render(
        facts=facts,
        classes=_classes(facts, environment, colours),
        axes=_axes(environment),
        noun="class" if facts.classification else "cluster",
        nouns="classes" if facts.classification else "clusters",
        run_name=run_name,
        style=_style(facts),
        script=Markup(_packaged("page.js")),
        colours=colours,
        paper=css_colour(NO_DATA_RGB),
        scale=[css_colour(colour) for colour in scale_colours(SHOWN_STEPS).tolist()],
        galleries=galleries,
        shows_prototypes=any(frame.prototypes for each in galleries for frame in each.frames),
        shows_superpixels=any(frame.superpixels for each in galleries for frame in each.frames),
        pixels=sum(cluster.pixels for cluster in facts.clusters),
        largest_m2=max((cluster.area_m2 or 0 for cluster in facts.clusters), default=0),
        largest=max((cluster.pixels for cluster in facts.clusters), default=0),
        spectra=_spectra(facts, colours),
        spectra_box=SPECTRA_BOX,
        eigenvalues=_eigenvalues(facts),
        eigenvalues_box=EIGENVALUES_BOX,
        training=_training(facts),
        losses_box=LOSSES_BOX,
        checks_box=CHECKS_BOX,
        merging=merging,
        seams=facts.seams and describe_seams(facts.seams),
        prototype_script=Markup(_packaged("prototypes.js")),
        score_names=SCORES,
    )


@dataclass(frozen=True, slots=True)
class _FrameView:
    """A frame as the template draws it; its pictures are data URIs, folded in px of theirs."""

    name: str
    shape: tuple[int, int]
    step: int
    fold: Fold
    colour: str
    labels: str
    confidence: str
    prototypes: str | None
    superpixels: str | None

    @property
    def height(self) -> int:
        """Rows of every picture, px."""
        return self.fold.shape[0]

    @property
    def width(self) -> int:
        """Columns of every picture, px."""
        return self.fold.shape[1]


@dataclass(frozen=True, slots=True)
class _Gallery:
    """Frames shown at one size."""

    size: Literal["few", "many", "small"]
    frames: list[_FrameView]


@dataclass(frozen=True, slots=True)
class _TrainingView:
    """A training as the template draws it."""

    ending: str
    losses: LossPlot | None
    checks: list[CheckPlot]


@dataclass(frozen=True, slots=True)
class _MergeView:
    """A merge tree as the template draws it; ``shades`` (prototype, 3) colour its leaves.

    ``command`` asks for another number of clusters, where there can be one.
    """

    words: str
    plot: MergePlot
    shades: NDArray[np.uint8]
    command: str | None

    @property
    def colours(self) -> list[str | None]:
        """CSS colour of every prototype on the map, None for those that are on none."""
        used = {leaf.prototype for leaf in self.plot.leaves}
        return [
            css_colour(colour) if number in used else None
            for number, colour in enumerate(self.shades.tolist())
        ]


def _galleries(
    frames: Sequence[FramePicture], colours: NDArray[np.uint8], merging: _MergeView | None
) -> list[_Gallery]:
    """Thin and embed the pictures of all frames."""
    shown, part = (None, 1.0) if merging is None else (merging.shades, LAYERS / (LAYERS + 1))
    large, small = frames[:LARGE_FRAMES], frames[LARGE_FRAMES:]
    large_px = _limit_px(len(large), int(part * LARGE_PIXELS), LARGE_LIMITS_PX)
    small_px = _limit_px(len(small), int(part * SMALL_PIXELS), SMALL_LIMITS_PX)
    return [
        _Gallery(
            "few" if len(large) <= FEW_FRAMES else "many",
            [_frame_view(frame, colours, shown, large_px) for frame in large],
        ),
        _Gallery("small", [_frame_view(frame, colours, shown, small_px) for frame in small]),
    ]


def _limit_px(frames: int, pixels: int, limits_px: tuple[int, int]) -> int:
    """Share pixels among frames: how long and wide each picture may be."""
    return max(limits_px[0], min(limits_px[1], isqrt(pixels // max(1, frames))))


def _frame_view(
    frame: FramePicture,
    colours: NDArray[np.uint8],
    of_prototypes: NDArray[np.uint8] | None,
    limit_px: int,
) -> _FrameView:
    """Thin, fold and embed the pictures of one frame."""
    step = stride_for(Fold.of(frame.labels.shape).shape, limit_px)
    thin = (slice(None, None, step), slice(None, None, step))
    fold = Fold.of(frame.labels[thin].shape)

    def shown(picture: NDArray[Any], fill: Any) -> NDArray[Any]:
        return np.ascontiguousarray(fold.apply(picture[thin], fill))

    colour = shown(frame.colour, NO_DATA_RGB)
    prototypes, superpixels = None, None
    if frame.prototypes is not None and of_prototypes is not None:
        prototypes = embed.sparse_map(shown(frame.prototypes, NO_LABEL), of_prototypes)
    if frame.superpixels is not None and frame.modes is not None:
        # enlarged as long as there is room
        scale = max(1, min(OUTLINE_SCALE, limit_px // max(fold.shape)))
        regions, modes = shown(frame.superpixels, -1), fold.place(frame.modes // step)
        superpixels = embed.photograph(outlined(colour, regions, modes, scale))
    return _FrameView(
        name=frame.name,
        shape=frame.shape,
        step=frame.step * step,
        fold=fold,
        colour=embed.photograph(colour),
        labels=embed.label_map(shown(frame.labels, NO_LABEL), colours),
        confidence=embed.confidence_map(shown(frame.confidence, np.nan)),
        prototypes=prototypes,
        superpixels=superpixels,
    )


def _classes(facts: PageFacts, environment: Environment, colours: Sequence[str]) -> Markup | None:
    """Draw what there is to say of classes learnt from labels, if there are any."""
    found = facts.classification
    if found is None:
        return None
    template = environment.from_string(_packaged("classes.html.j2"))
    text = template.render(
        view=class_view(found),
        scores=found.scores,
        colours=colours,
        axes=_axes(environment),
        losses=plot_losses(found.losses, LOSSES_BOX),
        losses_box=LOSSES_BOX,
    )
    return Markup(text)


def _axes(environment: Environment) -> Any:
    """Give the macro that draws axes."""
    macros: Any = environment.from_string(_packaged("axes.html.j2")).module
    return macros.axes


def _spectra(facts: PageFacts, colours: Sequence[str]) -> Any:
    """Draw the spectra of all clusters that have any."""
    known = [cluster for cluster in facts.clusters if cluster.sampled]
    spectra = [(each.label, colours[each.label], each.mean, each.std) for each in known]
    return plot_spectra(spectra, facts.wavelengths_nm, facts.good_bands, SPECTRA_BOX)


def _eigenvalues(facts: PageFacts) -> Any:
    """Draw the eigenvalues if there are any."""
    if facts.eigenvalues is None:
        return None
    return plot_eigenvalues(
        facts.eigenvalues, facts.clusters_used, facts.clusters_suggested, EIGENVALUES_BOX
    )


def _training(facts: PageFacts) -> _TrainingView | None:
    """Draw how a network was trained, if there is one."""
    training = facts.training
    if training is None:
        return None
    return _TrainingView(
        describe_ending(training),
        plot_losses(training.losses, LOSSES_BOX),
        plot_checks(training.check_steps, training.checks, CHECKS_BOX),
    )


def _merging(facts: PageFacts, colours: NDArray[np.uint8], run_name: str) -> _MergeView | None:
    """Draw how prototypes were merged, if they were."""
    merging = facts.merging
    if merging is None:
        return None
    used = merging.used
    labels, pixels = merging.labels[used], merging.pixels[used]
    plot = plot_merging(merging.linkage, used, labels, pixels, facts.clusters_used)
    if plot is None:
        return None
    shown = colours[merging.labels]
    order = [leaf.prototype for leaf in plot.leaves]
    shown[order] = shades(colours, merging.labels[order])
    words = describe_merging(merging, facts.clusters_used)
    return _MergeView(words, plot, shown, _relabel(facts, run_name))


def _relabel(facts: PageFacts, run_name: str) -> str | None:
    """Write the command that asks for another number of clusters: the suggested one, or one more.

    None where there is but one prototype in use.
    """
    assert facts.merging is not None, "asked only where prototypes were merged"
    used, most = facts.clusters_used, len(facts.merging.used)
    wanted = [facts.clusters_suggested, used + 1, used - 1]
    other = next((each for each in wanted if each and each != used and 1 <= each <= most), None)
    if other is None:
        return None
    return f"hsistream relabel {shlex.quote(run_name)} --clusters {other}"


def _style(facts: PageFacts) -> Markup:
    """Join the styles of what the page shows."""
    names = ["page.css"]
    if facts.training is not None or facts.merging is not None or facts.classification:
        names.append("network.css")
    return Markup("".join(map(_packaged, names)))


def _label_count(facts: PageFacts) -> int:
    """Count the colours that the page needs."""
    listed = max((cluster.label for cluster in facts.clusters), default=-1)
    merged = -1 if facts.merging is None else int(facts.merging.labels.max(initial=-1))
    return 1 + max(listed, merged, largest_label(facts.frames))


def _packaged(name: str) -> str:
    """Read a text that lies beside this module."""
    return (files("hsistream.report") / name).read_text(encoding="utf-8")
