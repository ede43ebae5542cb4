"""What each idea of DiffCRN is worth: python benchmarks/ablation.py [--scenes samson].

Networks are trained on the scene without labels, one for each way of learning; the first
is also read in other ways. Features of a pixel, without the spectrum that latents have
beside them, become 64 principal components, which two classifiers learn from few labels
in blocks that lie apart, as in few_labels.py. The parts of the classifier of the paper are
compared on the features of five time steps. Prints Markdown: overall accuracy in percent,
mean over splits, and the paired difference to raw spectra in the same classifier.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import few_labels
import numpy as np
from numpy.typing import NDArray
from quality import data_folder

import hsistream as hs
from hsistream.classification import classify
from hsistream.classifiers.splits import Labels, split
from hsistream.methods.denoising import gaps_filled
from hsistream.methods.diffcrn_encoder import WindowEncoder
from hsistream.methods.diffcrn_model import Model, make_model
from hsistream.nn.principal import principal_map
from hsistream.nn.spectral_angle import CANDIDATES
from hsistream.sections import CtssfmSection
from hsistream.stages import Address
from hsistream.stages.train import load_encoder

TRAININGS: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "loss l1": {"loss": "l1"},
    "loss l2": {"loss": "l2"},
    "loss logcosh": {"loss": "logcosh"},
    "no contrast": {"contrast": 0.0},
    "stages paired": {"order": "paired"},
    "spatial stages only": {"order": "spatial"},
    "spectral stages only": {"order": "spectral"},
}
"""Ways of learning, as settings of the encoder; all are read in the same way."""

EVEN_STEPS = (100, 300, 500, 700, 900)
ALL_STAGES, STEP = (1, 2, 3, 4), 40
COMPONENTS, SAMPLED_PX = 64, 8192

FUSIONS: Mapping[str, CtssfmSection] = {
    "ctssfm, window": CtssfmSection(),
    "ctssfm, window, even weights": CtssfmSection(weights="even"),
    "ctssfm, window, weights by pixel": CtssfmSection(weights="pixel"),
    "ctssfm, steps": CtssfmSection(variant="steps"),
}

Features = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", nargs="+", default=["samson"])
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--fusion-splits", type=int, default=5)
    parser.add_argument("--steps", type=int, default=800, help="of each training")
    asked = parser.parse_args()
    for name in asked.scenes:
        with tempfile.TemporaryDirectory() as scratch:
            Bench(name, asked, Path(scratch)).print_tables()


class Bench:
    """One scene, its labels, and how they are divided."""

    def __init__(self, name: str, asked: argparse.Namespace, scratch: Path) -> None:
        self.name, self.asked, self.scratch = name, asked, scratch
        self.path = data_folder() / f"{name}.npz"
        self.scene = hs.ingest(hs.open_sources([self.path]), scratch / "scene.zarr")
        height, width = self.scene.frames[0].shape
        self.whole = slice(0, height), slice(0, width)
        self.valid = self.scene.valid(0, self.whole)
        with np.load(self.path) as file:
            row, column = np.nonzero(file["gt"] * self.valid)
            number = file["gt"][row, column].astype(np.int64) - 1
        self.labels = Labels(np.zeros_like(row), row, column, number)

    def print_tables(self) -> None:
        """Print what is found, row by row."""
        raw = few_labels.read_features(0, self.whole, 0, self.scene, self._raw())
        known = {head: self._accuracies(raw, head) for head in ("lda", "logistic")}
        print(f"\n| {self.name}, {self.asked.labels} labels | lda | logistic |\n|---|---|---|")
        print(f"| raw spectra | {_mean(known['lda'])} | {_mean(known['logistic'])} |", flush=True)
        for title, features in self._features():
            found = [
                few_labels.cell(self._accuracies(features, head), known[head]) for head in known
            ]
            print(f"| {title} | {' | '.join(found)} |", flush=True)
        print(f"\n| {self.name}, {self.asked.labels} labels | accuracy |\n|---|---|")
        few = known["lda"][: self.asked.fusion_splits]
        print(f"| raw spectra, lda | {_mean(few)} |")
        for title, found in self._fused():
            print(f"| {title} | {few_labels.cell(found, few)} |", flush=True)

    def _features(self) -> Iterator[tuple[str, Features]]:
        """Yield components of each way of learning, and of the first read in other ways."""
        for title, settings in TRAININGS.items():
            model = self._trained(title, settings)
            yield f"{title}, step {STEP}", self._components(self._read(model, (STEP,)))
            if title == "as it is":
                yield from self._readings(model)

    def _readings(self, model: Model) -> Iterator[tuple[str, Features]]:
        """Yield components of one network, read in other ways than as it is."""
        clean = self._read(model, (STEP,))
        for stages in ((1,), (1, 3), (2, 4)):
            yield f"stages {stages}, step {STEP}", self._components(clean, stages)
        for step in (3, 250):
            yield f"step {step}", self._components(self._read(model, (step,)))
        by_angle = tuple(model.steps.tolist())
        yield f"step {STEP}, with noise", self._components(self._read(model, (STEP,), "hash"))
        for noise in ("none", "hash"):
            how = "with noise" if noise == "hash" else "no noise"
            for title, steps in (("by angle", by_angle), ("even", EVEN_STEPS)):
                features = self._components(self._read(model, steps, noise))
                yield f"mean of five steps {title} {steps}, {how}", features

    def _fused(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield the accuracies of parts of the classifier, on features of several steps."""
        model = self._trained("as it is", {})
        steps = tuple(model.steps.tolist())
        five = self._read(model, steps)
        for title, section in FUSIONS.items():
            yield title, self._accuracies(five, "ctssfm", section)
        yield (
            "ctssfm, window, one step",
            self._accuracies(self._read(model, (STEP,)), "ctssfm", CtssfmSection()),
        )
        for noise in ("none", "hash"):
            every = self._read(model, CANDIDATES, noise)
            learnt = CtssfmSection(variant="steps")
            yield (
                f"ctssfm, steps, five learnt, noise {noise}",
                self._accuracies(every, "ctssfm", learnt),
            )

    def _raw(self) -> Any:
        """Make a run whose spectra are standardised."""
        run = self._classified("raw", "raw", [])
        return few_labels.load_features(Address(self.scene, run, ""), ("raw",))

    def _trained(self, title: str, settings: Mapping[str, Any]) -> Model:
        """Train a network, or read the one that was trained before."""
        given = [(f"encoder.{key}", value) for key, value in settings.items()]
        given += [("encoder.time_steps", "angle"), ("training.steps", self.asked.steps)]
        run = self._classified(title, "diffcrn", [*given, ("classify.features", ["latents"])])
        self.encoder = load_encoder(run.config().encoder, run, "cpu")
        found: Model = self.encoder._model
        return found

    def _classified(self, title: str, method: str, settings: list[tuple[str, Any]]) -> Any:
        """Make a map of classes, for what comes before it."""
        given = [("classify.labels", str(self.path)), ("classify.key", "gt"), *settings]
        config = hs.RunConfig.make(method, settings=[*given, ("classify.splits", 0)])
        return classify(self.scene, config, self.scratch / title.replace(" ", "-"))

    def _read(self, model: Model, steps: tuple[int, ...], noise: str = "none") -> Features:
        """Read all stages at some steps, (step stage channel, y, x); NaN = no data."""
        changes = {"latents": "stages", "time_steps": steps, "noise": noise}
        standard = self.encoder._standard
        other = make_model(
            model.settings.model_copy(update=changes), standard.feature_count, int(model.seed)
        )
        other.denoiser.load_state_dict(model.denoiser.state_dict())
        encoder = WindowEncoder(other, standard, "cpu")
        raw = self.scene.read(0, self.whole)
        embedded = encoder.embed(raw.reshape(len(raw), -1), 0).reshape(-1, *self.valid.shape)
        filled = gaps_filled(embedded, self.valid)
        around = (encoder.halo, encoder.halo)
        found = encoder.refine(np.pad(filled, ((0, 0), around, around), mode="symmetric"))
        return np.where(self.valid, found, np.float32(np.nan))

    def _components(self, features: Features, stages: tuple[int, ...] = ALL_STAGES) -> Features:
        """Average some stages over steps, and project them by their components."""
        parts = features.reshape(-1, 4, 64, *self.valid.shape).mean(axis=0)
        chosen = np.concatenate([parts[stage - 1] for stage in stages])[:, self.valid]
        order = np.random.default_rng(0).permutation(chosen.shape[1])[:SAMPLED_PX]
        projection = principal_map(chosen[:, order], min(COMPONENTS, len(chosen)))
        found = np.full((len(projection.matrix), *self.valid.shape), np.nan, np.float32)
        found[:, self.valid] = projection.matrix @ chosen + projection.offset[:, None]
        return found

    def _accuracies(
        self, features: Features, head: str, fusion: CtssfmSection | None = None
    ) -> NDArray[np.float64]:
        """Accuracy of every split, percent."""
        settings = few_labels.section(self.path, head, self.asked.labels)
        if fusion is not None:
            settings = settings.model_copy(update={"ctssfm": fusion})
        splits = self.asked.splits if fusion is None else self.asked.fusion_splits
        found = []
        for seed in range(splits):
            roles = split(self.labels, settings, few_labels.APART_PX, seed)
            found.append(few_labels.accuracy(features, self.labels, roles, settings, seed))
        return np.array(found)


def _mean(of: NDArray[np.float64]) -> str:
    """Write a mean over splits, and their standard deviation."""
    return f"{of.mean():.1f} ± {of.std(ddof=1):.1f}"


if __name__ == "__main__":
    main()
