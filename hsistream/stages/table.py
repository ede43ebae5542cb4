"""The stream: every stage, what it needs, what it writes, in order."""

from hsistream.stages import (
    Stage,
    cluster,
    codebooks,
    count,
    label,
    report,
    statistics,
    views,
)

STAGES = (
    Stage(
        name="statistics",
        version=1,
        needs=(),
        sections=("seed", "statistics", "reservoir", "views"),
        writes=("statistics.npz", "reservoir.npz", "pictures.npz"),
        run=statistics.run,
        estimate=statistics.estimate,
    ),
    Stage(
        name="views",
        version=1,
        needs=("statistics",),
        sections=(),
        writes=("views.npz",),
        run=views.run,
        estimate=views.estimate,
    ),
    Stage(
        name="codebooks",
        version=1,
        needs=("views",),
        sections=("codebooks", "cluster"),
        writes=("codebooks.npz",),
        run=codebooks.run,
        estimate=codebooks.estimate,
    ),
    Stage(
        name="count",
        version=1,
        needs=("codebooks",),
        sections=(),
        writes=("codes.zarr", "counts.npz"),
        run=count.run,
        estimate=count.estimate,
    ),
    Stage(
        name="cluster",
        version=1,
        needs=("count",),
        sections=(),
        writes=("clusters.npz",),
        run=cluster.run,
        estimate=cluster.estimate,
    ),
    Stage(
        name="label",
        version=1,
        needs=("cluster",),
        sections=(),
        writes=("labels.zarr", "labels.npz"),
        run=label.run,
        estimate=label.estimate,
    ),
    Stage(
        name="report",
        version=1,
        needs=("label",),
        sections=(),
        writes=("report/page.html", "report/map.png"),
        run=report.run,
        estimate=report.estimate,
    ),
)
"""The consensus head, in order."""
