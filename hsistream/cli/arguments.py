"""The arguments and options that commands share, with their help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Style(StrEnum):
    """How progress is shown."""

    auto = "auto"
    bar = "bar"
    log = "log"
    none = "none"


class Device(StrEnum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Statistics(StrEnum):
    """Over which frames spectra are standardised together."""

    scene = "scene"
    frame = "frame"
    group = "group"


class MatchingName(StrEnum):
    """How clusters are matched to classes."""

    rectangular = "rectangular"
    square = "square"


class ClassifierName(StrEnum):
    """What makes classes of features."""

    lda = "lda"
    logistic = "logistic"
    transformer = "transformer"
    ctssfm = "ctssfm"


class SplitChoice(StrEnum):
    """How labels are divided for scores."""

    random = "random"
    fraction = "fraction"
    blocks = "blocks"


SceneArgument = Annotated[Path, typer.Argument(help="Scene store made by: hsistream ingest.")]
RunArgument = Annotated[Path, typer.Argument(help="Run directory made by: hsistream cluster.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Show = Annotated[
    Style, typer.Option("--progress", help="Progress on stderr; auto: bars on a terminal.")
]
Method = Annotated[
    str | None,
    typer.Option("--method", help="Preset; see: hsistream methods. [default: consensus]"),
]
Clusters = Annotated[
    int | None, typer.Option("--clusters", min=1, help="Number of clusters. [default: estimated]")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings; see: methods --settings.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, section.key=value; may be repeated; wins."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed. [default: 0]")]
StatisticsBy = Annotated[
    Statistics | None,
    typer.Option(
        "--statistics",
        help="Standardise spectra over the scene, each frame, or groups of frames (named by "
        "--set statistics.groups.FRAME=GROUP). [default: scene]",
    ),
]
Scheduler = Annotated[
    str, typer.Option(help="none (threads), local:N (processes) or a dask scheduler's address.")
]
TilePx = Annotated[
    int | None,
    typer.Option("--tile", help="Tile side, px. [default: the largest that fits the memory]"),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Tiles at once without a scheduler. [default: cores]")
]
Memory = Annotated[
    str | None, typer.Option(help='Limit such as "4 GiB". [default: half of the machine]')
]
DeviceName = Annotated[
    Device, typer.Option("--device", help="Where latents are made; auto: a GPU if there is one.")
]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="Run directory. [default: beside the scene]")
]
MaxTrainMinutes = Annotated[
    float | None,
    typer.Option(
        min=0.01, help="Stop training after so long; the map is of what was learnt until then."
    ),
]
LearntRun = Annotated[Path, typer.Option("--run", help="Finished run whose labels are wanted.")]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        help="FRAME=GROUP, a statistics group of the run for each frame; with groups only.",
    ),
]
LabelsFile = Annotated[
    Path,
    typer.Option(
        "--labels",
        help="Labels: a raster (0 = unlabelled), points or polygons (.geojson .gpkg .shp), or a "
        ".csv of x, y, class.",
    ),
]
PlannedLabels = Annotated[
    Path | None,
    typer.Option("--labels", help="Plan a map of these labels; its time is not estimated."),
]
