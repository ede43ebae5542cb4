from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hsistream.cli.request import parse_bytes
from hsistream.config import RunConfig, parse_setting
from hsistream.errors import ConfigError
from hsistream.execution import Execution
from hsistream.presets import PRESETS
from tests.strategies import words

Settings = list[tuple[str, Any]]


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("method", sorted(PRESETS))
def test_every_preset_is_a_valid_configuration(method: str) -> None:
    config = RunConfig.make(method, settings=[("cluster.clusters", 4)])
    assert config.method == method
    assert config.kmeans == (method == "kmeans")


def test_the_default_is_the_consensus_of_six_views() -> None:
    config = RunConfig.make()
    assert config == RunConfig()
    assert config.views.names == (
        "z.plain", "z.gaussian", "z.edge", "mnf.plain", "mnf.gaussian", "mnf.edge",
    )  # fmt: skip


def test_a_file_overrides_the_preset_and_a_setting_overrides_both(tmp_path: Path) -> None:
    file = write(tmp_path, '[views]\nspectral = ["mnf"]\nz_components = 7\n[cluster]\nclusters = 5')
    config = RunConfig.make("kmeans", file, [("views.z_components", 9)])
    assert config.views.spectral == ("mnf",)  # the file's, not the preset's
    assert config.views.spatial == ("plain",)  # the preset's, which the file leaves alone
    assert config.views.z_components == 9
    assert config.cluster.clusters == 5


def test_a_method_that_is_asked_for_overrides_that_of_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'method = "kmeans"\n[cluster]\nclusters = 5')
    assert RunConfig.make(file=file).kmeans
    assert RunConfig.make("consensus", file).method == "consensus"
    assert not RunConfig.make("consensus", file).kmeans


def test_a_method_set_as_a_single_setting_brings_its_preset() -> None:
    clusters: Settings = [("cluster.clusters", 3)]
    by_setting = RunConfig.make(settings=[("method", "kmeans"), *clusters])
    assert by_setting == RunConfig.make("kmeans", settings=clusters)


def test_settings_may_be_a_mapping() -> None:
    asked = {"cluster.clusters": 3, "views.spectral": ["z"]}
    assert RunConfig.make(settings=asked) == RunConfig.make(settings=list(asked.items()))


def test_the_last_of_two_equal_settings_counts() -> None:
    config = RunConfig.make(settings=[("seed", 1), ("seed", 2)])
    assert config.seed == 2


@dataclass(frozen=True)
class Refused:
    id: str
    settings: Settings
    message: str


