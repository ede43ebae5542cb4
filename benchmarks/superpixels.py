"""Time superpixels: python benchmarks/superpixels.py [--largest 1024] [--repeats 3].

Cuts images of 3 x 8 bit into 1000 superpixels, in one thread and after
compilation, and prints processor seconds (fewest and most), peak bytes per
pixel, and beside them the seconds of the published C++ program of the
entropy-rate superpixels. Those were measured once, on two cores of an AMD EPYC
with another process running; a figure is worth what the machine was worth in
that minute. Memory is that of the process, sampled every millisecond, so it
says nothing below some megabytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hsistream.superpixels import SEGMENTERS, Segmenter, load_segmenter

COUNT = 1000
SIDES_PX = (145, 256, 512, 1024)
PUBLISHED_S = {
    (145, "field"): "0.037-0.046",
    (145, "natural"): "0.047-0.049",
    (256, "field"): "0.16-0.20",
    (256, "natural"): "0.19-0.20",
    (512, "field"): "1.1-1.6",
    (512, "natural"): "1.4-1.9",
    (1024, "field"): "7.6-9.1",
    (1024, "natural"): "7.9-9.4",
}
"""Seconds of the C++ program by side and kind; its natural image was a photograph."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmenter", choices=SEGMENTERS, default="ers")
    parser.add_argument("--largest", type=int, default=SIDES_PX[-1], help="longest side in px")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    segment = load_segmenter(asked.segmenter)
    segment(natural(32), 10)  # compiles
    print(f"{asked.segmenter}, {COUNT} superpixels, load {psutil.getloadavg()[0]:.1f}")
    print("  side kind     processor s    C++ s          bytes/px")
    for side_px in (side for side in SIDES_PX if side <= asked.largest):
        for kind, draw in KINDS.items():
            image = draw(side_px)
            seconds = [processor_seconds(segment, image) for _ in range(asked.repeats)]
            spent = f"{min(seconds):.3f}-{max(seconds):.3f}"
            known = PUBLISHED_S[side_px, kind] if asked.segmenter == "ers" else ""
            size = in_fresh_process(asked.segmenter, image) / side_px**2
            print(f"  {side_px:4} {kind:8} {spent:14} {known:14} {size:8.0f}", flush=True)


def processor_seconds(segment: Segmenter, image: NDArray[np.uint8]) -> float:
    started = time.process_time()
    segment(image, COUNT)
    return time.process_time() - started


def in_fresh_process(segmenter: str, image: NDArray[np.uint8]) -> int:
    """Peak bytes, where no memory is left over from an earlier image."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(peak_bytes, segmenter, image).result()


def peak_bytes(segmenter: str, image: NDArray[np.uint8]) -> int:
    """Memory of this process at its largest, less what it had before."""
    segment = load_segmenter(segmenter)
    segment(natural(32), 10)  # compiles
    before = psutil.Process().memory_info().rss
    segment(image, COUNT)
    # getrusage would also count the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return peak_kib * 1024 - before


def natural(side_px: int) -> NDArray[np.uint8]:
    """Noise whose amplitude falls with frequency, as in photographs."""
    draws = np.random.default_rng(0).standard_normal((3, side_px, side_px))
    across = np.fft.rfftfreq(side_px)
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], across)
    frequency[0, 0] = 1.0
    values = np.fft.irfft2(np.fft.rfft2(draws) / frequency, (side_px, side_px))
    low = values.min(axis=(1, 2), keepdims=True)
    high = values.max(axis=(1, 2), keepdims=True)
    return ((values - low) / (high - low) * 255.0).round().astype(np.uint8)


def field(side_px: int) -> NDArray[np.uint8]:
    """Fields of 16 colours, about 800 px each, with noise."""
    random = np.random.default_rng(1)
    centres = random.integers(0, side_px, (max(9, side_px**2 // 800), 2))
    pixels = np.indices((side_px, side_px)).reshape(2, -1).T
    nearest = cKDTree(centres).query(pixels)[1]
    colours = random.normal(127.0, 40.0, (16, 3))[random.integers(0, 16, len(centres))]
    colours += random.normal(0.0, 4.0, colours.shape)
    values = colours[nearest] + random.normal(0.0, 4.0, (side_px**2, 3))
    return np.clip(values.round(), 0, 255).astype(np.uint8).T.reshape(3, side_px, side_px)


KINDS: dict[str, Callable[[int], NDArray[np.uint8]]] = {"field": field, "natural": natural}


if __name__ == "__main__":
    main()
