"""The stream: every stage, what it needs, what it writes, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.stages import (
    Stage,
    adopt,
    assign,
    carry,
    classify,
    cluster,
    codebooks,
    count,
    cut,
    describe,
    diffuse,
    divide,
    encode,
    examine,
    gather,
    label,
    learn,
    look_up_sample,
    lookup,
    merge,
    nodes,
    recall,
    region_lookup,
    report,
    segment,
    standardise,
    statistics,
    train,
    views,
    walk_table,
    walks,
)

STATISTICS = Stage(
    name="statistics",
    version=4,
    needs=(),
    sections=("seed", "statistics", "reservoir", "projected"),
    writes=("statistics.npz", "reservoir.npz", "pictures.npz", "standard.npz"),
    run=statistics.run,
    estimate=statistics.estimate,
)

TRAIN = Stage(
    name="train",
    version=3,
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
        version=2,
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

ASSIGN = Stage(
    name="assign",
    version=2,
    needs=("encode",),
    sections=(),
    writes=("index.zarr", "assigned.npz"),
    run=assign.run,
    estimate=assign.estimate,
)

LOOKUP = Stage(
    name="label",
    version=1,
    needs=("cluster",),
    sections=(),
    writes=("labels.zarr", "labels.npz"),
    run=lookup.run,
    estimate=lookup.estimate,
)

PROTOTYPES = (
    ASSIGN,
    Stage(
        name="cluster",
        version=1,
        needs=("assign",),
        sections=("cluster",),
        writes=("clusters.npz",),
        run=merge.run,
        estimate=merge.estimate,
    ),
    LOOKUP,
)
"""Labels from the prototypes of the network, merged."""

SUPERPIXELS = (
    Stage(
        name="cut",
        version=1,
        needs=("statistics",),
        sections=("segment",),
        writes=("cuts.zarr", "cut.npz"),
        run=cut.run,
        estimate=cut.estimate,
    ),
    Stage(
        name="segment",
        version=4,
        needs=("cut",),
        sections=(),
        writes=("superpixels.zarr", "superpixels.npz"),
        run=segment.run,
        estimate=segment.estimate,
    ),
    Stage(
        name="describe",
        version=4,
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
    version=2,
    needs=("describe",),
    sections=("codebooks", "cluster"),
    writes=("walks.npz", "walk.npz"),
    run=walks.run,
    estimate=nodes.estimate,
)

DIFFUSION = (
    Stage(
        name="cluster",
        version=2,
        needs=("describe",),
        sections=("cluster",),
        writes=("clusters.npz", "walk.npz"),
        run=diffuse.run,
        estimate=nodes.estimate,
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


ADOPT = Stage(
    name="adopt",
    version=1,
    needs=(),
    sections=("learnt",),
    writes=(),  # as many as the head needs: see adopt.written
    run=adopt.run,
    estimate=adopt.estimate,
)

STANDARDISE = Stage(
    name="statistics",
    version=1,
    needs=("adopt",),
    sections=("seed", "statistics", "reservoir"),
    writes=("statistics.npz", "reservoir.npz", "pictures.npz", "standard.npz"),
    run=standardise.run,
    estimate=statistics.estimate,
)

SAMPLE = Stage(
    name="sample",
    version=1,
    needs=("label",),
    sections=(),
    writes=("sample.npz",),
    run=look_up_sample.run,
    estimate=look_up_sample.estimate,
)

RECALL = Stage(
    name="label",
    version=1,
    needs=("statistics", "encode", "walks"),
    sections=(),
    writes=("labels.zarr", "labels.npz"),
    run=recall.run,
    estimate=recall.estimate,
)

CARRY = Stage(
    name="walks",
    version=1,
    needs=("describe",),
    sections=(),
    writes=("walks.npz",),
    run=carry.run_codes,
    estimate=nodes.estimate,
)

DESCRIBED = (
    replace(SUPERPIXELS[0], writes=("cuts.zarr",)),
    SUPERPIXELS[1],
    replace(SUPERPIXELS[2], writes=("regions.npz",)),
)
"""Superpixels, compared by what they are compared by in the run that has learnt."""

BY_LEARNT: Mapping[str, tuple[Stage, ...]] = MappingProxyType(
    {
        "consensus": (RECALL,),
        "prototypes": (ASSIGN, replace(LOOKUP, needs=("assign",))),
        "diffusion": (
            *DESCRIBED,
            replace(CARRY, name="cluster", writes=("clusters.npz",), run=carry.run_labels),
            DIFFUSION[-1],
        ),
        "joint": (*DESCRIBED, CARRY, RECALL),
    }
)
"""Labels of new frames by what each head has learnt; ``adopt.TABLES`` names what that is."""


DIVIDE = Stage(
    name="divide",
    version=3,
    needs=("statistics",),
    sections=("seed", "classify", "encoder"),
    writes=("labelled.npz",),
    run=divide.run,
    estimate=divide.estimate,
)

CLASSIFY = (
    Stage(
        name="gather",
        version=2,
        needs=("divide", "encode"),
        sections=(),
        writes=("lesson.npz",),
        run=gather.run,
        estimate=gather.estimate,
    ),
    Stage(
        name="learn",
        version=4,
        needs=("gather",),
        sections=(),
        writes=("classifiers/map.safetensors", "learning.npz"),
        run=learn.run,
        estimate=learn.estimate,
    ),
    Stage(
        name="examine",
        version=1,
        needs=("learn",),
        sections=(),
        writes=("examined.npz",),
        run=examine.run,
        estimate=examine.estimate,
    ),
    Stage(
        name="label",
        version=1,
        needs=("learn",),
        sections=(),
        writes=("labels.zarr", "labels.npz"),
        run=classify.run,
        estimate=classify.estimate,
    ),
    SAMPLE,
    replace(REPORT, needs=("label", "examine", "sample")),
)
"""Classes from labelled pixels."""


def stream(config: RunConfig) -> tuple[Stage, ...]:
    """List the stages of a run, in order.

    Raises
    ------
    ConfigError
        If new frames were to be labelled by what the head of the run cannot hand on.
    """
    if config.learnt is not None:
        return _by_learnt(config)
    network = (TRAIN, ENCODE) if config.encoder else ()
    if config.classify is not None:
        return (STATISTICS, DIVIDE, *network, *CLASSIFY)
    return (STATISTICS, *network, *HEADS[config.cluster.head], REPORT)


def _by_learnt(config: RunConfig) -> tuple[Stage, ...]:
    """List the stages of a run that labels by what another one has learnt."""
    if config.has_superpixels and not walk_table.kept(config.graph):
        raise ConfigError(
            f"predict needs a run whose walk can be carried on to new frames: graph.alpha above 0, "
            f"graph.distant_neighbours 0 and graph.assignment ward or kmeans, but those of method "
            f"{config.method} are {config.graph.alpha:g}, {config.graph.distant_neighbours} and "
            f"{config.graph.assignment}. Learn with --method s2dl, or with one without superpixels."
        )
    network = (replace(ENCODE, needs=("statistics",)),) if config.encoder else ()
    adopted = replace(ADOPT, writes=adopt.written(config))
    return (adopted, STANDARDISE, *network, *BY_LEARNT[config.cluster.head], SAMPLE, REPORT)
