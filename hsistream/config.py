"""What is asked of a run (:class:`RunConfig`): checked here, once, at the door.

All of it may change the result and is fingerprinted; how to run it is said by
:class:`hsistream.execution.Execution`, nothing of which may.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from hsistream.errors import ConfigError
from hsistream.network_sections import DiffcrnSection, EncoderSection, TrainingSection
from hsistream.presets import CLASSIFY_PRESETS, preset_settings, presets_of
from hsistream.sections import (
    ClassifySection,
    ClusterSection,
    CodebooksSection,
    ErsSection,
    GraphSection,
    LearntSection,
    ReservoirSection,
    Section,
    SegmentSection,
    StatisticsSection,
    ViewsSection,
)
from hsistream.trees import flat, key_path, merged, nested, toml_value

KEY = re.compile(r"\w+")
TYPES = ("int", "float", "str", "bool")
"""Kinds of alternatives that pydantic names in the place of a problem."""

PROJECTION_OF = {"pca": "z", "mean5": "z", "mnf": "mnf"}
"""Features of a classifier that are scores, to their projection."""


class RunConfig(Section):
    """What is asked of a run: everything that may change its result.

    What is not given is as the preset of the method has it.
    """

    method: str = "consensus"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    statistics: StatisticsSection = StatisticsSection()
    reservoir: ReservoirSection = ReservoirSection()
    views: ViewsSection = ViewsSection()
    codebooks: CodebooksSection = CodebooksSection()
    segment: SegmentSection = ErsSection()
    graph: GraphSection = GraphSection()
    cluster: ClusterSection = ClusterSection()
    encoder: EncoderSection | None = None
    training: TrainingSection = TrainingSection()
    learnt: LearntSection | None = None
    classify: ClassifySection | None = None

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, given: Any) -> Any:
        """Overlay what is given on the preset of its method, if there is one."""
        if not isinstance(given, dict):
            return given
        known = presets_of(given.get("classify") is not None)
        preset = known.get(given.get("method", cls.model_fields["method"].default))
        return merged(preset_settings(preset, given), given) if preset else given

    @field_validator("segment", mode="before")
    @classmethod
    def _cut_by_default(cls, given: Any) -> Any:
        """Entropy rate is meant where no other way to cut superpixels is named."""
        return {"name": "ers", **given} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _method_is_known(self) -> RunConfig:
        known = presets_of(self.classify is not None)
        if self.method not in known:
            raise ValueError(f"method {self.method!r} is not one of {', '.join(known)}")
        self._check_encoder()
        if self.kmeans and self.cluster.clusters is None:
            raise ValueError(
                "method kmeans cannot estimate the number of clusters: give --clusters"
            )
        return self

    def model_post_init(self, _: Any) -> None:
        """Fill in what follows from other settings, however the configuration was made."""
        self.__dict__["encoder"] = _resolved(self)  # which is frozen for everybody else
        _check_prototypes(self)

    def _check_encoder(self) -> None:
        """Refuse a network that nothing uses, and a use without a network."""
        if self.classify is not None:
            if ("latents" in self.classify.features) != (self.encoder is not None):
                raise ValueError(
                    "a network and its latents belong together: set encoder.name (--method dgc), "
                    'and have "latents" among classify.features (--features)'
                )
            stages = isinstance(self.encoder, DiffcrnSection) and self.encoder.latents == "stages"
            fit = self.classify.features == ("latents",) and stages
            if self.classify.classifier == "ctssfm" and not fit:
                raise ValueError(
                    "classifier ctssfm needs the stages of diffcrn alone: use --method diffcrn "
                    "--set encoder.latents=stages --features latents, or another classifier"
                )
            return
        if self.cluster.head == "prototypes" and self.encoder is None:
            raise ValueError('cluster.head = "prototypes" needs a network: set encoder.name')
        unused = self.cluster.head == "consensus" and self.encoder and not self.views.latents
        if unused or (self.views.latents and self.encoder is None):
            raise ValueError(
                'a network and its latents belong together: set encoder.name, and add "latents" to '
                'views.spectral (or set cluster.head = "prototypes")'
            )
        if self.training.minutes is not None and self.encoder is None:
            raise ValueError(
                "training.minutes (--max-train-minutes) limits the training of a network, and "
                f"method {self.method} has none"
            )

    @property
    def kmeans(self) -> bool:
        """Whether a single codebook is the whole method."""
        if self.cluster.head != "consensus" or self.classify is not None:
            return False
        books = len(self.codebooks.multiples) * self.codebooks.draws
        return len(self.views.names) * books == 1

    @property
    def has_superpixels(self) -> bool:
        """Whether frames are cut into superpixels."""
        return self.classify is None and self.cluster.head in ("diffusion", "joint")

    @property
    def has_codebooks(self) -> bool:
        """Whether codebooks are learnt from views."""
        return self.classify is None and self.cluster.head in ("consensus", "joint")

    @property
    def projected(self) -> ViewsSection:
        """What spectra are projected to: by unit-norm spectra, superpixels are cut."""
        if self.classify is not None:
            used = {PROJECTION_OF.get(name) for name in self.classify.features}
            return self.views.model_copy(
                update={"spectral": tuple(name for name in ("z", "mnf") if name in used)}
            )
        names = self.views.spectral if self.has_codebooks or not self.has_superpixels else ()
        if self.has_superpixels and "l2" not in names:
            names = (*names, "l2")
        return self.views.model_copy(update={"spectral": names})

    @classmethod
    def make(
        cls,
        method: str | None = None,
        file: str | Path | None = None,
        settings: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    ) -> RunConfig:
        """Put a configuration together: preset, then file, then single settings.

        Parameters
        ----------
        method : str, optional
            A key of ``PRESETS``; overrides the file's.
        file : str or Path, optional
            A TOML file with the sections of this class.
        settings : mapping of str to value, or sequence of (str, value)
            Dotted keys such as ``{"cluster.clusters": 6}``, applied last.

        Returns
        -------
        RunConfig
            The checked configuration, defaults filled in.

        Raises
        ------
        ConfigError
            If a key is unknown, a value is not allowed, or the file cannot be read.
        """
        from_file = _read_toml(Path(file)) if file else {}
        if isinstance(settings, str):
            raise ConfigError(
                f'Settings are needed as a mapping such as {{"cluster.clusters": 6}}, or as pairs '
                f"of a key and a value, but found {settings!r}."
            )
        given = list(settings.items() if isinstance(settings, Mapping) else settings)
        classify = "classify" in from_file or any(
            key_path(key)[0] == "classify" for key, _ in given
        )
        known = presets_of(classify)
        usual = next(iter(known))
        name = dict(given).get("method") or method or from_file.get("method", usual)
        if name in CLASSIFY_PRESETS and name not in known:
            raise ConfigError(
                f"--method {name} makes maps of classes, which need labels: set classify.labels, "
                f"or use hsistream classify. For clusters choose one of {', '.join(known)}."
            )
        if name not in known:
            raise ConfigError(
                f"--method must be one of {', '.join(known)}, but is {name!r}. "
                f"See: hsistream methods"
            )
        tree = from_file | {"method": name}
        for key, value in given:
            tree = merged(tree, nested(key_path(key), value))
        return cls.check(tree)

    @classmethod
    def from_toml(cls, path: str | Path) -> RunConfig:
        """Read a configuration file; see :meth:`make`."""
        return cls.make(file=path)

    @classmethod
    def check(cls, tree: Mapping[str, Any]) -> RunConfig:
        """Validate a nested mapping, with an error that names key, value and what is allowed."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from error

    def with_clusters(self, clusters: int) -> RunConfig:
        """Ask for another number of clusters of the same prototypes or superpixels.

        Raises
        ------
        ConfigError
            If clusters are not made of prototypes or superpixels, or there are too few
            prototypes, or less than one cluster is asked for.
        """
        if self.classify is not None:
            raise ConfigError(
                f"relabel needs a run whose clusters are merged prototypes or superpixels, but "
                f"this one is a map of classes, as many as its labels name. For clusters: "
                f"hsistream cluster SCENE --clusters {clusters}."
            )
        if self.has_codebooks:
            raise ConfigError(
                f"relabel needs a run whose clusters are merged prototypes or superpixels, such as "
                f"those of --method dgc, but this run is {self.method}. Run hsistream cluster "
                f"again with --clusters {clusters}."
            )
        if (
            self.cluster.head == "prototypes"
            and self.encoder is not None
            and clusters > (self.encoder.prototypes or 0)
        ):
            raise ConfigError(
                f"At most one cluster per prototype can be found, but --clusters is {clusters} and "
                f"the run has {self.encoder.prototypes} prototypes. Run hsistream cluster again "
                f"with --clusters {clusters}."
            )
        tree = self.model_dump()
        tree["cluster"]["clusters"] = clusters
        return self.check(tree)

    def to_toml(self) -> str:
        """Write all settings, so that they can be read without the code.

        What is not set, and follows from the scene or other settings, is a comment.
        """
        plain, sections = [], []
        for key, value in self.model_dump(mode="json").items():
            if isinstance(value, dict):
                lines = (_line(name, each) for name, each in value.items())
                sections += ["", f"[{key}]", *lines]
            elif value is not None:
                plain.append(_line(key, value))
        return "\n".join([*plain, *sections]) + "\n"

    def differences(self, other: RunConfig) -> list[str]:
        """List the settings in which two configurations differ, as ``key: mine, not theirs``."""
        one, two = self.model_dump(mode="json"), other.model_dump(mode="json")
        mine, theirs = _against(one, two), _against(two, one)
        addresses = {"learnt.run", "classify.labels"}
        keys = sorted((mine.keys() | theirs.keys()) - addresses)
        return [
            f"{key} = {mine.get(key)!r} there, {theirs.get(key)!r} here"
            for key in keys
            if mine.get(key) != theirs.get(key)
        ]