REFUSED = [
    Refused("unknown section", [("view.spectral", ["z"])], "view is not a known setting"),
    Refused("unknown key", [("cluster.k", 3)], "cluster.k is not a known setting"),
    Refused("unknown key at the top", [("sed", 3)], "sed is not a known setting"),
    Refused("a section that is a number", [("views", 3)], "views: .*but is 3"),
    Refused("no cluster", [("cluster.clusters", 0)], "cluster.clusters: .*but is 0"),
    Refused("too many clusters", [("cluster.clusters", 1001)], "but is 1001"),
    Refused("clusters as a word", [("cluster.clusters", "many")], "but is 'many'"),
    Refused("unknown projection", [("views.spectral", ["pca"])], "views.spectral.0: .*'pca'"),
    Refused("no view", [("views.spatial", [])], "at least one name"),
    Refused("a view twice", [("views.spectral", ["z", "z"])], "none twice"),
    Refused("weight of no view", [("views.weights", {"l2.plain": 1.0})], "l2.plain"),
    Refused("negative weight", [("views.weights", {"z.plain": -1.0})], "greater than or equal"),
    Refused("infinite weight", [("views.weights", {"z.plain": float("inf")})], "finite"),
    Refused(
        "all weights zero",
        [("views", {"spectral": ["z"], "spatial": ["plain"], "weights": {"z.plain": 0}})],
        "weight above 0",
    ),
    Refused("no multiple", [("codebooks.multiples", [])], "at least one number"),
    Refused("groups without their use", [("statistics.groups", {"a": "b"})], "belong together"),
    Refused("a limit of minutes without a training", [("training.minutes", 5)], "has none"),
    Refused("group statistics without groups", [("statistics.by", "group")], "belong together"),
    Refused("tiny reservoir", [("reservoir.pixels", 99)], "reservoir.pixels"),
    Refused("negative seed", [("seed", -1)], "seed"),
    Refused("unknown method", [("method", "magic")], "magic"),
    Refused("latents without a network", [("views.spectral", ["latents"])], "set encoder.name"),
    Refused("a network for nothing", [("encoder.name", "dgc")], 'add "latents" to views.spectral'),
    Refused("prototypes of nothing", [("cluster.head", "prototypes")], "set encoder.name"),
    Refused("no steps at all", [("training.steps", -1)], "training.steps: .*but is -1"),
    Refused("a momentum of one", [("training.momentum", 1.0)], "training.momentum: .*less than 1"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_invalid_settings_are_refused_with_their_name(case: Refused) -> None:
    with pytest.raises(ConfigError, match=case.message):
        RunConfig.make(settings=case.settings)


REFUSED_NETWORKS = [
    Refused("unknown key", [("encoder.colour", 1)], r": encoder\.colour is not a known setting\."),
    Refused("of another network", [("encoder.bandwidth", 1)], r"encoder\.bandwidth is not a known"),
    Refused("too few prototypes", [("encoder.prototypes", 1)], r"encoder\.prototypes: .*but is 1"),
    Refused("too many prototypes", [("encoder.prototypes", 300)], r"encoder\.prototypes: .*is 300"),
    Refused("no softness", [("encoder.student_temperature", 0)], r"encoder\.student_temperature: "),
    Refused("unknown targets", [("encoder.targets", "hard")], r"encoder\.targets: .*'hard'"),
    Refused("unknown network", [("encoder.name", "cnn")], r"encoder\.name: .*'dgc', .*is 'cnn'"),
    Refused("a number as network", [("encoder", 3)], r"encoder: .*but is 3"),
    Refused("clusters above all", [("cluster.clusters", 65)], "clusters is 65 and .* is 64"),
    Refused(
        "more clusters than prototypes",
        [("encoder.prototypes", 4), ("cluster.clusters", 5)],
        r"--clusters is 5 and encoder\.prototypes is 4",
    ),
    Refused("consensus without latents", [("cluster.head", "consensus")], '"latents" to views'),
]


@pytest.mark.parametrize("case", REFUSED_NETWORKS, ids=lambda case: case.id)
def test_invalid_networks_are_refused_with_the_name_of_the_setting(case: Refused) -> None:
    with pytest.raises(ConfigError, match=case.message) as caught:
        RunConfig.make("dgc", settings=case.settings)
    for tag in ("encoder.dgc", "encoder.name.", "discriminator", "tagged"):
        assert tag not in str(caught.value)


def test_the_settings_of_a_network_need_its_name() -> None:
    with pytest.raises(ConfigError, match=r"encoder\.name is needed"):
        RunConfig.make(settings=[("encoder.prototypes", 20)])


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?=.*cluster\.k is not)(?=.*seed: )"):
        RunConfig.make(settings=[("cluster.k", 3), ("seed", -1)])


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=", ".join(PRESETS)):
        RunConfig.make("magic")


def test_kmeans_cannot_estimate_the_number_of_clusters() -> None:
    with pytest.raises(ConfigError, match="--clusters"):
        RunConfig.make("kmeans")


# --- networks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clusters", "expected"), [(1, 16), (3, 16), (4, 16), (5, 20), (16, 64), (60, 64), (None, 48)]
)
def test_there_are_four_prototypes_per_cluster_within_limits(
    clusters: int | None, expected: int
) -> None:
    encoder = RunConfig.make("dgc", settings=[("cluster.clusters", clusters)]).encoder
    assert encoder is not None
    assert encoder.prototypes == expected
    assert encoder.least == (clusters or 1)  # type: ignore[union-attr]


