"""Small images, a plain heap to compare with, and what makes superpixels superpixels."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from hsistream.superpixels.base_image import eight_bit
from tests.strategies import Shape, shapes

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (-1, 1))
"""(y, x) steps in the order in which edges are numbered."""


@dataclass(frozen=True)
class Case:
    """An image with all that may be asked of its superpixels."""

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    count: int
    neighbours: int


def noise(shape: Shape, seed: int, *, channels: int = 3, levels: int = 256) -> NDArray[np.uint8]:
    """Independent values below ``levels``."""
    values = np.random.default_rng(seed).integers(0, levels, (channels, *shape))
    return values.astype(np.uint8)


@st.composite
def cases(draw: st.DrawFn, largest: int = 9) -> Case:
    """Noise of 1, 3 or 5 channels, low and high contrast, all valid or in pieces."""
    shape, seed = draw(shapes(largest)), draw(st.integers(0, 9999))
    channels, levels = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 3, 12, 60, 256]))
    there = draw(st.sampled_from([1.0, 0.8, 0.5]))
    valid = np.random.default_rng(seed + 1).random(shape) < there
    image: NDArray[Any] = noise(shape, seed, channels=channels, levels=levels)
    if draw(st.booleans()):
        image = image + np.random.default_rng(seed + 2).random(image.shape)
    count = draw(st.integers(1, shape[0] * shape[1] + 1))
    return Case(image, valid, count, draw(st.sampled_from([4, 8])))


def salinas_a(folder: Path) -> NDArray[np.uint8]:
    """The base image of a real scene: three principal components of its unit spectra."""
    cube = np.load(folder / "salinasA.npz")["cube"].astype(np.float64)
    spectra = cube.reshape(-1, cube.shape[-1])
    spectra /= np.maximum(np.linalg.norm(spectra, axis=1, keepdims=True), 1e-6)
    spectra -= spectra.mean(axis=0)
    _, directions = np.linalg.eigh(spectra.T @ spectra)
    scores = (spectra @ directions[:, :-4:-1]).T.reshape(3, *cube.shape[:2])
    return eight_bit(scores, scores.min(axis=(1, 2)), scores.max(axis=(1, 2)))


def structure(neighbours: int) -> NDArray[np.bool_]:
    """Which pixels touch the one in the middle."""
    return np.asarray(ndimage.generate_binary_structure(2, 2 if neighbours == 8 else 1))


def pieces(area: NDArray[np.bool_], neighbours: int) -> int:
    """Connected pieces of an area."""
    return int(ndimage.label(area, structure(neighbours))[1])


def assert_superpixels(
    numbers: NDArray[np.int32], valid: NDArray[np.bool_], neighbours: int
) -> None:
    """Numbered by first appearance, -1 exactly where no data are, each one connected."""
    assert numbers.dtype == np.int32
    assert np.array_equal(numbers >= 0, valid)
    found, first = np.unique(numbers[valid], return_index=True)
    assert np.array_equal(found, np.arange(len(found)))
    assert np.all(np.diff(first) > 0)
    for superpixel in found:
        assert pieces(numbers == superpixel, neighbours) == 1


def entropy(share: float) -> float:
    return share * math.log2(share) if share > 0.0 else 0.0


class PlainHeap:
    """Entropy-rate superpixels with one heap of all edges and lists of pixels, in plain Python."""

    def __init__(self, case: Case, balance: float = 0.5) -> None:
        self.shape, self.directions = case.valid.shape, case.neighbours // 2
        self.weights = self._weights(case.image.astype(np.float64), case.valid)
        total = 2.0 * sum(self.weights.values())
        self.loops = [0.0] * case.valid.size
        for edge in sorted(self.weights):
            if total > 0.0:
                self.weights[edge] /= total
            for pixel in self.ends(edge):
                self.loops[pixel] += self.weights[edge]
        self.pixels = int(case.valid.sum())
        self.superpixel = list(range(case.valid.size))
        self.members = [[pixel] for pixel in range(case.valid.size)]
        largest = max((self.entropy_gain(edge) for edge in self.weights), default=0.0)
        balanced = 1.0 - 2.0 / max(self.pixels, 2)
        if self.pixels > 1:
            single = entropy(1 / self.pixels)
            balanced = 1.0 - entropy(2 / self.pixels) + single + single
        self.beta = balance * case.count * (largest / balanced) if balanced > 0.0 else 0.0
        self.valid, self.count = case.valid, case.count

    def _weights(self, image: NDArray[np.float64], valid: NDArray[np.bool_]) -> dict[int, float]:
        weights: dict[int, float] = {}
        height, width = self.shape
        inverse = 0.5 / (5.0 * len(image)) ** 2
        for y, x in np.argwhere(valid).tolist():
            for direction, (down, right) in enumerate(DIRECTIONS[: self.directions]):
                below, beside = y + down, x + right
                if not (0 <= below < height and beside < width and valid[below, beside]):
                    continue
                distance = 0.0
                for channel in image:
                    distance += abs(float(channel[y, x]) - float(channel[below, beside]))
                distance *= math.sqrt(2.0) if direction >= 2 else 1.0
                edge = self.directions * (y * width + x) + direction
                weights[edge] = math.exp(-distance * distance * inverse)
        return weights

    def ends(self, edge: int) -> tuple[int, int]:
        down, right = DIRECTIONS[edge % self.directions]
        first = edge // self.directions
        return first, first + down * self.shape[1] + right

    def entropy_gain(self, edge: int) -> float:
        (u, v), weight = self.ends(edge), self.weights[edge]
        left, right = self.loops[u], self.loops[v]
        return (
            entropy(left)
            + entropy(right)
            - entropy(left - weight)
            - entropy(right - weight)
            - 2.0 * entropy(weight)
        )

    def is_cycle(self, edge: int) -> bool:
        first, second = (self.superpixel[pixel] for pixel in self.ends(edge))
        return first == second

    def gain(self, edge: int) -> float:
        sizes = [len(self.members[self.superpixel[pixel]]) for pixel in self.ends(edge)]
        joined, one, two = (entropy(s / self.pixels) for s in (sum(sizes), *sizes))
        return self.entropy_gain(edge) + self.beta * (1.0 - joined + one + two)

    def take(self, edge: int) -> None:
        for pixel in self.ends(edge):
            self.loops[pixel] -= self.weights[edge]
        large, small = (self.superpixel[pixel] for pixel in self.ends(edge))
        if len(self.members[large]) < len(self.members[small]):
            large, small = small, large
        for pixel in self.members[small]:
            self.superpixel[pixel] = large
        self.members[large] += self.members[small]
        self.members[small] = []

    def segment(self) -> tuple[list[int], NDArray[np.int64]]:
        """Return the taken edges, and the superpixel of each pixel, -1 where not valid."""
        heap = [(-self.gain(edge), edge) for edge in self.weights]
        heapq.heapify(heap)
        taken: list[int] = []
        while heap and self.pixels - len(taken) > self.count:
            stored, edge = heapq.heappop(heap)
            if self.is_cycle(edge):
                continue
            gain = self.gain(edge)
            if gain >= -stored:
                self.take(edge)
                taken.append(edge)
            else:
                heapq.heappush(heap, (-gain, edge))
        found = np.array(self.superpixel).reshape(self.shape)
        return taken, np.where(self.valid, found, -1)


def by_first_appearance(parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber a partition in the order of rows; -1 stays."""
    names: dict[int, int] = {-1: -1}
    flat = [names.setdefault(part, len(names) - 1) for part in parts.ravel().tolist()]
    return np.array(flat, np.int64).reshape(parts.shape)
