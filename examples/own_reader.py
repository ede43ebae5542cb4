"""A reader for a format that hsistream does not know, in thirty lines.

Run with: python examples/own_reader.py [FOLDER]

Any object with a ``header``, ``read(window)`` and ``valid(window)`` is a source
that can be ingested. Here it is a raw file of 12-bit counts, line by line, with
its sizes in a JSON file beside it, as a laboratory camera may write it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hsistream as hs
from hsistream.scene.ingest import IngestOptions
from hsistream.scene.source import FrameHeader
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.tiles import Window

SATURATED = 4095


@dataclass(frozen=True)
class CameraFile:
    """One recording of the camera: ``NAME.raw`` (line, band, sample) and ``NAME.json``."""

    path: Path

    @property
    def header(self) -> FrameHeader:
        """Describe the frame without reading its pixels."""
        facts: dict[str, Any] = json.loads(self.path.with_suffix(".json").read_text())
        return FrameHeader(
            name=self.path.stem,
            shape=(facts["lines"], facts["samples"]),
            bands=len(facts["wavelengths_nm"]),
            dtype=np.dtype(np.uint16),
            wavelengths_nm=tuple(facts["wavelengths_nm"]),
        )

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return the values of a window, (band, y, x); only the window is read."""
        header = self.header
        shape = (header.shape[0], header.bands, header.shape[1])
        counts = np.memmap(self.path, np.uint16, mode="r", shape=shape)
        rows, columns = window
        return np.array(counts[rows, :, columns].transpose(1, 0, 2))

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Mask pixels that are saturated in any band, (y, x); None would say: no mask."""
        return np.asarray((self.read(window) < SATURATED).all(axis=0))


def record(path: Path) -> None:
    """Play the camera: write a small recording."""
    frame = SyntheticFrame(shape=(96, 128), bands=30)
    window = (slice(0, 96), slice(0, 128))
    counts = np.minimum(frame.read(window) // 2, SATURATED).astype(np.uint16)
    counts.transpose(1, 0, 2).tofile(path)
    facts = {"lines": 96, "samples": 128, "wavelengths_nm": list(frame.header.wavelengths_nm)}
    path.with_suffix(".json").write_text(json.dumps(facts))


def main(folder: Path) -> None:
    """Write a recording, ingest it with its own reader, and cluster it."""
    folder.mkdir(parents=True, exist_ok=True)
    recording = folder / "recording.raw"
    record(recording)
    options = IngestOptions(overwrite=True)
    scene = hs.ingest([CameraFile(recording)], folder / "scene.zarr", options)
    print(f"{scene.valid_pixels:,} of {scene.pixels:,} pixels are not saturated")
    config = hs.RunConfig.make(settings=[("cluster.clusters", 5)])
    run = hs.run(scene, config, folder / "run")
    print(f"map: {run.picture_path}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
