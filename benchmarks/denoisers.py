"""What it costs to encode a pixel with a denoiser: python benchmarks/denoisers.py.

For profiles of diffcrn and spectraldiff, an encoder of random weights encodes one square
of its usual size that does not begin at a multiple of its windows. Prints multiply-adds
for each pixel of the square, as torch counts them while they are done, what lies around
the square included; and processor microseconds for a pixel on one thread, the least, the
median and the most of some repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from hsistream.config import RunConfig
from hsistream.methods import diffcrn_model, load_method, spectraldiff_model
from hsistream.methods.base import Encoder, Place, Standard
from hsistream.methods.diffcrn_encoder import WindowEncoder
from hsistream.methods.spectraldiff import _Encoder as SpectraldiffEncoder
from hsistream.nn.exact import one_thread

CASES: Mapping[str, Mapping[str, Any]] = {
    "diffcrn, lite": {"name": "diffcrn"},
    "diffcrn, lite, five time steps": {"name": "diffcrn", "latents": "stages"},
    "diffcrn, paper": {"name": "diffcrn", "profile": "paper"},
    "diffcrn, paper, five time steps": {"name": "diffcrn", "profile": "paper", "latents": "stages"},
    "spectraldiff, lite": {"name": "spectraldiff"},
    "spectraldiff, lite, tap 1": {"name": "spectraldiff", "tap": 1},
    "spectraldiff, base, tap 1": {"name": "spectraldiff", "profile": "base", "tap": 1},
    "spectraldiff, paper, tap 1": {"name": "spectraldiff", "profile": "paper", "tap": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, help="of the square, px; the usual one by default")
    asked = parser.parse_args()
    with one_thread():
        print_costs(asked)


def print_costs(asked: argparse.Namespace) -> None:
    """Print what each case costs, one line after the other."""
    from torch.utils.flop_counter import FlopCounterMode

    print(f"| {asked.bands} bands | multiply-adds per pixel | us per pixel |\n|---|---|---|")
    for title, settings in CASES.items():
        encoder = encoder_of(settings, asked.bands)
        side = min(asked.side or encoder.square_px, encoder.square_px)
        beyond = side + 2 * encoder.halo
        shape = encoder.embedding_size, beyond, beyond
        square = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        with FlopCounterMode(display=False) as counted:
            encoder.refine(square, Place(7, 7))
        spent = sorted(seconds(encoder, square) * 1e6 / side**2 for _ in range(asked.repeats))
        times = f"{spent[0]:.1f} {spent[len(spent) // 2]:.1f} {spent[-1]:.1f}"
        adds = counted.get_total_flops() / 2 / side**2
        print(f"| {title}, {side} px | {adds / 1e6:.3f} M | {times} |", flush=True)


def encoder_of(given: Mapping[str, Any], bands: int) -> Encoder:
    """Make an encoder of random weights."""
    name = given["name"]
    settings: Any = RunConfig.make(
        name, settings=[(f"encoder.{key}", value) for key, value in given.items()]
    ).encoder
    assert load_method(name)
    standard = cast("Standard", SimpleNamespace(feature_count=bands))
    if name == "diffcrn":
        return WindowEncoder(diffcrn_model.make_model(settings, bands, 0), standard, "cpu")
    model = spectraldiff_model.make_model(settings, bands, 0)
    return SpectraldiffEncoder(settings, model, standard, "cpu")


def seconds(encoder: Encoder, square: np.ndarray) -> float:
    """Processor seconds of encoding a square."""
    began = time.process_time()
    encoder.refine(square, Place(7, 7))
    return time.process_time() - began


if __name__ == "__main__":
    main()