def test_prototypes_that_are_given_are_kept() -> None:
    settings: Settings = [("cluster.clusters", 3), ("encoder.prototypes", 100)]
    encoder = RunConfig.make("dgc", settings=[*settings, ("encoder.least", 7)]).encoder
    assert encoder is not None
    assert (encoder.prototypes, encoder.least) == (100, 7)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("clusters", "most", "expected"), [(1, 12, 2), (5, 12, 5), (None, 12, 12), (None, 2, 2)]
)
def test_the_paper_has_a_prototype_per_cluster(
    clusters: int | None, most: int, expected: int
) -> None:
    settings: Settings = [("cluster.clusters", clusters), ("cluster.most", most)]
    encoder = RunConfig.make("dgc-paper", settings=settings).encoder
    assert encoder is not None
    assert encoder.prototypes == expected


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (None, [("encoder.name", "dgc"), ("cluster.head", "prototypes")]),
        (None, [("encoder.name", "dgc"), ("views.spectral", ["latents"])]),
        (None, [("encoder", {"name": "dgc-paper", "hard": True}), ("views.spectral", ["latents"])]),
        ("kmeans", [("encoder.name", "dgc"), ("views.spectral", ["latents"])]),
        ("dgc", [("encoder.name", "dgc-paper")]),
        ("dgc", [("encoder", {"hidden": 8})]),
        ("dgc", [("cluster.head", "consensus"), ("views.spectral", ["z", "latents"])]),
        ("consensus-dgc", [("cluster.head", "prototypes")]),
        ("consensus-dgc", [("views.weights", {"latents.edge": 0.5})]),
    ],
)
def test_networks_and_heads_can_be_combined(
    method: str | None, settings: Settings, tmp_path: Path
) -> None:
    config = RunConfig.make(method, settings=[("cluster.clusters", 4), *settings])
    assert config.encoder is not None
    assert config.encoder.prototypes is not None
    assert RunConfig.from_toml(write(tmp_path, config.to_toml())) == config


def test_a_network_in_a_file_keeps_the_settings_of_its_preset(tmp_path: Path) -> None:
    file = write(tmp_path, 'method = "dgc"\n[encoder]\nhidden = 8\n[cluster]\nclusters = 2')
    config = RunConfig.make(file=file)
    assert config.encoder is not None
    assert config.encoder.name == "dgc"
    assert config.encoder.hidden == 8


def test_a_single_codebook_of_latents_is_k_means_too() -> None:
    settings: Settings = [("encoder.name", "dgc"), ("views.spectral", ["latents"])]
    assert RunConfig.make("kmeans", settings=[("cluster.clusters", 3), *settings]).kmeans
    assert not RunConfig.make("dgc").kmeans


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("consensus", ("z", "mnf")),
        ("dgc", ("z",)),
        ("s2dl", ("z", "mnf", "l2")),
        ("s2dl-paper", ("l2",)),
        ("ds2dl", ("z", "mnf", "l2")),
    ],
)
def test_spectra_are_projected_for_views_and_superpixels(
    method: str, expected: tuple[str, ...]
) -> None:
    config = RunConfig.make(method)
    assert config.projected.spectral == expected
    assert config.has_superpixels == ("l2" in expected)


@pytest.mark.parametrize("method", sorted(PRESETS))
@pytest.mark.parametrize("clusters", [1, 2, 12, 40])
def test_every_preset_survives_its_own_file(tmp_path: Path, method: str, clusters: int) -> None:
    config = RunConfig.make(method, settings=[("cluster.clusters", clusters)])
    assert RunConfig.from_toml(write(tmp_path, config.to_toml())) == config
    assert config.differences(RunConfig.from_toml(tmp_path / "run.toml")) == []


