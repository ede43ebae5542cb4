"""The command that shows what a diffusion model has learnt."""

from __future__ import annotations

from hsistream.cli.arguments import RunArgument, Show, Style
from hsistream.cli.reporting import reporting


@reporting
def reconstruct(run: RunArgument, progress: Show = Style.auto) -> None:
    """Draw how the network of a run of spectraldiff takes noise out of a square of its scene.

    The picture has the square and a spectrum with more and more noise, and both again on the
    way back from noise of step 400; it takes a minute.
    """
    from hsistream import reconstruction
    from hsistream.cli import output
    from hsistream.cli.progress import shown

    with shown(progress.value) as notify:
        found = reconstruction.reconstruct(run, notify=notify)
    output.say(str(found))
