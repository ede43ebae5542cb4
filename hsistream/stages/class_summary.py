"""What the page says of classes that were learnt from labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsistream.report.facts import ClassificationSummary, ClusterSummary
from hsistream.runs import RunDirectory
from hsistream.sections import ClassifySection
from hsistream.stages import divide as divide_stage
from hsistream.stages import examine as examine_stage
from hsistream.stages import learn as learn_stage
from hsistream.stores.tables import read_table


def classification_summary(run: RunDirectory) -> ClassificationSummary | None:
    """Tell how classes were learnt; None for clusters."""
    settings = run.config().classify
    if settings is None:
        return None
    places = read_table(run.table(divide_stage.TABLE))
    scores = read_table(run.table(examine_stage.TABLE))
    learning = read_table(run.table(learn_stage.TABLE))
    count = len(places["names"])
    return ClassificationSummary(
        names=tuple(places["names"].tolist()),
        features=" + ".join(settings.features),
        classifier=settings.classifier,
        split=describe_split(settings, int(places["apart_px"])),
        labelled=np.bincount(places["number"], minlength=count),
        learnt=np.bincount(places["number"][places["final"]], minlength=count),
        confusion=scores["confusion"],
        confidence=scores["confidence"].sum(axis=0),
        right=scores["right"].sum(axis=0),
        judged=scores["judged"].sum(axis=0),
        losses=learning[f"losses.{learn_stage.MAP}"],
    )


def named(summaries: Sequence[ClusterSummary], names: Sequence[str]) -> tuple[ClusterSummary, ...]:
    """Name the clusters that are classes."""
    return tuple(replace(each, name=names[each.label]) for each in summaries)


def describe_split(settings: ClassifySection, apart_px: int) -> str:
    """Say in words how labels were divided into what is learnt from and what is tested."""
    each = f"{settings.per_class} labels of each class"
    if settings.split == "fraction":
        return f"{settings.fraction:.3g} of the labels of each class, wherever they lie"
    if settings.split == "random":
        return f"{each}, wherever they lie"
    return (
        f"{each} in {settings.block_share:.0%} of the blocks of {settings.block_px} px; tested in "
        f"the others, at least {apart_px} px from all that was learnt from"
    )
