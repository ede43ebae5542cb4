"""Maps of the materials in hyperspectral scenes of any size, without labels.

>>> import hsistream as hs
>>> hs.TileGrid(shape=(100, 100), tile=64).rows
2
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hsistream import errors
from hsistream.errors import HsistreamError
from hsistream.version import __version__

if TYPE_CHECKING:
    from hsistream.calibration import estimate_times
    from hsistream.classification import ClassificationScores, classification_scores, classify
    from hsistream.config import RunConfig
    from hsistream.evaluation import evaluate, export_labels, read_truth
    from hsistream.execution import Execution
    from hsistream.pipeline import relabel, run, status
    from hsistream.planning import plan
    from hsistream.prediction import predict
    from hsistream.readers.given import source_from_array
    from hsistream.readers.labelled import LabelOptions
    from hsistream.readers.sources import ReadOptions, open_sources
    from hsistream.reconstruction import reconstruct
    from hsistream.runs import RunDirectory
    from hsistream.runtime.cluster import connect
    from hsistream.scene.ingest import IngestOptions, ingest
    from hsistream.scene.scene import Frame, Scene
    from hsistream.tiles import Tile, TileGrid

__all__ = [
    "ClassificationScores",
    "Execution",
    "Frame",
    "HsistreamError",
    "IngestOptions",
    "LabelOptions",
    "ReadOptions",
    "RunConfig",
    "RunDirectory",
    "Scene",
    "Tile",
    "TileGrid",
    "__version__",
    "classification_scores",
    "classify",
    "connect",
    "errors",
    "estimate_times",
    "evaluate",
    "export_labels",
    "ingest",
    "open_sources",
    "plan",
    "predict",
    "read_truth",
    "reconstruct",
    "relabel",
    "run",
    "source_from_array",
    "status",
]

_HOME = {
    "ClassificationScores": "classification",
    "Execution": "execution",
    "Frame": "scene.scene",
    "IngestOptions": "scene.ingest",
    "LabelOptions": "readers.labelled",
    "ReadOptions": "readers.sources",
    "RunConfig": "config",
    "RunDirectory": "runs",
    "Scene": "scene.scene",
    "Tile": "tiles",
    "TileGrid": "tiles",
    "classification_scores": "classification",
    "classify": "classification",
    "connect": "runtime.cluster",
    "estimate_times": "calibration",
    "evaluate": "evaluation",
    "export_labels": "evaluation",
    "ingest": "scene.ingest",
    "open_sources": "readers.sources",
    "plan": "planning",
    "predict": "prediction",
    "read_truth": "evaluation",
    "reconstruct": "reconstruction",
    "relabel": "pipeline",
    "run": "pipeline",
    "source_from_array": "readers.given",
    "status": "pipeline",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library is silent by itself


def __dir__() -> list[str]:
    """List the public names, those that are not yet imported too."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``--help`` answers at once."""
    if name not in _HOME:
        raise AttributeError(f"module 'hsistream' has no attribute {name!r}")
    return getattr(import_module(f"hsistream.{_HOME[name]}"), name)
