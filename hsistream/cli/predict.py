"""The command that labels new frames by a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsistream.cli.arguments import (
    Device,
    DeviceName,
    Groups,
    Json,
    LearntRun,
    Memory,
    SceneArgument,
    Scheduler,
    Show,
    Style,
    Threads,
    TilePx,
)
from hsistream.cli.reporting import reporting


@reporting
def predict(
    scene: SceneArgument,
    run: LearntRun,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the result. [default: beside the scene]")
    ] = None,
    group: Groups = None,
    device: DeviceName = Device.auto,
    scheduler: Scheduler = "none",
    tile: TilePx = None,
    threads: Threads = None,
    memory: Memory = None,
    progress: Show = Style.auto,
    json: Json = False,
) -> None:
    """Label frames that a finished run has never seen, by what it has learnt; nothing is fitted.

    The frames need its bands and units, and get its labels: label 3 is the same material in both.
    The result is a run directory of its own, for status, evaluate, export and report; repeated,
    the command finishes an interrupted one. RUN may have been made by any method of cluster
    but s2dl-paper and ds2dl-paper, whose clusters cannot be carried on.
    """
    from hsistream import prediction
    from hsistream.cli import output, request
    from hsistream.cli.progress import shown
    from hsistream.runtime.cluster import connect
    from hsistream.scene.scene import Scene

    execution = request.execution(tile, scheduler, threads, memory, device.value)
    opened, groups = Scene.open(scene), request.groups(group)
    with shown(progress.value) as notify, connect(scheduler) as client:
        done = prediction.predict(
            opened, run, out, groups=groups, execution=execution, client=client, notify=notify
        )
    output.as_json(output.run_facts(done)) if json else output.run(done)
