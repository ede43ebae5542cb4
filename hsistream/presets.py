"""The named choices of ``--method``: a preset is a row of a table, not code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hsistream.trees import merged

_UMAE_TRAINING: Mapping[str, Any] = {
    # 100 epochs of 400 pixels, and nothing but AdamW and stairs, as published
    "steps": 900,
    "pairs": 1,
    "learning_rate": 5e-4,
    "decay": "stairs",
    "warm_up": 0,
    "clip": 1e3,
    "momentum": 0.0,
    "check_every": 300,
}

_SHORT_AVERAGE = 0.959
"""Over 24 of 800 or 1,000 steps; of denoisers, which have no teacher to be slow."""

_PAPER_GRAPH: Mapping[str, Any] = {
    # windows alone, and a mode per cluster at the time where clusterings agree
    "alpha": 0.0,
    "features": "bands",
    "norm": "unit",
    "time": "central",
    "assignment": "modes",
}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "consensus": {
            "summary": "landmark consensus of many small codebooks over six views (default)",
            "settings": {},
        },
        "dgc": {
            "summary": "deep global clustering: a network trained on pairs of overlapping crops",
            "settings": {
                "views": {"spectral": ["z"], "spatial": ["plain"]},
                "cluster": {"head": "prototypes"},
                "encoder": {"name": "dgc"},
            },
        },
        "dgc-paper": {
            "summary": "deep global clustering as its paper describes it, for comparison",
            "settings": {
                "views": {"spectral": ["z"], "spatial": ["plain"]},
                "cluster": {"head": "prototypes", "merge": "ward"},
                "encoder": {"name": "dgc-paper"},
                # as many pairs as dgc sees; a step takes ten times as long
                "training": {"steps": 120, "pairs": 4, "learning_rate": 1e-4, "momentum": 0.0},
            },
        },
        "consensus-dgc": {
            "summary": "landmark consensus with the latents of dgc as further views",
            "settings": {
                "views": {"spectral": ["z", "mnf", "latents"]},
                # latents that ignore brightness take from the consensus what it lives on
                "encoder": {"name": "dgc", "gain": 0.0},
            },
        },
        "umae": {
            "summary": "masked autoencoder of small patches; landmark consensus of its latents",
            "settings": {
                "views": {"spectral": ["latents"]},
                "encoder": {"name": "umae"},
                "training": _UMAE_TRAINING,
            },
        },
        "spectraldiff": {
            "summary": "diffusion model of the scene; landmark consensus of its features",
            "settings": {
                "views": {"spectral": ["latents"]},
                "encoder": {"name": "spectraldiff"},
                "training": {
                    "steps": 1000,
                    "pairs": 4,
                    "learning_rate": 5e-3,
                    "weight_decay": 0.0,
                    "momentum": _SHORT_AVERAGE,
                    "check_every": 250,
                },
            },
            # the rate of "lite" undoes wider layers; that of "paper" is the published one
            "profiles": {
                "base": {"training": {"learning_rate": 1e-3}},
                "paper": {"training": {"learning_rate": 1e-4}},
            },
        },
        "diffcrn": {
            "summary": "diffusion model with contrast; landmark consensus of its features",
            "settings": {
                "views": {"spectral": ["latents"]},
                "encoder": {"name": "diffcrn"},
                "training": {
                    "steps": 800,
                    "pairs": 4,
                    "learning_rate": 1e-3,
                    "momentum": _SHORT_AVERAGE,
                    "check_every": 200,
                },
            },
        },
        "s2dl": {
            "summary": "landmark consensus with clusterings of superpixels by diffusion",
            "settings": {"cluster": {"head": "joint"}},
        },
        "ds2dl": {
            "summary": "the same with diffusion on the latents of a masked autoencoder",
            "settings": {
                "cluster": {"head": "joint"},
                "encoder": {"name": "umae"},
                "training": _UMAE_TRAINING,
            },
        },
        "s2dl-paper": {
            "summary": "diffusion on the graph of superpixels as published, for comparison",
            "settings": {"cluster": {"head": "diffusion"}, "graph": _PAPER_GRAPH},
        },
        "ds2dl-paper": {
            "summary": "the same on latents, with the network as published; takes long",
            "settings": {
                "cluster": {"head": "diffusion"},
                "graph": _PAPER_GRAPH,
                "encoder": {"name": "umae", "profile": "paper", "mask_mode": "fixed"},
                "training": _UMAE_TRAINING,
            },
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
"""The named choices of ``--method``: a summary, and the settings that differ from the defaults.

Where the network has profiles that need other settings, those are under ``profiles``.
"""


_FEATURES: Mapping[str, Mapping[str, Any]] = {
    "raw": {
        "summary": "standardised spectra (default)",
        "settings": {"classify": {"features": ["raw"]}},
    },
    "pca": {
        "summary": "20 principal components of standardised spectra",
        "settings": {"classify": {"features": ["pca"]}, "views": {"z_components": 20}},
    },
    "mnf": {
        "summary": "20 minimum noise fractions",
        "settings": {"classify": {"features": ["mnf"]}, "views": {"mnf_components": 20}},
    },
    "mean5": {
        "summary": "the mean of 20 principal components over 5 x 5 px",
        "settings": {"classify": {"features": ["mean5"]}, "views": {"z_components": 20}},
    },
}


def _of_network(preset: Mapping[str, Any]) -> Mapping[str, Any]:
    """Classify by the latents of the network of a preset, trained as there."""
    trained = {name: preset[name] for name in ("encoder", "training") if name in preset}
    return {**trained, "classify": {"features": ["latents"]}}


CLASSIFY_PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **_FEATURES,
        **{
            name: {
                "summary": f"latents of the network {name}",
                "settings": _of_network(preset["settings"]),
                "profiles": preset.get("profiles", {}),
            }
            for name, preset in PRESETS.items()
            if preset["settings"].get("encoder", {}).get("name") == name
        },
    }
)
"""The named choices of ``--method`` for maps of classes: features of single pixels, and the
latents of every network that has a preset of its own name."""


def presets_of(classify: bool) -> Mapping[str, Mapping[str, Any]]:
    """Give the presets of maps of classes, or of clusters."""
    return CLASSIFY_PRESETS if classify else PRESETS


def preset_settings(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of a preset, for the profile of its network that is asked for.

    Examples
    --------
    >>> given = {"encoder": {"profile": "base"}}
    >>> preset_settings(PRESETS["spectraldiff"], given)["training"]["learning_rate"]
    0.001
    """
    encoder = given.get("encoder")
    profile = str(encoder.get("profile")) if isinstance(encoder, Mapping) else ""
    return merged(preset["settings"], preset.get("profiles", {}).get(profile, {}))
