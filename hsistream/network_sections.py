"""The sections of a configuration that are about networks, and their training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hsistream.sections import Section, Temperature, Weight

TimeStep = Annotated[int, Field(ge=1, le=1000)]


def prototypes_for(clusters: int) -> int:
    """Count the prototypes of a network where they are not given: four per cluster, 16 to 64."""
    return min(max(4 * clusters, 16), 64)


class DgcSection(Section):
    """Deep Global Clustering: the robust recipe."""

    name: Literal["dgc"]
    components: Annotated[int, Field(ge=2, le=128)] = 16
    """Scores of the stem, as many as there are features at most."""
    hidden: Annotated[int, Field(ge=4, le=256)] = 16
    """Width of the spatial residual."""
    train_stem: bool = False
    """Train the principal directions too, and not only what is added to them."""
    spectral_branch: bool = False
    """Add convolutions along the wavelengths to the stem."""
    prototypes: Annotated[int, Field(ge=2, le=256)] | None = None
    """More than clusters, merged afterwards; None: four per cluster, from 16 to 64."""
    least: Annotated[int, Field(ge=1, le=256)] | None = None
    """Prototypes that must stay in use; None: as many as clusters."""
    targets: Literal["sharpened", "sinkhorn"] = "sharpened"
    """What the student learns: the teacher's sharpened assignment, or a balanced one."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of balanced targets: 0 for prototypes of equal shares, 1 for the shares that they have."""
    guard: bool = True
    """Balance the targets once the prototypes in use become few."""
    student_temperature: Temperature = 0.05
    teacher_temperature: Temperature = 0.03
    gain: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Deviation of the logarithm of the brightness by which a view is changed."""
    noise: Annotated[float, Field(ge=0, le=5)] = 0.1
    """Deviation of the noise added to a view, in deviations of each band."""
    band_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    band_shift: Annotated[int, Field(ge=0, le=8)] = 0
    """Largest shift of a view along the bands."""
    repulsion: Weight = 0.0
    reconstruction: Weight = 0.0

    @property
    def softness(self) -> float:
        """Temperature at which cosines with prototypes become shares."""
        return self.student_temperature

    def resolved(self, clusters: int, largest: int) -> DgcSection:
        """Fill in what follows from the number of clusters, or the largest that may be found."""
        prototypes = self.prototypes or prototypes_for(largest)
        least = self.least or min(clusters, prototypes)
        return self.model_copy(update={"prototypes": prototypes, "least": least})


class DgcPaperSection(Section):
    """Deep Global Clustering as its paper describes it."""

    name: Literal["dgc-paper"]
    prototypes: Annotated[int, Field(ge=2, le=256)] | None = None
    """Centroids; None: as many as clusters."""
    bandwidth: Annotated[float, Field(gt=0, le=10)] = 0.3
    """Start of the learnt bandwidth of the mean shift; the authors' is 1."""
    iterations: Annotated[int, Field(ge=1, le=20)] = 5
    temperature: Temperature = 0.05
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Of the moving centroids."""
    hard: bool = False
    """Move centroids by the pixels that they win, not by soft shares."""
    start: Literal["reservoir", "random"] = "reservoir"
    """Centroids start at k-means of the reservoir's latents, or anywhere."""
    compactness: Weight = 1.0
    orthogonality: Weight = 0.1
    """Of the means that the centroids move towards."""
    consistency: Weight = 1.0
    balance: Weight = 1.0
    confidence: Weight = 0.1
    uniformity: Weight = 0.0

    @property
    def softness(self) -> float:
        """Temperature at which cosines with prototypes become shares."""
        return self.temperature

    def resolved(self, clusters: int, largest: int) -> DgcPaperSection:
        """Fill in the number of centroids: that of the clusters, within its limits."""
        prototypes = self.prototypes or min(max(largest, 2), 256)
        return self.model_copy(update={"prototypes": prototypes})


