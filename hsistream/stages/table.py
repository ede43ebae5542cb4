"""The stream: every stage, what it needs, what it writes, in order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hsistream.config import RunConfig
from hsistream.stages import (
    Stage,
    assign,
    cluster,
    codebooks,
    count,
    describe,
    diffuse,
    encode,
    label,
    lookup,
    merge,
    region_lookup,
    report,
    segment,
    statistics,
    train,
    views,
    walks,
)

STATISTICS = Stage(
    name="statistics",
    version=3,
    needs=(),
    sections=("seed", "statistics", "reservoir", "projected"),
    writes=("statistics.npz", "reservoir.npz", "pictures.npz", "standard.npz"),
    run=statistics.run,
    estimate=statistics.estimate,
)

TRAIN = Stage(
    name="train",
    version=2,
    needs=("statistics",),
    sections=("seed", "encoder", "training"),
    writes=("training.npz", "checkpoint"),
    run=train.run,
    estimate=train.estimate,
)

ENCODE = Stage(
    name="encode",
    version=2,
    needs=("train",),
    sections=(),
    writes=("latents.zarr", "latents.npz"),
    run=encode.run,
    estimate=encode.estimate,
)

CODEBOOKS = (
    Stage(
        name="views",
        version=1,
        needs=("statistics", "encode"),
        sections=("views",),
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
)
"""Many small codebooks of several views."""

LANDMARKS = (
    Stage(
        name="count",
        version=1,
        needs=("codebooks", "walks"),
        sections=(),
        writes=("codes.zarr", "counts.npz"),
        run=count.run,
        estimate=count.estimate,
    ),
    Stage(
        name="cluster",
        version=2,
        needs=("count",),
        sections=(),
        writes=("clusters.npz",),
        run=cluster.run,
        estimate=cluster.estimate,
    ),
    Stage(
        name="label",
        version=2,
        needs=("cluster",),
        sections=(),
        writes=("labels.zarr", "labels.npz"),
        run=label.run,
        estimate=label.estimate,
    ),
)
"""Labels from codebooks that are counted together."""

PROTOTYPES = (
    Stage(
        name="assign",
        version=2,
        needs=("encode",),
        sections=(),
        writes=("index.zarr", "assigned.npz"),
        run=assign.run,
        estimate=assign.estimate,
    ),
    Stage(
        name="cluster",
        version=1,
        needs=("assign",),
        sections=("cluster",),
        writes=("clusters.npz",),
        run=merge.run,
        estimate=merge.estimate,
    ),
    Stage(
        name="label",
        version=1,
        needs=("cluster",),
        sections=(),
        writes=("labels.zarr", "labels.npz"),
        run=lookup.run,
        estimate=lookup.estimate,
    ),
)
"""Labels from the prototypes of the network, merged."""

SUPERPIXELS = (
    Stage(
        name="segment",
        version=1,
        needs=("statistics",),
        sections=("segment",),
        writes=("superpixels.zarr", "superpixels.npz"),
        run=segment.run,
        estimate=segment.estimate,
    ),
    Stage(
        name="describe",
        version=1,
        needs=("segment", "encode"),
        sections=("graph",),
        writes=("regions.npz", "reference.npz"),
        run=describe.run,
        estimate=describe.estimate,
    ),
)
"""Superpixels, and their densest pixels."""

WALKS = Stage(
    name="walks",
    version=1,
    needs=("describe",),
    sections=("codebooks", "cluster"),
    writes=("walks.npz",),
    run=walks.run,
    estimate=walks.estimate,
)

DIFFUSION = (
    Stage(
        name="cluster",
        version=1,
        needs=("describe",),
        sections=("cluster",),
        writes=("clusters.npz",),
        run=diffuse.run,
        estimate=diffuse.estimate,
    ),
    Stage(
        name="label",
        version=2,
        needs=("cluster",),
        sections=(),
        writes=("labels.zarr", "labels.npz"),
        run=region_lookup.run,
        estimate=region_lookup.estimate,
    ),
)
"""Labels of superpixels, from a walk between their densest pixels."""

REPORT = Stage(
    name="report",
    version=2,
    needs=("label",),
    sections=(),
    writes=("report/page.html", "report/map.png"),
    run=report.run,
    estimate=report.estimate,
)

HEADS: Mapping[str, tuple[Stage, ...]] = MappingProxyType(
    {
        "consensus": (*CODEBOOKS, *LANDMARKS),
        "prototypes": PROTOTYPES,
        "diffusion": (*SUPERPIXELS, *DIFFUSION),
        "joint": (*SUPERPIXELS, WALKS, *CODEBOOKS, *LANDMARKS),
    }
)
"""What ``cluster.head`` names."""


def stream(config: RunConfig) -> tuple[Stage, ...]:
    """List the stages of a run, in order."""
    network = (TRAIN, ENCODE) if config.encoder else ()
    return (STATISTICS, *network, *HEADS[config.cluster.head], REPORT)
