"""Statistics of new frames: what was learnt, and what each frame has of its own.

One pass over the scene, as for a run that learns, takes the sample of spectra and
the pictures for the page. Directions and edge scales are those that were learnt;
means and deviations are too, unless every frame is standardised by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsistream.consensus.projections import Moments, Projection
from hsistream.events import Warned
from hsistream.scene.scene import Frame, Scene
from hsistream.stages import Context
from hsistream.stages.fitting import group_table
from hsistream.stages.statistics import (
    BRIGHTNESS_RATIO,
    STANDARD,
    TABLE,
    from_table,
    measure,
    statistics_groups,
    summed_kinds,
    to_table,
    units_table,
    write_samples,
)
from hsistream.stores.tables import Table, read_table, write_table

OF_GROUPS = ("mean", "scale", "low", "high")
"""Arrays (group, feature) of how networks see spectra."""

OF_SCENE = ("good", "illumination", "wavelengths_nm", "clipped", "directions", "variance")
OF_NETWORKS = OF_SCENE + OF_GROUPS
"""All that networks see spectra by, but for the groups of the frames."""


def run(context: Context) -> None:
    """Measure the frames, and standardise them as those that were learnt from."""
    scene, run, section = context.scene, context.run, context.config.statistics
    known, seen = (read_table(run.learnt_table(name)) for name in (TABLE, STANDARD))
    _warn_of_brightness(context, known, seen)
    learnt, standard = from_table(known), {name: seen[name] for name in OF_NETWORKS}
    groups, group_of_frame = statistics_groups(scene, section)
    if section.by == "frame":
        measured = measure(context, summed_kinds(context.config))
        moments = {kind: measured.moments(kind) for kind in summed_kinds(context.config)}
        projections = tuple(_measured(each, moments) for each in learnt.projections)
        standard |= group_table(measured, moments["raw"])
    else:
        measured = measure(context, ())
        rows = [learnt.groups.index(group) for group in groups]
        projections = tuple(_taken(each, rows) for each in learnt.projections)
        standard |= {name: standard[name][rows] for name in OF_GROUPS}
    constants = replace(
        learnt, groups=groups, group_of_frame=group_of_frame, projections=projections
    )
    write_samples(context, measured)
    write_table(run.table(STANDARD), standard | {"group_of_frame": group_of_frame})
    write_table(run.table(TABLE), to_table(constants) | units_table(scene))


def strangest_frame(scene: Scene, known: Table, standard: Table) -> tuple[Frame, float] | None:
    """Find the frame whose brightness is farthest from all that were learnt from, by a factor.

    The factor is 1 where it lies among them. Brightness of 0 or less has no factors: what
    counts then is how far from 0 a frame is, as a multiple of those that were learnt from
    and of the deviation of their spectra. None where no frame has data.
    """
    frames = [frame for frame in scene.frames if frame.valid_pixels]
    if not frames:
        return None
    factors = [_brightness_factor(frame.brightness, known, standard) for frame in frames]
    farthest = int(np.argmax(factors))
    return frames[farthest], factors[farthest]


def _brightness_factor(level: float, known: Table, standard: Table) -> float:
    """Tell by which factor a brightness differs from all that were learnt from."""
    low, high = float(known["brightness"].min()), float(known["brightness"].max())
    if min(low, level) > 0:
        return max(1.0, level / high, low / level)
    scale = standard["scale"]
    deviation = 1 / float(np.median(scale[scale > 0]))
    return max(1.0, abs(level) / max(abs(low), abs(high), deviation))


def _warn_of_brightness(context: Context, known: Table, standard: Table) -> None:
    """Say so if frames are of another brightness, and nothing undoes it."""
    section, found = context.config.statistics, strangest_frame(context.scene, known, standard)
    if section.by != "scene" or section.illumination != "none" or found is None:
        return
    frame, factor = found
    if factor >= BRIGHTNESS_RATIO:
        learnt = context.config.learnt
        assert learnt is not None, "the stream has this stage only where another run has learnt"
        context.notify(
            Warned(
                f"{frame.name} differs in brightness by a factor of {factor:.2f} from all frames "
                f"that {learnt.run} has learnt from. If it is the light or the exposure, "
                f"learn with --set statistics.illumination=l2, or with --statistics frame"
            )
        )


def _measured(projection: Projection, moments: dict[str, Moments]) -> Projection:
    """Standardise frames by their own moments, along the directions that were learnt."""
    if projection.unit_norm:
        mean = moments["unit"].mean
        return replace(projection, mean=mean, scale=np.ones_like(mean))
    return replace(projection, mean=moments["raw"].mean, scale=moments["raw"].scale())


def _taken(projection: Projection, rows: Sequence[int]) -> Projection:
    """Standardise by some of the groups that were learnt."""
    return replace(projection, mean=projection.mean[rows], scale=projection.scale[rows])
