"""The commands. Each reads its arguments, makes one call and prints the result.

Heavy libraries are imported inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from hsistream.cli.arguments import (
    Clusters,
    ConfigFile,
    Device,
    DeviceName,
    Json,
    MatchingName,
    MaxTrainMinutes,
    Memory,
    Method,
    PlannedLabels,
    RunArgument,
    RunOption,
    SceneArgument,
    Scheduler,
    Seed,
    Settings,
    Show,
    StatisticsBy,
    Style,
    Threads,
    TilePx,
)
from hsistream.cli.classify import classify
from hsistream.cli.predict import predict
from hsistream.cli.process import open_outputs, settle
from hsistream.cli.reconstruct import reconstruct
from hsistream.cli.reporting import INTERRUPTED, print_version, reporting
from hsistream.errors import MemoryBudgetError, ResourceError, SceneError

app = typer.Typer(
    name="hsistream",
    help="Maps of the materials in hyperspectral scenes of any size, without labels.\n\n"
    "Start with: hsistream ingest FILE scene.zarr, then: hsistream cluster scene.zarr\n\n"
    "Exit codes: 0 done, 1 error, 2 usage, 3 incomplete but resumable, 4 resources, "
    "5 stored data damaged or missing, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and stop.",
            callback=print_version,
            is_eager=True,
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log everything, with tracebacks.")
    ] = False,
) -> None:
    """Take the options that all commands share."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name, quiet in (("hsistream", logging.WARNING), ("rasterio", logging.ERROR)):
        logger = logging.getLogger(name)  # not the root: dask would tell all it does
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if debug else quiet)


@app.command()
@reporting
def ingest(
    sources: Annotated[
        list[Path],
        typer.Argument(
            default_factory=list,
            show_default=False,
            help="Frames: .npz .npy .mat .h5 .nc ENVI GeoTIFF .zarr, or a folder of them.",
        ),
    ],
    scene: Annotated[Path, typer.Argument(help="Scene store to make, such as scene.zarr.")],
    key: Annotated[str | None, typer.Option(help="Variable that holds the cube.")] = None,
    axes: Annotated[str | None, typer.Option(help="Order of the axes, such as yxb or byx.")] = None,
    shape: Annotated[
        str | None, typer.Option(help="Height and width of a (band, pixel) array, such as 95x95.")
    ] = None,
    mosaic: Annotated[
        bool,
        typer.Option("--mosaic", help="Rasters are tiles of one frame, placed by georeference."),
    ] = False,
    wavelength_units: Annotated[
        str | None, typer.Option(help="nm or um, if files do not say.")
    ] = None,
    no_data: Annotated[float | None, typer.Option(help="Value that means no data.")] = None,
    keep_zeros: Annotated[
        bool, typer.Option("--keep-zeros", help="Keep pixels that are zero in every band.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an old scene.")] = False,
    progress: Show = Style.auto,
    json: Json = False,
) -> None:
    """Turn files into a scene store, streamed; several files become frames of one scene."""
    from hsistream.cli import output, request
    from hsistream.cli.progress import shown
    from hsistream.readers.options import ReadOptions
    from hsistream.readers.sources import open_sources
    from hsistream.scene.ingest import IngestOptions
    from hsistream.scene.ingest import ingest as write_scene

    reading = ReadOptions(
        key=key,
        axes=axes,
        wavelength_units=wavelength_units,
        mosaic=mosaic,
        shape=request.shape(shape),
        no_data=no_data,
        keep_zeros=keep_zeros,
    )
    writing = IngestOptions(no_data=no_data, keep_zeros=keep_zeros, overwrite=overwrite)
    request.check_sources(sources, scene)
    with shown(progress.value) as notify:
        made = write_scene(open_sources(sources, reading), scene, writing, notify)
    output.as_json(output.scene_facts(made)) if json else output.scene(made)


