"""Ask what many frames do to a map: python benchmarks/frames.py [--questions same-pixel ...].

One table per question, on real scenes of the folder HSISTREAM_DATA; settings
(``--set graph.alpha=0.4``) hold for all methods. Scenes are cut, doubled and
distorted without their truth, which is seen by the scores alone. OA is overall
accuracy, one-to-one over all frames together; shares are of pixels with data.
With several seeds, cells are means.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from painted import MATERIALS, painted_frames
from quality import configured, data_folder
from sklearn.metrics import adjusted_rand_score

import hsistream as hs
from hsistream.readers.labels import read_labels
from hsistream.regions.seams import LabelChanges
from hsistream.report.scores import score
from hsistream.runs import NO_LABEL
from hsistream.scene.leaf_phantom import LeafFrame

METHODS = ("kmeans", "consensus", "s2dl")

GAINS = (0.9, 0.97, 1.03, 1.1)
"""What the spectra of four frames are multiplied by."""

OFFSET = 0.5
"""Largest offset of a band of a frame, in deviations between near pixels."""

NEAR_PX = 5
"""Distance of pixels that mostly are of one material."""

SHARED_PX, EDGE_PX = 20, 4
"""Columns that two frames share; those at either edge that filters change."""

STATISTICS: Mapping[str, tuple[str, ...]] = {
    "scene": (),
    "frame": ("statistics.by=frame",),
    "l2": ("statistics.illumination=l2",),
    "snv": ("statistics.illumination=snv",),
}
"""What may undo the light of a frame."""

TILES_PX = (64, 128)
"""Sides of the tiles that are cut into superpixels, px."""

ORIGINS = range(0, 24, 3)
"""Rows and columns that are left away, so that seams lie elsewhere each time."""

ABU = ("abu-airport-1", "abu-airport-2", "abu-airport-3", "abu-urban-4", "abu-urban-5")

Labels = NDArray[np.integer[Any]]
Row = tuple[str, Mapping[str, float]]
"""What was asked of (such as a scene), and the answers by column."""


@dataclass(frozen=True)
class Picture:
    """Spectra (y, x, band), where they are valid (y, x), and the truth (y, x) beside them."""

    cube: NDArray[Any]
    valid: NDArray[np.bool_]
    truth: Labels

    @classmethod
    def read(cls, path: Path) -> Picture:
        """Read a file with cube, valid and gt."""
        with np.load(path) as file:
            return cls(file["cube"], file["valid"], file["gt"])

    @property
    def classes(self) -> int:
        """Number of classes of the truth."""
        return len(np.unique(self.truth[self.truth > 0]))

    def quarters(self) -> list[Picture]:
        """Cut into four."""
        rows, columns = (size // 2 for size in self.truth.shape)
        parts = (
            (slice(rows), slice(columns)),
            (slice(rows), slice(columns, None)),
            (slice(rows, None), slice(columns)),
            (slice(rows, None), slice(columns, None)),
        )
        return [Picture(self.cube[at], self.valid[at], self.truth[at]) for at in parts]

    def from_origin(self, first: int) -> Picture:
        """Leave the first rows and columns away."""
        return Picture(*(each[first:, first:] for each in (self.cube, self.valid, self.truth)))

    def changed(self, gain: float, offset: float | NDArray[np.float64] = 0.0) -> Picture:
        """Multiply the spectra by a gain, and add an offset (band,)."""
        return replace(self, cube=(self.cube * gain + offset).astype(np.float32))


@dataclass(frozen=True)
class Asked:
    """How scenes are clustered: by which method, seed and settings; data and room for runs."""

    data: Path
    scratch: Path
    method: str
    seed: int
    settings: tuple[str, ...]

    def picture(self, name: str) -> Picture:
        """Read a real scene."""
        return Picture.read(self.data / f"{name}.npz")

    def frames(self, name: str, pictures: list[Picture]) -> hs.Scene:
        """Make a scene of pictures, named by their numbers, unless it is there."""
        folder = self.scratch / name
        folder.mkdir(exist_ok=True)
        for number, each in enumerate(pictures):
            np.savez(folder / f"{number}.npz", cube=each.cube, valid=each.valid)
        return self.scene(name, [folder / f"{number}.npz" for number in range(len(pictures))])

    def scene(self, name: str, paths: list[Path]) -> hs.Scene:
        """Make a scene of files unless it is there."""
        return self.sources(name, hs.open_sources(paths))

    def sources(self, name: str, sources: list[Any]) -> hs.Scene:
        """Make a scene of sources unless it is there."""
        uri = self.scratch / f"{name}.zarr"
        return hs.Scene.open(uri) if uri.exists() else hs.ingest(sources, uri)

    def run(self, scene: hs.Scene, clusters: int, *more: str) -> hs.RunDirectory:
        """Cluster a scene, with further settings."""
        config = configured(self.method, self.seed, clusters, [*self.settings, *more])
        folder = tempfile.mkdtemp(dir=self.scratch)
        return hs.run(scene, config, Path(folder) / "run")


def label_space(asked: Asked) -> Iterator[Row]:
    """Compare a scene as one frame and cut into four: OA."""
    for name in ("salinas150", "samson", "muufl90"):
        picture = asked.picture(name)
        found = []
        for parts in ([picture], picture.quarters()):
            scene = asked.frames(f"{name}-{len(parts)}", parts)
            found.append(accuracy(asked.run(scene, picture.classes), parts))
        yield name, {"whole": found[0], "in four": found[1], "difference": found[1] - found[0]}


def same_pixel(asked: Asked) -> Iterator[Row]:
    """Look at the same pixels in two frames: share of equal labels, also away from the edges."""
    names = ("abu-urban-5", "abu-airport-2")
    scene = asked.scene("shared", [asked.data / f"{name}.npz" for name in names])
    for clusters in (4, 6):
        left, right = labels(asked.run(scene, clusters), scene)
        same = left[:, -SHARED_PX:] == right[:, :SHARED_PX]
        inner = same[:, EDGE_PX:-EDGE_PX]
        yield f"K = {clusters}", {"all": same.mean(), "inner": inner.mean()}


def duplicates(asked: Asked) -> Iterator[Row]:
    """Take one frame twice: share of equal labels."""
    for name in ("samson", "salinasA"):
        picture = asked.picture(name)
        scene = asked.frames(f"{name}-twice", [picture, picture])
        first, second = labels(asked.run(scene, picture.classes), scene)
        yield name, {"same": (first == second)[picture.valid].mean()}


def gains(asked: Asked) -> Iterator[Row]:
    """Give four frames a gain each: labels kept after one-to-one matching, and OA."""
    for name in ("salinas150", "samson"):
        picture = asked.picture(name)
        plain = [part.changed(1.0) for part in picture.quarters()]
        other = [part.changed(g) for part, g in zip(picture.quarters(), GAINS, strict=True)]
        yield from _changed(asked, name, picture.classes, plain, other)


def shifts(asked: Asked) -> Iterator[Row]:
    """Give four frames an offset and a gain each: labels kept, and OA."""
    picture = asked.picture("salinas150")
    plain = [part.changed(1.0) for part in picture.quarters()]
    deviation = near_deviation(picture)
    phases = 2 * np.pi * np.arange(len(deviation)) / len(deviation)
    other = [
        part.changed(gain, OFFSET * deviation * np.sin(phases + number * np.pi / 2))
        for number, (part, gain) in enumerate(zip(picture.quarters(), GAINS, strict=True))
    ]
    yield from _changed(asked, "salinas150", picture.classes, plain, other)


def _changed(
    asked: Asked, name: str, clusters: int, plain: list[Picture], other: list[Picture]
) -> Iterator[Row]:
    """Compare frames before and after a change, for all statistics."""
    scenes = [asked.frames(f"{name}-plain", plain), asked.frames(f"{name}-other", other)]
    for statistics, settings in STATISTICS.items():
        runs = [asked.run(scene, clusters, *settings) for scene in scenes]
        before, after = (
            np.concatenate([each.ravel() for each in labels(run, scene)]).astype(np.int64)
            for run, scene in zip(runs, scenes, strict=True)
        )
        known = np.where(before == NO_LABEL, 0, before + 1)
        yield (
            f"{name}, {statistics}",
            {
                "kept": score(known, after).oa,
                "OA before": accuracy(runs[0], plain),
                "OA": accuracy(runs[1], other),
            },
        )


def many_frames(asked: Asked) -> Iterator[Row]:
    """Map many real frames: OA, how many clusters are present in a frame, and seconds."""
    native = asked.data / "native"
    tiles = native / "enmap_potsdam"
    truth = read_labels(tiles / "labels")
    scenes: dict[str, tuple[list[Path], int, Mapping[str, Labels]]] = {
        "abu": ([asked.data / f"{name}.npz" for name in ABU], 6, {}),
        "enmap_potsdam": ([tiles / "images"], _classes(truth), truth),
        "wheat_grains": ([native / "wheat_grains"], 4, {}),
    }
    for name, (paths, clusters, known) in scenes.items():
        scene = asked.scene(name, paths)
        started = time.monotonic()
        run = asked.run(scene, clusters)
        elapsed_s = time.monotonic() - started
        present = [len(np.unique(each[each != NO_LABEL])) for each in labels(run, scene)]
        yield (
            f"{name}, {len(scene.frames)} frames, K = {clusters}",
            {
                "OA": hs.evaluate(run.path, known).oa if known else np.nan,
                "clusters, fewest": min(present),
                "mean": np.mean(present),
                "most": max(present),
                "seconds": elapsed_s,
            },
        )


def held_out(asked: Asked) -> Iterator[Row]:
    """Label a frame by what the others have taught: ARI with a run of all; and of another seed."""
    leaves: list[Any] = [LeafFrame(number, 128, 61) for number in range(6)]
    real = hs.open_sources([asked.data / f"{name}.npz" for name in ABU])
    other = replace(asked, seed=asked.seed + 1)
    for name, sources, clusters in (("leaves", leaves, 4), ("abu", real, 6)):
        whole = asked.sources(name, sources)
        first, second = (labels(each.run(whole, clusters), whole) for each in (asked, other))
        for number, source in enumerate(sources):
            rest = [each for each in sources if each is not source]
            taught = asked.run(asked.sources(f"{name}-without-{number}", rest), clusters)
            alone = asked.sources(f"{name}-{number}", [source])
            found = hs.predict(alone, taught.path, Path(tempfile.mkdtemp(dir=asked.scratch)) / "p")
            (mine,) = labels(found, alone)
            yield (
                f"{name}, {source.header.name}",
                {
                    "ARI": adjusted_rand_score(first[number].ravel(), mine.ravel()),
                    "another seed": adjusted_rand_score(
                        first[number].ravel(), second[number].ravel()
                    ),
                },
            )


def seams(asked: Asked) -> Iterator[Row]:
    """Cut superpixels at tiles: label changes at seams to those elsewhere, and on an uncut map."""
    picture = asked.picture("salinas150")
    parts = {origin: picture.from_origin(origin) for origin in ORIGINS}
    real = [asked.frames(f"salinas150-from-{origin}", [part]) for origin, part in parts.items()]
    sources = painted_frames(4, (500, 500), bands=100, gain=0.1, seed=0, threads=1)
    painted = [asked.sources("painted", [*sources])]
    yield from _seams(asked, f"salinas150, {len(real)} origins", real, picture.classes)
    yield from _seams(asked, "painted, 4 frames of 500 px", painted, MATERIALS)


def _seams(asked: Asked, name: str, scenes: list[hs.Scene], clusters: int) -> Iterator[Row]:
    """Count label changes at the edges of tiles, on maps cut there and on those cut nowhere."""
    cut, uncut = (dict.fromkeys(TILES_PX, LabelChanges()) for _ in range(2))
    for scene in scenes:
        whole = asked.run(scene, clusters, f"segment.tile_px={scene.longest_side}")
        for tile_px in TILES_PX:
            run = asked.run(scene, clusters, f"segment.tile_px={tile_px}")
            cut[tile_px] += changes(run, scene, tile_px)
            uncut[tile_px] += changes(whole, scene, tile_px)
    for tile_px in TILES_PX:
        yield (
            f"{name}, {tile_px} px",
            {
                "cut": cut[tile_px].ratio,
                "uncut": uncut[tile_px].ratio,
                "pairs": cut[tile_px].seam_pairs,
                "changed": cut[tile_px].seam_changes,
            },
        )


def changes(run: hs.RunDirectory, scene: hs.Scene, tile_px: int) -> LabelChanges:
    """Count label changes at the edges of tiles of a side, and elsewhere."""
    found = LabelChanges()
    for each in labels(run, scene):
        window = slice(0, each.shape[0]), slice(0, each.shape[1])
        found += LabelChanges.from_window(each, window, window, tile_px=tile_px, no_data=NO_LABEL)
    return found


def _classes(truth: Mapping[str, Labels]) -> int:
    """Count the classes of a truth by frame."""
    return len(np.unique(np.concatenate([each[each > 0] for each in truth.values()])))


def labels(run: hs.RunDirectory, scene: hs.Scene) -> list[Labels]:
    """Read the labels (y, x) of every frame."""
    return [run.open("labels", frame.name).to_numpy() for frame in scene.frames]


def accuracy(run: hs.RunDirectory, pictures: list[Picture]) -> float:
    truth = {str(number): picture.truth for number, picture in enumerate(pictures)}
    return hs.evaluate(run.path, truth).oa


def near_deviation(picture: Picture) -> NDArray[np.float64]:
    """Deviation of each band within a material, about: from pixels at a small distance."""
    both = picture.valid[:, NEAR_PX:] & picture.valid[:, :-NEAR_PX]
    wide = picture.cube.astype(np.float64)
    apart = (wide[:, NEAR_PX:] - wide[:, :-NEAR_PX])[both]
    return np.asarray(1.4826 * np.median(np.abs(apart), axis=0) / np.sqrt(2))


QUESTIONS: Mapping[str, Callable[[Asked], Iterator[Row]]] = {
    "label-space": label_space,
    "same-pixel": same_pixel,
    "duplicates": duplicates,
    "gains": gains,
    "shifts": shifts,
    "many-frames": many_frames,
    "held-out": held_out,
    "seams": seams,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", nargs="+", default=list(QUESTIONS), choices=QUESTIONS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", action="extend", default=[], help="section.key=value")
    asked = parser.parse_args()
    for name in asked.questions:
        print(f"\n{QUESTIONS[name].__doc__}\n", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            for number, method in enumerate(asked.methods):
                rows = answers(name, method, asked, Path(scratch))
                if not number:
                    heads = [name, "of", *next(iter(rows.values()))]
                    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
                for of, found in rows.items():
                    cells = [written(np.mean(values)) for values in found.values()]
                    print(f"| {' | '.join([method, of, *cells])} |", flush=True)


def answers(
    question: str, method: str, asked: argparse.Namespace, scratch: Path
) -> dict[str, dict[str, list[float]]]:
    """Ask one question of one method, and collect the answers of all seeds by row and column."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in asked.seeds:
        every = Asked(data_folder(), scratch, method, seed, tuple(asked.set))
        for of, columns in QUESTIONS[question](every):
            row = found.setdefault(of, {column: [] for column in columns})
            for column, value in columns.items():
                row[column].append(float(value))
    return found


def written(value: float) -> str:
    """Write a share or a ratio, or a number of things."""
    if np.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 and value != int(value) else f"{value:.1f}"


if __name__ == "__main__":
    main()