class UmaeSection(Section):
    """A masked autoencoder of small patches."""

    name: Literal["umae"]
    profile: Literal["paper", "fast"] = "fast"
    """A token for every band, or few tokens for large groups of bands."""
    patch_px: Annotated[int, Field(ge=1, le=15)] = 7
    """Side of the square of pixels that is seen, odd."""
    group: Annotated[int, Field(ge=1, le=31)] = 5
    """Bands of a token, odd; of the profile paper."""
    tokens: Annotated[int, Field(ge=1, le=256)] = 12
    """Tokens, as many as there are features at most; of the profile fast."""
    scores: Annotated[int, Field(ge=1, le=32)] = 4
    """Values that each token keeps of a spectrum; of the profile fast."""
    width: Annotated[int, Field(ge=2, le=512)] = 48
    """Values of a token, and latents."""
    depth: Annotated[int, Field(ge=1, le=24)] = 6
    heads: Annotated[int, Field(ge=1, le=32)] | None = None
    """Parts of a token that attend by themselves; None: 6 with the profile paper, 3 with fast."""
    decoder_width: Annotated[int, Field(ge=2, le=512)] = 48
    decoder_depth: Annotated[int, Field(ge=1, le=24)] = 4
    decoder_heads: Annotated[int, Field(ge=1, le=32)] = 4
    hidden: Annotated[int, Field(ge=4, le=2048)] = 192
    """Width of the layers between two attentions."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    pixels: Annotated[int, Field(ge=1, le=20_000)] = 400
    """Pixels whose patches are learnt from; those farthest from each other."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 48
    """Pixels of a step."""
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the tokens that are hidden, and guessed."""
    mask_mode: Literal["resample", "fixed"] = "resample"
    """Hide other tokens of a pixel in every epoch, or always the same."""
    sample: Annotated[int, Field(ge=1, le=20_000)] = 1024
    """Pixels on which a training is watched, and by which latents are standardised."""
    prototypes: Annotated[int, Field(ge=2, le=256)] | None = None
    """Means of latents, found afterwards; None: four per cluster, from 16 to 64."""
    softness: Temperature = 0.05
    """Temperature at which cosines with prototypes become shares."""

    @property
    def attention_heads(self) -> int:
        """Heads of the encoder."""
        return self.heads or (6 if self.profile == "paper" else 3)

    @property
    def reach(self) -> int:
        """Pixels around a pixel that are seen."""
        return self.patch_px // 2

    def resolved(self, clusters: int, largest: int) -> UmaeSection:
        """Fill in what follows from the number of clusters, or the largest that may be found."""
        prototypes = self.prototypes or prototypes_for(largest)
        return self.model_copy(update={"prototypes": prototypes})

    @model_validator(mode="after")
    def _sizes_fit(self) -> UmaeSection:
        if not self.patch_px % 2 or not self.group % 2:
            raise ValueError("patch_px and group must be odd: they have a middle")
        if self.width % self.attention_heads or self.decoder_width % self.decoder_heads:
            raise ValueError(
                "width must be a multiple of heads, which are 6 with the profile paper and 3 with "
                "fast unless they are set; and so for the decoder"
            )
        return self


class DenoiserSection(Section):
    """What networks have in common that learn to take noise out of squares of a scene."""

    profile: Literal["paper", "base", "lite"] = "lite"
    bands: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Means of neighbouring features that are seen; None: all with the profile paper, 64 with
    base, 32 with lite."""
    noise: Literal["none", "hash"] = "none"
    """What is added to spectra that are encoded: nothing, or the noise of their place."""
    components: Annotated[int, Field(ge=1, le=2048)] = 64
    """Principal components of the features, as many as there are at most."""
    whiten: bool = False
    """Give all components the same variance, and not only one scale."""
    own_share: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Share of the variance of latents that is due to the spectrum of a pixel itself, as the
    network is shown it, and not to what the network sees in it and around it."""
    portions: Annotated[int, Field(ge=1, le=64)] = 2
    """Parts of a step that are computed one by one, each with squares of every crop."""
    prototypes: Annotated[int, Field(ge=2, le=256)] | None = None
    """Means of latents, found afterwards; None: four per cluster, from 16 to 64."""
    softness: Temperature = 0.05
    """Temperature at which cosines with prototypes become shares."""

    @property
    def lifted(self) -> bool:
        """Tell whether latents are components and the lift that makes unit vectors of them."""
        return True

    def band_means(self, features: int) -> int:
        """Count the values of a spectrum that are seen.

        Examples
        --------
        >>> [SpectraldiffSection(name="spectraldiff").band_means(count) for count in (8, 204)]
        [8, 32]
        """
        usual = {"paper": features, "base": 64, "lite": 32}[self.profile]
        return min(features, self.bands or usual)

    def resolved(self, clusters: int, largest: int) -> Self:
        """Fill in what follows from the number of clusters, or the largest that may be found."""
        prototypes = self.prototypes or prototypes_for(largest)
        return self.model_copy(update={"prototypes": prototypes})


class SpectraldiffSection(DenoiserSection):
    """A diffusion model: what it sees in slightly noised spectra and their surroundings."""

    name: Literal["spectraldiff"]
    profile: Literal["paper", "base", "lite"] = "lite"
    """The published network; one of half its width; or that with layers cut into two."""
    time_step: Annotated[int, Field(ge=0, lt=500)] = 5
    """Step of the noise at which latents are read."""
    tap: Literal["down", 0, 1, 2] = "down"
    """Where they are read: behind the first block that goes down, or before a block that goes
    up, as published; the features of a later one have seen more pixels."""
    crop_px: Annotated[int, Field(ge=4, le=64)] = 16
    """Side of the squares of a crop that are learnt from."""


class DiffcrnSection(DenoiserSection):
    """A diffusion model of attention in windows, which also learns to tell places apart."""

    name: Literal["diffcrn"]
    profile: Literal["paper", "lite"] = "lite"
    """All bands, or 32 means of neighbouring ones; the layers are the same."""
    latents: Literal["components", "stages"] = "components"
    """Principal components of the features, or all of them: for the classifier ctssfm."""
    time_steps: Literal["usual", "angle"] | tuple[TimeStep, ...] = "usual"
    """Steps of the noise, from 1 to 1000, at which features are read: five that change the
    directions of spectra evenly (``angle``), or those given. Usual are 40 for components, which
    are those of the mean over steps, and five by their angles for stages."""
    stages: tuple[Annotated[int, Field(ge=1, le=4)], ...] = (1, 2, 3, 4)
    """Stages whose features become components."""
    order: Literal["alternating", "paired", "spatial", "spectral"] = "alternating"
    """Whether stages that look at pixels and at bands take turns, or which ones there are."""
    window_px: Annotated[int, Field(ge=8, le=64, multiple_of=8)] = 32
    """Side of the windows that are encoded by themselves."""
    centre_px: Annotated[int, Field(ge=2, le=64, multiple_of=2)] = 24
    """Side of the middle of a window, which is kept."""
    crop_px: Annotated[int, Field(ge=8, le=64, multiple_of=8)] = 16
    """Side of the squares of a crop that are learnt from."""
    loss: Literal["log1p", "logcosh", "scaled", "l1", "l2"] = "log1p"
    """Of the error of the guessed noise."""
    loss_scale: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Error from which on the loss ``scaled`` rises slowly."""
    contrast: Weight = 0.1
    """Weight of the loss by which two views of a place are to be alike, and places not."""
    contrast_temperature: Temperature = 0.2

    @property
    def lifted(self) -> bool:
        """Tell whether latents are components and the lift that makes unit vectors of them."""
        return self.latents == "components"

    @property
    def rim_px(self) -> int:
        """Pixels of a window around its middle."""
        return (self.window_px - self.centre_px) // 2

    @property
    def halo_px(self) -> int:
        """Pixels on which a pixel depends: the rim, and its middle but for one pixel."""
        return self.rim_px + self.centre_px - 1

    @model_validator(mode="after")
    def _windows_hold_their_middle(self) -> DiffcrnSection:
        if self.centre_px > self.window_px:
            raise ValueError("centre_px must not exceed window_px: a window holds its middle")
        if not self.stages or len(set(self.stages)) < len(self.stages):
            raise ValueError("stages needs at least one number, and none twice")
        return self