@app.command()
@reporting
def info(scene: SceneArgument, json: Json = False) -> None:
    """Describe a scene: frames, bands, no data, brightness."""
    from hsistream.cli import output
    from hsistream.scene.scene import Scene

    found = Scene.open(scene)
    output.as_json(output.scene_facts(found)) if json else output.scene(found)


@app.command()
@reporting
def plan(
    scene: SceneArgument,
    method: Method = None,
    clusters: Clusters = None,
    run: RunOption = None,
    config: ConfigFile = None,
    settings: Settings = None,
    statistics: StatisticsBy = None,
    labels: PlannedLabels = None,
    device: DeviceName = Device.auto,
    scheduler: Scheduler = "none",
    tile: TilePx = None,
    threads: Threads = None,
    memory: Memory = None,
    no_time: Annotated[
        bool, typer.Option("--no-time", help="Estimate no time, and read no pixel.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what a run will need, stage by stage; its time is measured on small cuts of the scene."""
    from hsistream import planning
    from hsistream.calibration import estimate_times
    from hsistream.cli import output, request
    from hsistream.scene.scene import Scene

    options = {"cluster.clusters": clusters, "statistics.by": statistics, "classify.labels": labels}
    asked = request.config(method, config, options, settings)
    execution = request.execution(tile, scheduler, threads, memory, device.value)
    opened = Scene.open(scene)
    asked = request.counted(opened, asked)
    found = planning.plan(opened, asked, execution, run)
    times = None
    if found.fits and not no_time and asked.classify is None:
        try:
            times = estimate_times(opened, asked, execution)
        except (MemoryBudgetError, ResourceError, SceneError) as error:  # of a cut, not the scene
            sys.stderr.write(f"warning: no time can be estimated. {error}\n")
    output.as_json(output.plan_facts(found, times)) if json else output.plan(found, times)
    planning.refuse(found, execution)


@app.command()
@reporting
def cluster(
    scene: SceneArgument,
    method: Method = None,
    clusters: Clusters = None,
    run: RunOption = None,
    config: ConfigFile = None,
    settings: Settings = None,
    seed: Seed = None,
    statistics: StatisticsBy = None,
    max_train_minutes: MaxTrainMinutes = None,
    device: DeviceName = Device.auto,
    scheduler: Scheduler = "none",
    tile: TilePx = None,
    threads: Threads = None,
    memory: Memory = None,
    progress: Show = Style.auto,
    json: Json = False,
) -> None:
    """Make a map of the materials of a scene; repeated, it finishes an interrupted run."""
    from hsistream import pipeline
    from hsistream.cli import output, request
    from hsistream.cli.progress import shown
    from hsistream.runtime.cluster import connect
    from hsistream.scene.scene import Scene

    options = {
        "cluster.clusters": clusters,
        "seed": seed,
        "statistics.by": statistics,
        "training.minutes": max_train_minutes,
    }
    asked = request.config(method, config, options, settings)
    execution = request.execution(tile, scheduler, threads, memory, device.value)
    opened = Scene.open(scene)
    directory = run or pipeline.default_directory(opened, asked)
    with shown(progress.value) as notify, connect(scheduler) as client:
        done = pipeline.run(
            opened, asked, directory, execution=execution, client=client, notify=notify
        )
    output.as_json(output.run_facts(done)) if json else output.run(done)


@app.command()
@reporting
def relabel(
    run: RunArgument,
    clusters: Annotated[int, typer.Option("--clusters", min=1, help="New number of clusters.")],
    scheduler: Scheduler = "none",
    tile: TilePx = None,
    threads: Threads = None,
    memory: Memory = None,
    progress: Show = Style.auto,
    json: Json = False,
) -> None:
    """Change the number of clusters of a run of dgc or of a -paper method; nothing is trained."""
    from hsistream import pipeline
    from hsistream.cli import output, request
    from hsistream.cli.progress import shown
    from hsistream.runtime.cluster import connect

    execution = request.execution(tile, scheduler, threads, memory, "auto")
    with shown(progress.value) as notify, connect(scheduler) as client:
        done = pipeline.relabel(run, clusters, execution=execution, client=client, notify=notify)
    output.as_json(output.run_facts(done)) if json else output.run(done)


app.command()(predict)
app.command()(classify)
app.command()(reconstruct)


@app.command()
@reporting
def status(run: RunArgument, json: Json = False) -> None:
    """Say how far a run is; ends with 3 if it is incomplete."""
    from hsistream import pipeline
    from hsistream.cli import output

    stages = pipeline.status(run)
    output.as_json(output.status_facts(run, stages)) if json else output.status(run, stages)
    if not all(stage.done for stage in stages):
        raise typer.Exit(3)


@app.command()
@reporting
def evaluate(
    run: RunArgument,
    truth: Annotated[
        Path,
        typer.Option(
            help="Reference labels, 0 = unlabelled: npz, npy, mat, GeoTIFF, ENVI, zarr or a "
            "folder; or points, polygons (GeoJSON, GeoPackage, shapefile) or places in a CSV."
        ),
    ],
    key: Annotated[
        str | None, typer.Option(help="Variable or layer that holds the labels.")
    ] = None,
    field: Annotated[
        str, typer.Option(help="Column or field of the class, of CSV, points and polygons.")
    ] = "class",
    mosaic: Annotated[
        bool, typer.Option("--mosaic", help="The truth is a folder of GeoTIFF tiles of one frame.")
    ] = False,
    frame: Annotated[str | None, typer.Option(help="Frame to score. [default: all]")] = None,
    matching: Annotated[
        MatchingName, typer.Option(help="square: as in the DS2DL paper.")
    ] = MatchingName.rectangular,
    json: Json = False,
) -> None:
    """Score a finished run against reference labels; adds the scores to its page."""
    from hsistream.cli import output
    from hsistream.evaluation import evaluate as score
    from hsistream.evaluation import read_truth
    from hsistream.readers.labelled import LabelOptions

    options = LabelOptions(key=key, frame=frame, field=field)
    reference = read_truth(truth, run, options, mosaic=mosaic)
    found = score(run, reference, frame=frame, matching=matching.value)
    output.as_json(found.to_json()) if json else output.scores(found)


@app.command()
@reporting
def report(run: RunArgument, json: Json = False) -> None:
    """Write the page of a finished run again, and print where it is."""
    from hsistream.cli import output
    from hsistream.evaluation import rewrite_report

    done = rewrite_report(run)
    of_classes = done.config().classify is not None
    described = output.classes_facts if of_classes else output.run_facts
    printed = output.classes if of_classes else output.run
    output.as_json(described(done)) if json else printed(done)


@app.command()
@reporting
def export(
    run: RunArgument,
    folder: Annotated[Path, typer.Argument(help="Folder for one GeoTIFF per frame.")],
) -> None:
    """Write the label maps as Cloud-Optimised GeoTIFFs, one per frame."""
    from hsistream.cli import output
    from hsistream.evaluation import export_labels

    for path in export_labels(run, folder):
        output.say(str(path))


@app.command()
@reporting
def methods(
    settings: Annotated[
        bool, typer.Option("--settings", help="Print every setting with its default, as TOML.")
    ] = False,
    method: Method = None,
) -> None:
    """List the methods, or the settings of one."""
    from hsistream.cli import output

    output.settings(method) if settings or method else output.methods()


@app.command()
@reporting
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the scene and the run.")] = Path(
        "demo"
    ),
    progress: Show = Style.auto,
) -> None:
    """Make a synthetic scene of three frames, cluster it, and score it."""
    from hsistream.cli import output
    from hsistream.cli.progress import shown
    from hsistream.demo import run_demo

    with shown(progress.value) as notify:
        done, found = run_demo(folder, notify)
    output.run(done)
    output.say()
    output.scores(found)


def main() -> None:
    """Run the command line."""
    open_outputs()
    settle()
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # threads end their tiles; who asks again need not wait
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise
