"""One self-contained page about a run, and one picture of its map.

The page needs no network and no library: pictures, styles and script are part
of the file. What it shows comes in as plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from hsistream.report.figures import plot_eigenvalues, plot_spectra
from hsistream.report.palette import NO_DATA_RGB, css_colours, palette, scale_colours
from hsistream.report.quicklook import CONFIDENCE_STEPS, label_image, stride_for
from hsistream.runs import NO_LABEL

FEW_FRAMES = 3
"""At most so many frames have a row of the page each."""
LARGE_FRAMES = 24
"""Frames after this many are shown as small pictures."""
LARGE_PIXELS, LARGE_LIMITS_PX = 5_000_000, (200, 1600)
"""Pixels that all large pictures share, and how long one may be."""
SMALL_PIXELS, SMALL_LIMITS_PX = 1_500_000, (32, 160)
"""The same for the small ones."""

SPECTRA_BOX = (64.0, 12.0, 980.0, 352.0)
EIGENVALUES_BOX = (64.0, 28.0, 620.0, 252.0)
"""Left, top, right and bottom of the axes in their pictures."""

PICTURE_FRAMES, PICTURE_LABELS = 6, 40
"""At most so many frames and legend entries in the picture."""

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


@dataclass(frozen=True)
class FramePicture:
    """One frame, taken down by ``step`` along both axes.

    ``shape`` is the (y, x) size of the whole frame; ``colour`` is (y, x, 3)
    uint8, ``labels`` (y, x) uint16 with 65535 where there is no data,
    ``confidence`` (y, x) float32 from 0 to 1 with NaN where there is no data.
    """

    name: str
    shape: tuple[int, int]
    step: int
    colour: NDArray[np.uint8]
    labels: NDArray[np.uint16]
    confidence: NDArray[np.float32]


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster: its size, and the (band,) mean and deviation of ``sampled`` of its pixels."""

    label: int
    pixels: int
    area_m2: float | None
    mean: NDArray[Any]
    std: NDArray[Any]
    sampled: int


@dataclass(frozen=True)
class StageSummary:
    """What one stage cost."""

    name: str
    elapsed_s: float
    peak_bytes: int
    detail: str = ""