def test_a_network_is_a_difference() -> None:
    mine, theirs = RunConfig.make("dgc"), RunConfig.make("dgc", settings=[("encoder.hidden", 8)])
    assert mine.differences(theirs) == ["encoder.hidden = 16 there, 8 here"]
    named = RunConfig.make("dgc").differences(RunConfig.make())
    assert "encoder = 'asked for' there, None here" in named
    assert not any(each.startswith("encoder.") for each in named)


# --- another number of clusters ------------------------------------------------------------


@pytest.mark.parametrize("clusters", [1, 2, 3, 16])
def test_another_number_of_clusters_changes_nothing_else(clusters: int, tmp_path: Path) -> None:
    config = RunConfig.make("dgc", settings=[("cluster.clusters", 3)])
    other = config.with_clusters(clusters)
    assert other.cluster.clusters == clusters
    expected = [] if clusters == 3 else [f"cluster.clusters = {clusters} there, 3 here"]
    assert other.differences(config) == expected
    assert RunConfig.from_toml(write(tmp_path, other.to_toml())) == other
    assert other.with_clusters(3) == config


@pytest.mark.parametrize(
    ("method", "clusters", "message"),
    [
        ("consensus", 2, "this run is consensus"),
        ("consensus-dgc", 2, "this run is consensus-dgc"),
        ("kmeans", 2, "--method dgc, but this run is kmeans"),
        ("dgc", 17, "--clusters is 17 and the run has 16 prototypes"),
        ("dgc-paper", 4, "--clusters is 4 and the run has 3 prototypes"),
        ("dgc", 0, "but is 0"),
        ("dgc", -1, "but is -1"),
    ],
)
def test_another_number_of_clusters_may_be_impossible(
    method: str, clusters: int, message: str
) -> None:
    config = RunConfig.make(method, settings=[("cluster.clusters", 3)])
    with pytest.raises(ConfigError, match=message):
        config.with_clusters(clusters)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().cluster.clusters = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"seed = ", "not valid TOML"), (b"seed = 1\nseed = 2", "not valid TOML"), (b"\xff", "TOML")],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_toml(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is none at"):
        RunConfig.from_toml(tmp_path / "none.toml")


def test_a_folder_is_no_configuration_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        RunConfig.from_toml(tmp_path)


def configurations() -> st.SearchStrategy[RunConfig]:
    groups = st.dictionaries(words(), words(), min_size=1, max_size=3)
    grouped = groups.map(lambda found: {"by": "group", "groups": found})
    weights = st.dictionaries(
        st.sampled_from(["z.plain", "mnf.edge"]), st.floats(0, 100, exclude_min=True)
    )
    multiples = st.lists(st.integers(1, 20), min_size=1, max_size=4)
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**31 - 1),
            "statistics": st.sampled_from([{"by": "scene"}, {"by": "frame"}]) | grouped,
            "views": st.fixed_dictionaries({"weights": weights}),
            "codebooks": st.fixed_dictionaries({"multiples": multiples}),
            "cluster": st.fixed_dictionaries({"clusters": st.none() | st.integers(1, 1000)}),
        }
    ).map(RunConfig.check)


