"""The sections of a configuration: every setting, its type, its default and its limits."""

from __future__ import annotations

from os import PathLike
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SpectralName = Literal["z", "l2", "mnf", "latents"]
SpatialName = Literal["plain", "gaussian", "edge"]
GroupBy = Literal["scene", "frame", "group"]
IlluminationName = Literal["none", "snv", "snv+brightness", "l2", "l2+brightness", "continuum"]
FeatureName = Literal["raw", "pca", "mnf", "mean5", "latents"]
ClassifierName = Literal["lda", "logistic", "transformer", "ctssfm"]
SplitName = Literal["random", "fraction", "blocks"]
HeadName = Literal["consensus", "prototypes", "diffusion", "joint"]
Temperature = Annotated[float, Field(gt=0, le=10)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _text(value: Any) -> Any:
    """Write a path as text, in which it is kept."""
    return str(value) if isinstance(value, PathLike) else value


Address = Annotated[str, BeforeValidator(_text)]


class Section(BaseModel):
    """A frozen section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StatisticsSection(Section):
    """How spectra are standardised: over which frames, and after which change of their light."""

    illumination: IlluminationName = "none"
    """What is done to every spectrum, by itself, before anything is measured."""
    by: GroupBy = "scene"
    groups: dict[str, str] = Field(default_factory=dict)
    """Frame name to group name, for ``by = "group"``."""
    limits: Literal["extremes", "percentiles"] = "extremes"
    """Between what masked autoencoders and denoisers see a feature from least to greatest: all
    that occurs, or, so that a few glaring pixels do not squeeze the others, all but a thousandth
    of a sample at either end, which then counts as the end."""

    @model_validator(mode="after")
    def _groups_are_named(self) -> StatisticsSection:
        if (self.by == "group") != bool(self.groups):
            raise ValueError(
                'by = "group" and a table [statistics.groups] (frame = "group") belong together; '
                "on the command line: --statistics group --set statistics.groups.FRAME=GROUP"
            )
        return self


class ReservoirSection(Section):
    """The seeded sample of pixels from which codebooks are learnt."""

    pixels: Annotated[int, Field(ge=100, le=2_000_000)] = 100_000


class ViewsSection(Section):
    """Spectral projections and spatial filters whose products are the views."""

    spectral: tuple[SpectralName, ...] = ("z", "mnf")
    spatial: tuple[SpatialName, ...] = ("plain", "gaussian", "edge")
    z_components: Annotated[int, Field(ge=1, le=200)] = 20
    l2_components: Annotated[int, Field(ge=1, le=200)] = 20
    mnf_components: Annotated[int, Field(ge=1, le=200)] = 12
    weights: dict[str, Weight] = Field(default_factory=dict)
    """View name (such as ``"mnf.edge"``) to weight; a view that is not named weighs 1."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the views, ``spectral.spatial``, in order."""
        return tuple(
            f"{spectral}.{spatial}" for spectral in self.spectral for spatial in self.spatial
        )

    @property
    def scored(self) -> tuple[SpectralName, ...]:
        """Spectral names that are projections of spectra, and not latents."""
        return tuple(name for name in self.spectral if name != "latents")

    @property
    def latents(self) -> bool:
        """Whether the latents of a network are among the views."""
        return "latents" in self.spectral

    @model_validator(mode="after")
    def _names_are_sound(self) -> ViewsSection:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError("spectral and spatial need at least one name each, and none twice")
        unknown = set(self.weights) - set(self.names)
        if unknown:
            raise ValueError(
                f"weights name {sorted(unknown)}, but the views are {list(self.names)}"
            )
        if self.weights and not any(self.weights.get(name, 1.0) for name in self.names):
            raise ValueError("at least one view needs a weight above 0")
        return self


class CodebooksSection(Section):
    """The small k-means codebooks of every view."""

    multiples: tuple[Annotated[int, Field(ge=1, le=20)], ...] = (1, 2, 3)
    draws: Annotated[int, Field(ge=1, le=10)] = 2
    """Independent codebooks of each size; more make the result depend less on the seed."""
    starts: Annotated[int, Field(ge=1, le=100)] = 1

    @model_validator(mode="after")
    def _has_multiples(self) -> CodebooksSection:
        if not self.multiples:
            raise ValueError("multiples needs at least one number")
        return self


class ClusterSection(Section):
    """How many clusters, and how pixels are divided among them."""

    head: HeadName = "consensus"
    """What makes labels: the landmark consensus; the prototypes of the encoder, merged; diffusion
    on a graph of superpixels; or the consensus with clusterings of that graph among its codebooks,
    jointly."""
    clusters: Annotated[int, Field(ge=1, le=1000)] | None = None
    """None: estimated from the eigenvalue spectrum."""
    merge: Literal["diffusion", "ward"] = "diffusion"
    """How prototypes are merged: by where and how they meet in the scene, or by themselves."""
    most: Annotated[int, Field(ge=2, le=100)] = 12
    """Largest number of clusters that an estimate may give."""
    starts: Annotated[int, Field(ge=1, le=100)] = 10

    @property
    def largest(self) -> int:
        """Number of clusters, or the most that an estimate may give."""
        return self.clusters or self.most


class _SuperpixelSection(Section):
    """What all ways to cut superpixels share."""

    superpixels: Annotated[int, Field(ge=1)] | None = None
    """Of the whole scene; None: one for 20 pixels, from 200 to 2,000, or one for 200 pixels where
    that is more."""
    tile_px: Annotated[int, Field(ge=16, le=8192)] = 1024
    """Side of the tiles that are cut one by one, which shape the result."""
    overlap_px: Annotated[int, Field(ge=0, le=1024)] = 32
    """Pixels around a tile that are cut with it, so that superpixels cross the edges of tiles;
    half a tile at most."""

    @property
    def margin_px(self) -> int:
        """Pixels around a tile that are cut with it."""
        return min(self.overlap_px, self.tile_px // 2)

    def count(self, pixels: int) -> int:
        """Count the superpixels of a scene of so many pixels with data.

        Examples
        --------
        >>> [ErsSection().count(pixels) for pixels in (900, 7138, 10**6)]
        [200, 356, 5000]
        """
        wanted = self.superpixels or max(min(max(pixels // 20, 200), 2000), pixels // 200)
        return min(wanted, pixels)

    def options(self) -> dict[str, Any]:
        """Give what the segmenter alone wants to know."""
        return self.model_dump(exclude={"name", *_SuperpixelSection.model_fields})


class ErsSection(_SuperpixelSection):
    """Entropy-rate superpixels."""

    name: Literal["ers"] = "ers"
    neighbours: Literal[4, 8] = 8
    balance: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Weight of even sizes against homogeneous superpixels."""


class SlicSection(_SuperpixelSection):
    """Simple linear iterative clustering."""

    name: Literal["slic"] = "slic"
    compactness: Annotated[float, Field(gt=0, le=1000)] = 0.1
    """Weight of nearness in the frame against likeness."""


SegmentSection = Annotated[ErsSection | SlicSection, Field(discriminator="name")]
"""How frames are cut into superpixels, with the settings of that way."""


class GraphSection(Section):
    """The graph of the densest pixels of all superpixels, and what is made of it."""

    representatives: Annotated[int, Field(ge=1, le=50)] = 3
    """Pixels of each superpixel, its densest, that are nodes."""
    neighbours: Annotated[int, Field(ge=1, le=200)] = 30
    """Nearest pixels that tell the density, and nearest nodes within the window of a node."""
    percentile: Annotated[float, Field(gt=0, le=100)] = 50.0
    """Of the distances to the nearest pixels: the scale of the density."""
    radius_px: Annotated[int, Field(ge=1)] | None = None
    """Half the window of a node; None: as wide as holds twice the neighbours."""
    distant_neighbours: Annotated[int, Field(ge=0, le=100)] = 0
    """Nearest nodes anywhere in the scene, besides those of the window."""
    alpha: Annotated[float, Field(ge=0, le=0.95)] = 0.4
    """Chance that a step of the walk leads over a landmark to a node of any frame."""
    landmarks: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Points of feature space that nodes share; None: one for 100 nodes, from 200 to 2,000."""
    nearest_landmarks: Annotated[int, Field(ge=1, le=50)] = 5
    """Landmarks that a node has a share in."""
    features: Literal["scores", "bands"] = "scores"
    """What nodes are compared by, where there is no network: principal components of unit-norm
    spectra (``views.l2_components``), or all bands of them."""
    norm: Literal["pi", "unit"] = "pi"
    """Length of eigenvectors: 1 under the stationary distribution, or as vectors."""
    time: Literal["settled", "central"] | Annotated[int, Field(ge=0)] = "settled"
    """Steps of the walk; ``settled``: until only as many eigenvectors as clusters are left;
    ``central``: where the clusters are nearest to those at all other times."""
    assignment: Literal["merge", "modes", "kmeans", "ward"] = "ward"
    """How nodes become clusters: many modes, merged by Ward's rule; one mode per cluster; or by
    their places in the diffusion map."""
    weight: Weight = 1.0
    """Of all clusterings of the head ``joint``; all views of one spectral name weigh 1."""
    modes: Annotated[int, Field(ge=1, le=200)] = 6
    """Modes per cluster, where they are merged."""
    reference_pixels: Annotated[int, Field(ge=1000, le=100_000)] = 25_000
    """Sample of pixels against which densities are measured: all pixels of a small scene."""

    @property
    def scored(self) -> bool:
        """Whether nodes are compared by scores, where there is no network."""
        return self.features == "scores"

    def landmark_count(self, nodes: int) -> int:
        """Count the landmarks of so many nodes.

        Examples
        --------
        >>> [GraphSection().landmark_count(nodes) for nodes in (1_000, 50_000, 10**6)]
        [200, 500, 2000]
        """
        return self.landmarks or min(max(nodes // 100, 200), 2000)


class LearntSection(Section):
    """What an earlier run has learnt, by which frames that it has not seen are labelled."""

    run: str
    """Directory of that run: an address, which changes no result."""
    fingerprint: str
    """Hash of the files that it has learnt."""


class WindowSection(Section):
    """What all classifiers that look at a window of features around a pixel share."""

    window_px: Annotated[int, Field(ge=3, le=31)] = 9
    """Side of the window, odd."""
    steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """None: as many as see every label 50 times, but from 200 to 2,000."""
    batch: Annotated[int, Field(ge=2, le=4096)] = 32
    """Pixels of a step; each class is as likely to be drawn as any other."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip: Annotated[float, Field(gt=0)] = 15.0
    """Largest norm of a gradient."""

    def step_count(self, labels: int) -> int:
        """Count the steps of a training on so many labels.

        Examples
        --------
        >>> [WindowSection().step_count(labels) for labels in (90, 300, 5000)]
        [200, 468, 2000]
        """
        return self.steps or min(max(50 * labels // self.batch, 200), 2000)

    @model_validator(mode="after")
    def _window_is_odd(self) -> WindowSection:
        if not self.window_px % 2:
            raise ValueError("window_px must be odd: a window has a middle")
        return self


class TransformerSection(WindowSection):
    """The transformer on a window of any features."""

    profile: Literal["base", "paper"] = "base"
    """Widths: few heads and a wide layer, or those of the published code."""


class CtssfmSection(WindowSection):
    """The classifier that fuses the time steps and stages of a diffusion model."""

    variant: Literal["window", "steps"] = "window"
    """What is compared by attention: the pixels of a window, or the stages at all time steps of
    the pixel alone."""
    weights: Literal["stage", "pixel", "even"] = "stage"
    """Of the time steps, for ``window``: learnt for each stage, told by every pixel, or all the
    same."""
    keep: Annotated[int, Field(ge=1, le=20)] | Literal["all"] = 5
    """Time steps that are used where latents have more: the best for the labels, or all."""
    batch: Annotated[int, Field(ge=2, le=4096)] = 64
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4


class ClassifySection(Section):
    """A map of classes from labelled pixels: whose labels, of which features, by what."""

    labels: Address
    """File of the labels: an address, which changes no result."""
    fingerprint: str = ""
    """Hash of the labelled pixels and the names of their classes."""
    classes: Annotated[int, Field(ge=0)] = 0
    labelled: Annotated[int, Field(ge=0)] = 0
    """Classes and labelled pixels of the file, counted when it is read."""
    key: str | None = None
    """Variable of the file that holds the labels."""
    frame: str | None = None
    """The only frame that has labels."""
    field: str = "class"
    """Field, or column, of points and polygons that holds the class."""
    features: tuple[FeatureName, ...] = ("raw",)
    """What a classifier sees of a pixel, one after the other: standardised spectra, principal
    components, minimum noise fractions, the mean of components over 5 x 5 px, or latents."""
    classifier: ClassifierName = "lda"
    split: SplitName = "random"
    """Which labels are learnt from for scores: some of each class, a share of each class, or some
    of each class in blocks that lie apart from those of the test."""
    splits: Annotated[int, Field(ge=0, le=100)] = 10
    """How often labels are divided anew for scores."""
    per_class: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Labels of each class that are learnt from, for ``random`` and ``blocks``."""
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the labels that are learnt from, for ``fraction``."""
    block_px: Annotated[int, Field(ge=2, le=8192)] = 25
    """Side of the blocks of a frame that are learnt from or tested as a whole."""
    block_share: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Share of the blocks that are learnt from."""
    apart_px: Annotated[int, Field(ge=0, le=8192)] | None = None
    """Least distance of pixels of the test from those of the training, for ``blocks``; None: so far
    that nothing that is looked at for one is looked at for the other."""
    most: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Labels of each class from which the map is learnt, at most."""
    penalty: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Inverse strength of the penalty of the classifier ``logistic``."""
    probabilities: bool = False
    """Keep the probability of every class, beside that of the likeliest."""
    transformer: TransformerSection = TransformerSection()
    ctssfm: CtssfmSection = CtssfmSection()

    @model_validator(mode="after")
    def _features_are_sound(self) -> ClassifySection:
        if not self.features or len(set(self.features)) < len(self.features):
            raise ValueError("features needs at least one name, and none twice")
        return self

    @property
    def lesson_pixels(self) -> int:
        """Labelled pixels that the map and all splits are learnt from, at most.

        Examples
        --------
        >>> section = ClassifySection(labels="a.csv", classes=3, labelled=5000, splits=2, most=100)
        >>> section.lesson_pixels
        360
        """
        of_split = self.classes * self.per_class
        if self.split == "fraction":
            of_split = round(self.fraction * self.labelled) + self.classes
        return min(self.labelled, self.classes * self.most + self.splits * of_split)