@dataclass(frozen=True)
class PageFacts:
    """Everything the page says.

    ``scene`` holds facts about the scene in their order; ``wavelengths_nm``
    may be empty; ``scores`` is what :meth:`~hsistream.report.scores.Scores.to_json`
    gives.
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
        "share": "{:.1%}".format,
    }
    colours = css_colours(_label_count(facts))
    template = environment.from_string(_packaged("template.html.j2"))
    return template.render(
        facts=facts,
        run_name=run_name,
        style=Markup(_packaged("page.css")),
        script=Markup(_packaged("page.js")),
        colours=colours,
        paper=_css(NO_DATA_RGB),
        scale=[_css(colour) for colour in scale_colours(CONFIDENCE_STEPS).tolist()],
        galleries=_galleries(facts.frames, palette(len(colours))),
        pixels=sum(cluster.pixels for cluster in facts.clusters),
        largest_m2=max((cluster.area_m2 or 0 for cluster in facts.clusters), default=0),
        largest=max((cluster.pixels for cluster in facts.clusters), default=0),
        spectra=_spectra(facts, colours),
        spectra_box=SPECTRA_BOX,
        eigenvalues=_eigenvalues(facts),
        eigenvalues_box=EIGENVALUES_BOX,
        score_names=SCORES,
    )


def write_picture(frames: Sequence[FramePicture], path: Path) -> None:
    """Write false colour and label map of the first six frames as one PNG.

    Parameters
    ----------
    frames : sequence of FramePicture
        The frames, side by side; a single frame has its map beside it, several
        have theirs below.
    path : Path
        The PNG file; it is replaced once the new one is whole.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure

    shown = list(frames[:PICTURE_FRAMES])
    colours = palette(_largest_label(shown) + 1)
    rows, columns = (1, 2) if len(shown) == 1 else (2, max(1, len(shown)))
    figure = Figure(figsize=_picture_inches(shown, rows, columns), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for frame, photograph, label_map in zip(shown, axes, axes[len(shown) :], strict=False):
        photograph.imshow(frame.colour)
        photograph.set_title(frame.name, fontsize=10)
        label_map.imshow(label_image(frame.labels, colours), interpolation="nearest")
        label_map.set_facecolor(_css(NO_DATA_RGB))
        label_map.set_title("clusters", fontsize=10)
    for each in axes:
        each.set(xticks=[], yticks=[], anchor="N")
        each.spines[:].set_visible(False)
    _add_legend(figure, shown, colours)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


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


@dataclass(frozen=True, slots=True)
class _FrameView:
    """A frame as the template draws it: sizes in px of its pictures, which are data URIs."""

    name: str
    shape: tuple[int, int]
    step: int
    height: int
    width: int
    colour: str
    labels: str
    confidence: str


@dataclass(frozen=True, slots=True)
class _Gallery:
    """Frames shown at one size."""

    size: Literal["few", "many", "small"]
    frames: list[_FrameView]


def _galleries(frames: Sequence[FramePicture], colours: NDArray[np.uint8]) -> list[_Gallery]:
    """Thin and embed the pictures of all frames."""
    large, small = frames[:LARGE_FRAMES], frames[LARGE_FRAMES:]
    large_px = _limit_px(len(large), LARGE_PIXELS, LARGE_LIMITS_PX)
    small_px = _limit_px(len(small), SMALL_PIXELS, SMALL_LIMITS_PX)
    return [
        _Gallery(
            "few" if len(large) <= FEW_FRAMES else "many",
            [_frame_view(frame, colours, large_px) for frame in large],
        ),
        _Gallery("small", [_frame_view(frame, colours, small_px) for frame in small]),
    ]


def _limit_px(frames: int, pixels: int, limits_px: tuple[int, int]) -> int:
    """Share pixels among frames: how long and wide each picture may be."""
    return max(limits_px[0], min(limits_px[1], isqrt(pixels // max(1, frames))))


def _frame_view(frame: FramePicture, colours: NDArray[np.uint8], limit_px: int) -> _FrameView:
    """Thin and embed the pictures of one frame."""
    step = stride_for(frame.labels.shape, limit_px)
    thin = (slice(None, None, step), slice(None, None, step))
    labels = frame.labels[thin]
    return _FrameView(
        name=frame.name,
        shape=frame.shape,
        step=frame.step * step,
        height=labels.shape[0],
        width=labels.shape[1],
        colour=embed.photograph(np.ascontiguousarray(frame.colour[thin])),
        labels=embed.label_map(labels, colours),
        confidence=embed.confidence_map(frame.confidence[thin]),
    )


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


def _label_count(facts: PageFacts) -> int:
    """Count the colours that the page needs."""
    listed = max((cluster.label for cluster in facts.clusters), default=-1)
    return 1 + max(listed, _largest_label(facts.frames))


def _largest_label(frames: Sequence[FramePicture]) -> int:
    """Find the largest label on any picture; -1 if there is none."""
    known = (frame.labels[frame.labels != NO_LABEL] for frame in frames)
    return max((int(labels.max()) for labels in known if labels.size), default=-1)


def _css(colour: Sequence[int]) -> str:
    """Write a colour for a style sheet."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _packaged(name: str) -> str:
    """Read a text that lies beside this module."""
    return (files("hsistream.report") / name).read_text(encoding="utf-8")


def _picture_inches(frames: Sequence[FramePicture], rows: int, columns: int) -> tuple[float, float]:
    """Choose the size of the picture from those of its frames."""
    tallest = max((frame.shape[0] / frame.shape[1] for frame in frames), default=1.0)
    width = max(2.4, 9.6 / columns)
    height = min(9.0, max(0.6, width * tallest)) + 0.25
    return columns * width, rows * height + 0.4


def _add_legend(figure: Any, frames: Sequence[FramePicture], colours: NDArray[np.uint8]) -> None:
    """Name the labels below the pictures."""
    from matplotlib.patches import Patch

    found: set[int] = set().union(*(np.unique(frame.labels).tolist() for frame in frames))
    known = sorted(found - {NO_LABEL})[:PICTURE_LABELS]
    patches = [Patch(color=_css(colours[label].tolist()), label=str(label)) for label in known]
    if patches:
        figure.legend(
            handles=patches, loc="outside lower center", ncols=min(len(patches), 12),
            frameon=False, fontsize=9, handlelength=1.1, handleheight=1.1, columnspacing=1.2,
        )  # fmt: skip
