"""The command that maps the classes of labelled pixels."""

from __future__ import annotations

from typing import Annotated

import typer

from hsistream.cli.arguments import (
    ClassifierName,
    ConfigFile,
    Device,
    DeviceName,
    Json,
    LabelsFile,
    Memory,
    RunOption,
    SceneArgument,
    Scheduler,
    Seed,
    Settings,
    Show,
    SplitChoice,
    StatisticsBy,
    Style,
    Threads,
    TilePx,
)
from hsistream.cli.reporting import reporting


@reporting
def classify(
    scene: SceneArgument,
    labels: LabelsFile,
    method: Annotated[
        str | None,
        typer.Option("--method", help="Preset of features; see: hsistream methods. [default: raw]"),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="raw, pca, mnf, mean5, latents, or several, such as raw+latents."),
    ] = None,
    classifier: Annotated[
        ClassifierName | None, typer.Option(help="What learns from labels. [default: lda]")
    ] = None,
    split: Annotated[
        SplitChoice | None,
        typer.Option(help="Which labels are tested; blocks: far from others. [default: random]"),
    ] = None,
    splits: Annotated[
        int | None, typer.Option(min=0, help="Splits for scores. [default: 10]")
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(min=1, help="Labels of each class to learn from in a split. [default: 10]"),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(help="Share of labels to learn from; of --split fraction. [default: 0.1]"),
    ] = None,
    block: Annotated[
        int | None, typer.Option(min=2, help="Side of blocks, px; of --split blocks. [default: 25]")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Variable that holds the labels.")] = None,
    frame: Annotated[str | None, typer.Option(help="The only frame with labels.")] = None,
    field: Annotated[
        str | None, typer.Option(help="Column or field of the class. [default: class]")
    ] = None,
    run: RunOption = None,
    config: ConfigFile = None,
    settings: Settings = None,
    seed: Seed = None,
    statistics: StatisticsBy = None,
    device: DeviceName = Device.auto,
    scheduler: Scheduler = "none",
    tile: TilePx = None,
    threads: Threads = None,
    memory: Memory = None,
    progress: Show = Style.auto,
    json: Json = False,
) -> None:
    """Map classes from a few labelled pixels; repeated, it finishes an interrupted run.

    All frames are mapped, also those without labels. The map is learnt from all labels; the
    scores on its page are of labels that were not learnt from, in several splits.
    """
    from hsistream import classification
    from hsistream.cli import output, request
    from hsistream.cli.progress import shown
    from hsistream.runtime.cluster import connect
    from hsistream.scene.scene import Scene

    options = {
        "classify.labels": labels,
        "classify.features": features and features.split("+"),
        "classify.classifier": classifier,
        "classify.split": request.split_of(split, fraction, block),
        "classify.splits": splits,
        "classify.per_class": per_class,
        "classify.fraction": fraction,
        "classify.block_px": block,
        "classify.key": key,
        "classify.frame": frame,
        "classify.field": field,
        "seed": seed,
        "statistics.by": statistics,
    }
    asked = request.config(method, config, options, settings)
    execution = request.execution(tile, scheduler, threads, memory, device.value)
    with shown(progress.value) as notify, connect(scheduler) as client:
        done = classification.classify(
            Scene.open(scene), asked, run, execution=execution, client=client, notify=notify
        )
    output.as_json(output.classes_facts(done)) if json else output.classes(done)
