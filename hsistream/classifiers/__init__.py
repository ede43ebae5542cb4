"""What makes classes of features, learnt from labelled pixels: one line each.

Strings, so that the table costs nothing; a classifier is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from hsistream.classifiers.base import Classifier

CLASSIFIERS: Mapping[str, str] = MappingProxyType(
    {
        "lda": "hsistream.classifiers.lda",
        "logistic": "hsistream.classifiers.logistic",
        "transformer": "hsistream.classifiers.transformer",
        "ctssfm": "hsistream.classifiers.ctssfm",
    }
)
"""Name of a classifier, as in ``classify.classifier``, to the module that holds it."""

NETWORKS = frozenset({"transformer", "ctssfm"})
"""Those of them that need torch."""


def load_classifier(name: str) -> Classifier:
    """Import a classifier by its name, a key of ``CLASSIFIERS``."""
    return cast("Classifier", import_module(CLASSIFIERS[name]))