def parse_setting(text: str) -> tuple[str, Any]:
    """Read ``section.key=value``; the value is TOML, or else a bare word.

    Examples
    --------
    >>> parse_setting("views.spectral=['z']")
    ('views.spectral', ['z'])
    >>> parse_setting("statistics.by=frame")
    ('statistics.by', 'frame')
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set needs section.key=value, but {text!r} was found.")
    return key.strip(), _value(value)


def _value(text: str) -> Any:
    """Read a value as TOML, or else as a bare word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _resolved(config: RunConfig) -> EncoderSection | None:
    """Fill in how many prototypes there are: later, only the number of clusters may change."""
    return config.encoder and config.encoder.resolved(
        config.cluster.clusters or 1, config.cluster.largest
    )


def _check_prototypes(config: RunConfig) -> None:
    """Refuse more clusters than prototypes, which are merged and never divided."""
    prototypes, clusters = config.encoder and config.encoder.prototypes, config.cluster.clusters
    if config.cluster.head == "prototypes" and (clusters or 0) > (prototypes or 0):
        raise ConfigError(
            f"At most one cluster per prototype can be found, but --clusters is {clusters} and "
            f"encoder.prototypes is {prototypes}. Ask for fewer clusters or for more prototypes."
        )


def _line(name: str, value: Any) -> str:
    """Write one setting."""
    return f"# {name} is not set" if value is None else f"{name} = {toml_value(value)}"


def _read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"A settings file is needed, but there is none at {path}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def _explain(error: ValidationError) -> str:
    """Turn pydantic's report into one sentence per problem."""
    problems: list[str] = []
    for problem in error.errors():
        key = _key(problem["loc"])
        if problem["type"] == "extra_forbidden":
            problems.append(f"{key} is not a known setting")
        elif problem["type"] == "union_tag_not_found":
            problems.append(f"{key}.name is needed: the other settings of {key} depend on it")
        elif problem["type"] == "union_tag_invalid":
            known, found = problem["ctx"]["expected_tags"], problem["ctx"]["tag"]
            problems.append(f"{key}.name: must be one of {known}, but is {found!r}")
        else:
            text = problem["msg"].removeprefix("Value error, ").rstrip(".")
            found = "" if problem["type"] == "value_error" else f", but is {problem['input']!r}"
            problems.append(f"{key}: {text}{found}" if key else text)
    return (
        f"The configuration is not valid: {'; '.join(problems)}. See: hsistream methods --settings"
    )


def _key(place: Sequence[int | str]) -> str:
    """Name a setting; of what pydantic says of the place, kinds and types are no keys."""
    parts = [str(part) for part in place]
    if parts[:1] in (["encoder"], ["segment"]):  # the name of the network or segmenter comes next
        parts = parts[:1] + parts[2:]
    return ".".join(part for part in parts if KEY.fullmatch(part) and part not in TYPES)


def _against(tree: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Flatten a tree; of a table that the other lacks as a whole, say only that it is asked for."""
    return flat(
        {
            name: "asked for" if isinstance(value, dict) and other[name] is None else value
            for name, value in tree.items()
        }
    )
