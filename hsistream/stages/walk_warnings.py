"""What a walk between the frames of a scene tells about them, said where it matters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hsistream.events import Notify, Warned
from hsistream.graph.nodes import Nodes
from hsistream.graph.walk import Walk, frame_returns
from hsistream.scene.scene import Scene

APART = 0.9
"""Share of a frame's mass at landmarks that returns to it, above which it is on its own."""

LONG = 1000
"""Steps of a walk that settles so late that there are more groups than clusters."""


def tell_of_walk(
    nodes: Nodes, walk: Walk, time: int, clusters: int, scene: Scene, notify: Notify
) -> NDArray[np.float64]:
    """Warn of what the walk of several frames tells, and give :func:`frame_returns`, (frame,)."""
    returns = frame_returns(nodes, walk)
    if walk.recall is not None:
        notify(
            Warned(
                f"Links across the scene were found approximately: of those that were looked at, "
                f"{walk.recall:.1%} lead to the nearest nodes"
            )
        )
    if walk.bridge is not None:
        names = [scene.frames[frame].name for frame in np.unique(nodes.places.frame).tolist()]
        for message in (*_of_frames(names, returns), *_of_groups(walk, time, clusters)):
            notify(Warned(message))
    return returns


def _of_frames(names: list[str], returns: NDArray[np.float64]) -> Iterator[str]:
    """Say which frames are on their own."""
    apart = [name for name, share in zip(names, returns, strict=True) if share > APART]
    if len(names) > 1 and apart:
        shown = ", ".join(apart[:3]) + (f" and {len(apart) - 3} more" if len(apart) > 3 else "")
        yield (
            f"Hardly any landmark is shared by {shown} and the other frames: they show other "
            f"materials, or the same in another light. If it is the light, consider --set "
            f"statistics.illumination=l2"
        )


def _of_groups(walk: Walk, time: int, clusters: int) -> Iterator[str]:
    """Say if there are other groups than clusters that are asked for."""
    found = len(walk.spectrum.eigenvalues)
    if walk.components > clusters:
        yield (
            f"The scene falls into {walk.components} groups of superpixels that have neither "
            f"neighbours nor landmarks in common, more than the {clusters} clusters"
        )
    elif found < clusters:
        yield (
            f"The frames have {found} groups of superpixels in common, fewer than the {clusters} "
            f"clusters: the others may be divided by chance"
        )
    elif time > LONG:
        yield (
            f"The walk between superpixels settles after {time:,} steps only: there are more "
            f"nearly separate groups than the {clusters} clusters"
        )
