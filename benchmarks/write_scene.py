"""Write a large synthetic scene: python benchmarks/write_scene.py SCENE.zarr HEIGHT WIDTH BANDS."""

from __future__ import annotations

import sys

from hsistream.cli.progress import shown
from hsistream.scene.ingest import IngestOptions, ingest
from hsistream.scene.synthetic import SyntheticFrame


def main(uri: str, height: str, width: str, bands: str) -> None:
    frame = SyntheticFrame(
        shape=(int(height), int(width)), bands=int(bands), classes=8, field_px=60
    )
    with shown("log") as notify:
        ingest([frame], uri, IngestOptions(overwrite=True), notify)


if __name__ == "__main__":
    main(*sys.argv[1:])