EncoderSection = Annotated[
    DgcSection | DgcPaperSection | UmaeSection | SpectraldiffSection | DiffcrnSection,
    Field(discriminator="name"),
]
"""The network that turns spectra into latents, with its own settings."""


class TrainingSection(Section):
    """How a network is trained."""

    steps: Annotated[int, Field(ge=0, le=1_000_000)] = 240
    pairs: Annotated[int, Field(ge=1, le=64)] = 2
    """Pairs of overlapping crops per step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    decay: Literal["cosine", "stairs"] = "cosine"
    """How the learning rate falls: to 0, or by a tenth after every tenth of the steps."""
    warm_up: Annotated[int, Field(ge=0)] = 20
    weight_decay: Weight = 1e-4
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of a gradient."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Of the moving average of the weights, which is what is used afterwards."""
    check_every: Annotated[int, Field(ge=1)] = 30
    probe: Annotated[int, Field(ge=1, le=256)] = 16
    """Crops on which a training is watched; a check takes longer with more."""
    patience: Annotated[int, Field(ge=1)] = 3
    """Checks in a row without a change after which training stops."""
    rollbacks: Annotated[int, Field(ge=0, le=10)] = 2
    """Collapses after which training goes on from its best state."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the arithmetic of the losses; bfloat16 changes the result a little, and is for machines
    that multiply it."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Stop after so long; the result then depends on the speed of the machine."""
    amplification: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Bytes that may be read for one byte used."""
