"""The named choices of ``--method``: a preset is a row of a table, not code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "consensus": {
            "summary": "landmark consensus of many small codebooks over six views (default)",
            "settings": {},
        },
        "kmeans": {
            "summary": "k-means on 20 principal components of z-scored spectra: the baseline",
            "settings": {
                "views": {"spectral": ["z"], "spatial": ["plain"]},
                "codebooks": {"multiples": [1], "draws": 1, "starts": 10},
            },
        },
    }
)
"""The named choices of ``--method``: a summary, and the settings that differ from the defaults."""
