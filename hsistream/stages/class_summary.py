"""What the page says of classes that were learnt from labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsistream.classifiers.splits import TRAIN
from hsistream.report.facts import ClassificationSummary, ClusterSummary
from hsistream.runs import RunDirectory
from hsistream.sections import ClassifySection
from hsistream.stages import divide as divide_stage
from hsistream.stages import examine as examine_stage
from hsistream.stages import learn as learn_stage
from hsistream.stores.tables import Table, read_table


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
        split=describe_split(settings, int(places["apart_px"]), _taught(places)),
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


def _taught(places: Table) -> tuple[int, int]:
    """Fewest and most labels of a class that a split has learnt from."""
    counts = [np.bincount(places["number"][own]) for own in places["roles"] == TRAIN]
    known = [int(count) for each in counts for count in each[each > 0]]
    return min(known, default=0), max(known, default=0)


def describe_split(settings: ClassifySection, apart_px: int, taught: tuple[int, int]) -> str:
    """Say in words how labels were divided into what is learnt from and what is tested.

    ``taught`` are the fewest and the most labels of a class that are learnt from.
    """
    low, high = taught
    noun = "label" if high == 1 else "labels"
    each = f"{high} {noun} of each class" if low == high else f"{low} to {high} {noun} of a class"
    if settings.split == "fraction":
        return f"{settings.fraction:.3g} of the labels of each class, wherever they lie"
    if settings.split == "random":
        return f"{each}, wherever they lie"
    return (
        f"{each} in {settings.block_share:.0%} of the blocks of {settings.block_px} px; tested in "
        f"the others, at least {apart_px} px from all that was learnt from"
    )
