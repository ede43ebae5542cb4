"""Time the masked autoencoder: python benchmarks/masked.py [--bands 204] [--repeats 5].

Encodes squares of random features on one thread with the profiles fast and paper, as
the stage ``encode`` does but without reading and writing: processor milliseconds per
pixel, fewest, median and most of several squares. Nothing is trained, since the time
does not depend on the weights. A second table changes one setting of the profile fast
at a time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from hsistream.methods.umae import SQUARE_PX, TOKENS_AT_ONCE, make_network
from hsistream.network_sections import UmaeSection

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {"profile": "paper"},
    "fast": {},
    "fast, six heads": {"heads": 6},
    "fast, 41 tokens": {"tokens": 41},
    "fast, bfloat16": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bands", type=int, default=204)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| profile | fewest, ms per pixel | median | most |\n|---|---|---|---|")
    for name, settings in VARIANTS.items():
        section = UmaeSection(name="umae", **settings)
        timed = encoder(section, asked.bands, narrow="bfloat16" in name)
        found = sorted(per_pixel_ms(timed, asked.bands, section) for _ in range(asked.repeats))
        print(f"| {name} | {found[0]:.3f} | {np.median(found):.3f} | {found[-1]:.3f} |", flush=True)


def encoder(section: UmaeSection, bands: int, narrow: bool) -> Callable[[torch.Tensor], Any]:
    """Make an untrained network, and what encodes a square (band, y, x) with it."""
    network = make_network(section, bands, seed=0).eval()

    @torch.inference_mode()
    def encode(square: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16) if narrow else nullcontext():
            embedded = network.embed(square.flatten(1)).reshape(-1, *square.shape[1:])
            windows = embedded.unfold(1, section.patch_px, 1).unfold(2, section.patch_px, 1)
            rows = max(1, TOKENS_AT_ONCE // (network.shape.tokens + 1) // windows.shape[2])
            for part in torch.split(windows, rows, dim=1):
                network.latents(part.permute(1, 2, 0, 3, 4).flatten(3).flatten(0, 1))

    return encode


def per_pixel_ms(encode: Callable[[torch.Tensor], Any], bands: int, section: UmaeSection) -> float:
    """Processor time of one square, milliseconds for each of its pixels."""
    side = SQUARE_PX + 2 * section.reach
    square = torch.rand(bands, side, side)
    start = time.process_time()
    encode(square)
    return (time.process_time() - start) * 1e3 / SQUARE_PX**2


if __name__ == "__main__":
    main()
