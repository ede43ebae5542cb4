"""A run directory: where things lie, what is done, and what was asked.

The only place that knows paths. A stage is done when the manifest holds its
fingerprint, whatever else lies on the disk.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hsistream.config import RunConfig
from hsistream.errors import ConfigError, DamagedError, IncompleteError, StoreError
from hsistream.files import filing, holder_of, local_path, locked, partial_of, write_text
from hsistream.manifest import Manifest

if TYPE_CHECKING:
    import xarray as xr

LOCK = "lock"

LABELS = "labels"
CONFIDENCE = "confidence"
LATENTS = "latents"
INDEX = "index"
SUPERPIXELS = "superpixels"
CUTS = "cuts"
PROBABILITY = "probability"

STORES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        LABELS: ("labels.zarr", "label"),
        CONFIDENCE: ("labels.zarr", "label"),
        PROBABILITY: ("labels.zarr", "label"),
        LATENTS: ("latents.zarr", "encode"),
        INDEX: ("index.zarr", "assign"),
        SUPERPIXELS: ("superpixels.zarr", "segment"),
    }
)
"""Layers that can be opened: the store of each, and the stage that makes it."""

NO_LABEL = 65535
"""Label of a pixel without data."""

CONFIDENCE_STEPS = 254
"""Stored value of confidence 1."""

NO_CONFIDENCE = 255
"""Stored confidence of a pixel without data."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The folder of one run; a value, so that a task can carry it."""

    path: Path

    def __init__(self, path: str | PathLike[str]) -> None:
        object.__setattr__(self, "path", local_path(path, ConfigError).absolute())

    @property
    def config_path(self) -> Path:
        """The configuration, with defaults filled in."""
        return self.path / "run.toml"

    @property
    def manifest_path(self) -> Path:
        """What is done."""
        return self.path / "manifest.json"

    @property
    def labels_uri(self) -> str:
        """The store of labels and confidence."""
        return str(self.path / "labels.zarr")

    @property
    def codes_uri(self) -> str:
        """The store of codebook codes."""
        return str(self.path / "codes.zarr")

    @property
    def latents_uri(self) -> str:
        """The store of the network's latents."""
        return str(self.path / "latents.zarr")

    @property
    def index_uri(self) -> str:
        """The store of the prototype of every pixel."""
        return str(self.path / "index.zarr")

    @property
    def cuts_uri(self) -> str:
        """The store of the superpixels of every tile and the pixels around it."""
        return str(self.path / "cuts.zarr")

    @property
    def superpixels_uri(self) -> str:
        """The store of the superpixel of every pixel."""
        return str(self.path / "superpixels.zarr")

    @property
    def checkpoint_path(self) -> Path:
        """The folder of the network's weights."""
        return self.path / "checkpoint"

    @property
    def classifiers_path(self) -> Path:
        """The folder of what was learnt from labels: for every split, and for the map."""
        return self.path / "classifiers"

    @property
    def report_path(self) -> Path:
        """The folder of the page and the scores."""
        return self.path / "report"

    @property
    def page_path(self) -> Path:
        """The page to look at."""
        return self.report_path / "page.html"

    @property
    def picture_path(self) -> Path:
        """The map as one picture."""
        return self.report_path / "map.png"

    @property
    def reconstruction_path(self) -> Path:
        """The picture of noise that is added and taken away."""
        return self.report_path / "reconstruct.png"

    @property
    def scores_path(self) -> Path:
        """Agreement with a truth, if one was given to ``evaluate``."""
        return self.report_path / "scores.json"

    @property
    def log_path(self) -> Path:
        """One JSON object per event."""
        return self.path / "log.jsonl"

    def table(self, name: str) -> Path:
        """Path of a table of named arrays."""
        return self.path / f"{name}.npz"

    def learnt_table(self, name: str) -> Path:
        """Path of a table of the run by which these frames are labelled, as it was there."""
        return self.path / "learnt" / f"{name}.npz"

    def ledger(self, stage: str) -> Path:
        """Folder with one file per finished tile of a stage."""
        return self.path / "ledger" / stage

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.manifest_path.is_file()

    def config(self) -> RunConfig:
        """Read what was asked.

        Raises
        ------
        StoreError
            If this is not a run directory.
        DamagedError
            If the file cannot be understood.
        """
        if not self.config_path.is_file():
            raise StoreError(f"A run directory is needed, but {self.path} has no run.toml.")
        try:
            return RunConfig.from_toml(self.config_path)
        except ConfigError as error:
            raise DamagedError(
                f"{self.config_path} was written by another version of hsistream, or is damaged: "
                f"{error} Restore it from a copy, or run again elsewhere."
            ) from error

    def manifest(self) -> Manifest:
        """Read what is done.

        Raises
        ------
        StoreError
            If this is not a run directory.
        DamagedError
            If the manifest is not readable.
        """
        if not self.exists:
            raise StoreError(f"A run directory is needed, but {self.path} is none.")
        return Manifest.read(self.manifest_path)

    def __fspath__(self) -> str:
        return str(self.path)

    def open(self, layer: str, frame: str | None = None) -> xr.DataArray:
        """Open a result lazily in xarray.

        Parameters
        ----------
        layer : {"labels", "confidence", "probability", "latents", "index", "superpixels"}
            Labels are uint16 (y, x), 65535 = no data; confidence is float from
            0 (a tie) to 1, NaN = no data. Maps of classes may have the probability
            of each, (class, y, x). Runs with a network have its latents,
            float16 (latent, y, x), NaN = no data, and those with prototypes the
            index, the prototype of every pixel, uint16, 65535 = no data. Runs with
            superpixels have their ids, int64, -1 = no data.
        frame : str, optional
            Name of the frame; not needed in a scene of one.

        Returns
        -------
        xarray.DataArray
            With the coordinates and georeference of the frame.

        Raises
        ------
        StoreError
            If this is no run directory, or the run has no such result or no such frame.
        IncompleteError
            If the stage that makes the result is not done; the same command resumes it.
        DamagedError
            If a part of the result is missing or cannot be understood.
        """
        from hsistream.stores.raster import RasterStore  # with zarr, which --help can do without

        found = RasterStore(self._done_store(layer)).open(layer, frame)
        if layer == PROBABILITY:
            return found.assign_coords({"class": found.attrs["class_names"]})
        return found

    def begin(self, config: RunConfig, scene_uri: str, identity: str, version: str) -> Manifest:
        """Open the directory for a run: a new one, or the same one as before.

        Raises
        ------
        ConfigError
            If the directory belongs to another configuration or scene, or is
            not empty and no run.
        """
        if self.exists:
            self._check_same(config, identity)
            found = replace(self.manifest(), scene_uri=scene_uri)  # it may have been moved
            self.save(found)
            if self.config() != config:  # and so may the run that has learnt
                write_text(self.config_path, config.to_toml())
            return found
        self.check_place()
        manifest = Manifest(scene_uri, identity, version)
        write_text(self.config_path, config.to_toml())
        self.save(manifest)
        return manifest

    def check_place(self) -> None:
        """Refuse a directory that holds anything but a run.

        Raises
        ------
        ConfigError
            If it does.
        """
        if self.exists or not self.path.is_dir():
            return
        if any(entry.name not in self._beginnings() for entry in self.path.iterdir()):
            raise ConfigError(
                f"{self.path} is not empty and no run directory. Choose another directory for the "
                f"results."
            )

    def adopt(self, config: RunConfig, marks: Collection[str]) -> None:
        """Change what is asked of the run; stages without one of these fingerprints are to do."""
        self.keep_stages(marks)
        write_text(self.config_path, config.to_toml())

    def keep_stages(self, marks: Collection[str]) -> None:
        """Forget what is done, but not as one of these fingerprints, and scores of its labels."""
        manifest = self.manifest()
        kept = {n: record for n, record in manifest.stages.items() if record.fingerprint in marks}
        if len(kept) < len(manifest.stages):
            self.drop_scores()
            self.save(replace(manifest, stages=kept))

    def save(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        manifest.write(self.manifest_path)

    def _beginnings(self) -> set[str]:
        """Name the files that a run may leave that was killed before its first manifest."""
        written = (self.config_path, self.manifest_path)
        return {LOCK, self.config_path.name, *(partial_of(path).name for path in written)}

    def drop_scores(self) -> None:
        """Remove the scores: they are of labels that were there before."""
        with filing(self.scores_path):
            self.scores_path.unlink(missing_ok=True)

    def forget(self, stage: str) -> None:
        """Drop what a stage noted of its finished tiles."""
        shutil.rmtree(self.ledger(stage), ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[str]:
        """Keep a second run out of the directory, and name this one; the lock dies with it.

        Raises
        ------
        StoreError
            If another process holds the lock.
        """
        busy = (
            f"Another process is working in {self.path}. Wait for it, or choose another directory "
            f"for the results."
        )
        with locked(self.path / LOCK, busy) as holder:
            yield holder

    def check_holder(self, holder: str) -> None:
        """Refuse to work for a command that no longer holds the directory.

        Raises
        ------
        IncompleteError
            If another command has locked it since.
        """
        if holder_of(self.path / LOCK) != holder:
            raise IncompleteError(
                f"A task needs its command to work in {self.path}, but another command does. "
                f"Nothing was written."
            )

    def _done_store(self, layer: str) -> str:
        """Find the store of a layer, of which every tile is written."""
        if layer not in STORES:
            raise StoreError(
                f"The name of a result is needed, but {layer!r} is none. Runs have "
                f"{', '.join(STORES)}."
            )
        store, stage = STORES[layer]
        if stage in self.manifest().stages:
            return str(self.path / store)
        made = made_layers(self.config())
        if layer not in made:
            raise StoreError(
                f"{layer} are needed, but {self.path / store} has none: the settings of the run "
                f"ask for none. It makes {', '.join(made)}."
            )
        raise IncompleteError(
            f"{layer} are needed, but the stage {stage} of {self.path} is not done. Repeat the "
            f"command that was interrupted: it resumes. See: hsistream status {self.path}"
        )

    def _check_same(self, config: RunConfig, identity: str) -> None:
        """Refuse to mix two configurations or scenes in one directory."""
        differences = self.config().differences(config)
        if differences:
            raise ConfigError(
                f"{self.path} holds a run with another configuration: {'; '.join(differences)}. "
                f"Choose another directory with --run, or repeat the settings of that run."
            )
        found = self.manifest().scene_identity
        if found != identity:
            raise ConfigError(
                f"{self.path} holds a run of another scene (identity {found[:8]} there, "
                f"{identity[:8]} here). Choose another directory with --run."
            )


def made_layers(config: RunConfig) -> tuple[str, ...]:
    """Name the layers of ``STORES`` that a run makes."""
    classify = config.classify
    made = {
        LATENTS: config.encoder is not None,
        INDEX: classify is None and config.cluster.head == "prototypes",
        SUPERPIXELS: config.has_superpixels,
        PROBABILITY: classify is not None and classify.probabilities,
    }
    return tuple(layer for layer in STORES if made.get(layer, True))


def fingerprint(*parts: Any) -> str:
    """Hash values that have a stable JSON form.

    Examples
    --------
    >>> fingerprint("label", 1) == fingerprint("label", 1)
    True
    >>> fingerprint("label", 1) == fingerprint("label", 2)
    False
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