@settings(max_examples=25)
@given(configurations())
def test_a_configuration_survives_its_own_file(
    tmp_path_factory: pytest.TempPathFactory, config: RunConfig
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(config.to_toml())
    assert RunConfig.from_toml(path) == config


def test_a_written_configuration_names_every_section() -> None:
    text = RunConfig().to_toml()
    for section in ("statistics", "reservoir", "views", "codebooks", "cluster"):
        assert f"[{section}]" in text


def test_equal_configurations_do_not_differ() -> None:
    assert RunConfig.make().differences(RunConfig()) == []


def test_differences_name_key_and_both_values() -> None:
    mine = RunConfig.make(settings=[("cluster.clusters", 3), ("seed", 1)])
    theirs = RunConfig.make(settings=[("cluster.clusters", 4), ("seed", 1)])
    assert mine.differences(theirs) == ["cluster.clusters = 3 there, 4 here"]


def test_a_weight_that_only_one_configuration_has_is_a_difference() -> None:
    mine = RunConfig.make(settings=[("views.weights", {"z.plain": 0.5})])
    assert mine.differences(RunConfig()) == ["views.weights.z.plain = 0.5 there, None here"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("512", 512),
        ("1 KiB", 1024),
        ("1kb", 1000),
        (" 2 MiB ", 2 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("4 GB", 4 * 10**9),
    ],
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "GiB", "4 TB", "-1 GiB", "1e9", "1.2.3 MB", "4 GiB free", "."]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="4 GiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cluster.clusters=6", ("cluster.clusters", 6)),
        ("statistics.by = frame", ("statistics.by", "frame")),
        ('views.spectral=["z", "l2"]', ("views.spectral", ["z", "l2"])),
        ('views.weights={"mnf.edge" = 0.5}', ("views.weights", {"mnf.edge": 0.5})),
        ("a.b=c=d", ("a.b", "c=d")),
        ("a.b=", ("a.b", "")),
    ],
)
def test_settings_are_read(text: str, expected: tuple[str, Any]) -> None:
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["cluster.clusters", "=3", " = 3"])
def test_settings_without_key_or_value_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        ({"tile_px": 7}, "--tile is 7"),
        ({"threads": 0}, "--threads"),
        ({"memory_bytes": 0}, "--memory"),
        ({"device": "tpu"}, "tpu"),
        ({"scheduler": "local"}, "--scheduler"),
        ({"scheduler": "local:0"}, "local:0"),
        ({"scheduler": "many workers"}, "--scheduler"),
        ({"scheduler": ""}, "--scheduler"),
        ({"scheduler": None}, "--scheduler"),
        ({"threads": 2.5}, "threads must be a whole number or None, but is 2.5"),
        ({"tile_px": 64.0}, "tile_px must be a whole number"),
        ({"memory_bytes": "4 GiB"}, "memory_bytes must be a whole number"),
    ],
)
def test_impossible_executions_are_refused(execution: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Execution(**execution)


@pytest.mark.parametrize("scheduler", ["none", "local:12", "tcp://10.0.0.1:8786", "tls://host:1"])
def test_schedulers_are_accepted(scheduler: str) -> None:
    assert Execution(scheduler=scheduler).scheduler == scheduler


def test_numbers_of_any_type_are_accepted() -> None:
    assert Execution(threads=np.int64(3)) == Execution(threads=3)  # type: ignore[arg-type]


def test_workers_are_those_of_the_scheduler_or_the_threads_or_the_cores() -> None:
    assert Execution(scheduler="local:3", threads=9).workers == 3
    assert Execution(threads=5).workers == 5
    assert Execution().workers == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("method", sorted(set(PRESETS) - {"kmeans"}))
def test_a_configuration_made_directly_is_that_of_its_preset(method: str) -> None:
    made = RunConfig.check(RunConfig(method=method, seed=3).model_dump())
    assert made == RunConfig.make(method, settings=[("seed", 3)])


def test_a_section_given_in_part_is_laid_over_the_preset() -> None:
    made = RunConfig(method="kmeans", cluster={"clusters": 4})
    assert made == RunConfig.make("kmeans", settings=[("cluster.clusters", 4)])
    assert made.kmeans


@pytest.mark.parametrize("method", ["dgc", "diffcrn"])
def test_a_configuration_made_directly_has_its_prototypes(method: str) -> None:
    made = RunConfig(method=method, cluster={"clusters": 4})
    assert made == RunConfig.make(method, settings=[("cluster.clusters", 4)])
    assert made.encoder is not None
    assert made.encoder.prototypes == 16


def test_a_map_of_classes_needs_labels() -> None:
    with pytest.raises(ConfigError, match=r"--method raw makes maps of classes.* classify\.labels"):
        RunConfig.make("raw")


def test_settings_are_no_text() -> None:
    with pytest.raises(ConfigError, match="as a mapping"):
        RunConfig.make(settings="cluster.clusters=6")  # type: ignore[arg-type]
