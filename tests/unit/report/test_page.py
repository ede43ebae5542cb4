from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hsistream.errors import StoreError
from hsistream.regions.seams import LabelChanges
from hsistream.report.facts import (
    ClusterSummary,
    FramePicture,
    MergeSummary,
    PageFacts,
    SeamSummary,
    StageSummary,
    TrainingSummary,
    describe_ending,
    describe_merging,
    describe_seams,
    format_area,
)
from hsistream.report.folding import Fold
from hsistream.report.page import LARGE_FRAMES, OUTLINE_SCALE, _packaged, render_page, write_page
from hsistream.report.picture import write_picture
from hsistream.report.scores import score
from hsistream.runs import NO_LABEL

VOID = {"meta", "img", "input", "br", "link"}


class Checker(HTMLParser):
    """Collects what a page refers to, and checks that elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.opened.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


def picture(
    name: str = "north", shape: tuple[int, int] = (20, 30), labels: int = 3
) -> FramePicture:
    rng = np.random.default_rng(0)
    found = rng.integers(0, labels, shape, dtype=np.uint16)
    found[:4, :4] = NO_LABEL
    confidence = np.where(found == NO_LABEL, np.nan, rng.random(shape)).astype(np.float32)
    colour = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
    return FramePicture(name, (shape[0] * 2, shape[1] * 2), 2, colour, found, confidence)


def some_facts(frames: int = 1) -> PageFacts:
    truth, labels = np.array([1, 1, 2, 2]), np.array([0, 0, 2, 1])
    return PageFacts(
        title="A <scene>",
        method="consensus",
        scene={"Bands": "6"},
        frames=[picture(f"frame{number}") for number in range(frames)],
        clusters=[
            ClusterSummary(label, 100, 25_300.0, np.linspace(0, 1, 6) + label, np.ones(6) / 9, 50)
            for label in range(3)
        ],
        wavelengths_nm=(400, 500, 600, 700, 800, 900),
        good_bands=(True, True, False, True, True, True),
        eigenvalues=np.linspace(1, 0, 12),
        clusters_used=3,
        clusters_suggested=4,
        stages=[StageSummary("label", 75.0, 3 * 2**30, "4 tiles")],
        config_toml='[cluster]\nmethod = "</script>"\n',
        warnings=["Beware of <clouds>."],
        scores=score(truth, labels, class_names={1: "soil"}).to_json(),
    )


def some_training(ending: str = "finished", steps: int = 40, asked: int = 40) -> TrainingSummary:
    return TrainingSummary(
        ending,
        asked_steps=asked,
        patience=3,
        losses=np.linspace(3, 1, steps),
        check_steps=np.array([0, steps // 2, steps]) if steps else np.array([0]),
        checks={
            "usage entropy": np.array([3.0, 2.5, 2.0])[: 3 if steps else 1],
            "agreement <with> the start": np.array([1.0, np.nan, 0.5])[: 3 if steps else 1],
        },
    )


def some_merging(prototypes: int = 4, clusters: int = 3) -> MergeSummary:
    """Prototypes that are joined one after the other; the first ones are one cluster."""
    joins = range(prototypes - 1)
    rows = [[prototypes + n - 1 if n else 0, n + 1, n + 1.0, n + 2] for n in joins]
    return MergeSummary(
        "ward",
        used=np.arange(prototypes),
        linkage=np.array(rows, float).reshape(-1, 4),
        labels=np.maximum(np.arange(prototypes) - (prototypes - clusters), 0),
        pixels=np.arange(prototypes) + 1,
    )


def network_facts(frames: int = 1, **others: Any) -> PageFacts:
    """Facts of a run whose clusters are merged prototypes."""
    facts = some_facts(frames)
    rng = np.random.default_rng(1)
    shown = [
        replace(
            frame,
            prototypes=np.where(
                frame.labels == NO_LABEL, NO_LABEL, rng.integers(0, 4, frame.labels.shape)
            ).astype(np.uint16),
        )
        for frame in facts.frames
    ]
    merged = replace(facts, frames=shown, training=some_training(), merging=some_merging())
    return replace(merged, **others)


def check(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.opened == []
    return checker


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "my-run" / "report" / "page.html"
    write_page(some_facts(), path)
    text = path.read_text(encoding="utf-8")
    addresses = check(text).addresses
    assert len(addresses) == 3
    assert all(address.startswith("data:image/") for address in addresses)
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert [item.name for item in path.parent.iterdir()] == ["page.html"]
    assert "RunDirectory(&#34;my-run&#34;)" in text or 'RunDirectory("my-run")' in text


def test_the_page_says_what_it_was_told() -> None:
    text = render_page(some_facts(), "run")
    for word in (
        "A &lt;scene&gt;", "Beware of &lt;clouds&gt;.", "consensus", "1 min 15 s", "3.00 GiB",
        "2.53 ha", "3 clusters used", "4 suggested", "1 soil", "0.7500", "Wavelength (nm)",
        "60 px, thinned by 2",
    ):  # fmt: skip
        assert word in text, word
    assert '"</script>"' not in text


def test_the_page_does_without_what_is_optional() -> None:
    bare = replace(
        some_facts(), frames=[], clusters=[], wavelengths_nm=(), eigenvalues=None, scene={},
        clusters_suggested=None, stages=[], warnings=[], scores=None,
    )  # fmt: skip
    text = render_page(bare, "run")
    check(text)
    for word in ("Please note", "Mean spectra", "Agreement", "What it cost", "Number of clusters"):
        assert word not in text


def test_clusters_without_area_or_sample_are_listed() -> None:
    facts = some_facts()
    empty = ClusterSummary(7, 0, None, np.full(6, np.nan), np.full(6, np.nan), 0)
    text = render_page(
        replace(facts, clusters=[replace(facts.clusters[0], area_m2=None), empty]), ""
    )
    check(text)
    assert "<th>Area</th>" not in text
    assert 'data-label="7"' in text


def test_a_frame_without_data_is_shown() -> None:
    blank = replace(picture(), labels=np.full((20, 30), NO_LABEL, np.uint16))
    check(render_page(replace(some_facts(), frames=[blank], clusters=[]), "run"))


def test_many_frames_stay_small() -> None:
    frames = [picture(f"leaf{number}", (300, 300), labels=12) for number in range(86)]
    text = render_page(replace(some_facts(), frames=frames), "run")
    assert text.count('<figure class="frame"') == 86
    assert text.index('class="frames small"') > text.index(f"leaf{LARGE_FRAMES - 1}")
    assert len(text) < 15e6


def test_many_frames_with_prototypes_stay_small() -> None:
    rng = np.random.default_rng(2)
    frames = [
        replace(
            picture(f"leaf{number}", (300, 300), labels=12),
            prototypes=rng.integers(0, 64, (300, 300), dtype=np.uint16),
        )
        for number in range(86)
    ]
    merging = some_merging(64, 12)
    text = render_page(replace(network_facts(merging=merging), frames=frames), "run")
    assert text.count('data-layer="prototypes" hidden') == 86
    assert len(text) < 15e6


@pytest.mark.parametrize(
    ("shape", "way"), [((900, 40), "left to right"), ((40, 900), "top to bottom")]
)
def test_a_long_frame_is_folded(shape: tuple[int, int], way: str) -> None:
    """Or a flight line is a thread that nobody can read."""
    frame = replace(
        picture(shape=shape),
        superpixels=np.arange(shape[0] * shape[1]).reshape(shape) // 64,
        modes=np.array([[shape[0] - 1, shape[1] - 1]]),
    )
    text = render_page(replace(some_facts(), frames=[frame]), "run")
    assert f"px, thinned by 2, in 5 pieces from {way}</span>" in text
    fold = Fold.of(shape)
    assert f'data-tall="{int(fold.tall)}" data-length="180" data-pitch="42"' in text
    embedded = re.findall(r'src="data:image/\w+;base64,([^"]+)"', text)
    sizes = [Image.open(BytesIO(b64decode(each))).size[::-1] for each in embedded]
    assert sizes[:3] == [fold.shape] * 3  # superpixels are enlarged
    assert sizes[3] == tuple(OUTLINE_SCALE * side for side in fold.shape)


def test_a_page_that_cannot_be_written_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_page(some_facts(), tmp_path / "file" / "page.html")


@pytest.mark.parametrize("frames", [0, 1, 3, 9])
def test_the_picture_shows_up_to_six_frames(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "map.png"
    write_picture([picture(f"frame{number}") for number in range(frames)], path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 400


def test_the_picture_folds_a_long_frame(tmp_path: Path) -> None:
    write_picture([picture(shape=(2000, 50))], tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        assert 1.5 < image.width / image.height < 2.5  # two squares beside each other


def test_the_picture_names_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _legend_labels(monkeypatch)
    shown = picture("frame")
    found = sorted({int(label) for label in np.unique(shown.labels)} - {NO_LABEL})
    write_picture([shown], tmp_path / "map.png")
    assert told == [str(label) for label in found]
    names = [f"kind {label}" for label in range(max(found) + 1)]
    write_picture([shown], tmp_path / "map.png", names)
    assert told == [names[label] for label in found]


def _legend_labels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list that holds the names of the latest legend, once one is made."""
    from matplotlib.figure import Figure

    told: list[str] = []

    def legend(_self: Figure, handles: Sequence[Any], **_: object) -> None:
        told[:] = [each.get_label() for each in handles]

    monkeypatch.setattr(Figure, "legend", legend)
    return told


@pytest.mark.parametrize("name", ["$x^$", "a $5, b $6", "a\tb\nc", "_hidden", "雲", "\\frac{"])
def test_the_picture_takes_names_as_they_are(tmp_path: Path, name: str) -> None:
    """They are no formulas, and signs that the font does not have are no warning."""
    path = tmp_path / "map.png"
    write_picture([picture(name)], path, [name] * 3)
    with Image.open(path) as image:
        assert image.width > 400


def test_a_class_that_the_font_cannot_write_has_its_number_in_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = _legend_labels(monkeypatch)
    write_picture([picture()], tmp_path / "map.png", ["gras", "森林", "a\n b"])
    assert told == ["gras", "1", "a b"]


def test_a_column_of_areas_has_one_unit() -> None:
    assert [format_area(area, 2e4) for area in (2e4, 100)] == ["2.00 ha", "0.01 ha"]


# --- networks ------------------------------------------------------------------------------


def test_a_page_without_a_network_has_no_byte_about_one() -> None:
    text = render_page(some_facts(), "run")
    for word in ("rototype", "Training", "Merging", "relabel", 'class="scroll"', ".tree"):
        assert word not in text, word
    for name in ("network.css", "prototypes.js"):
        assert _packaged(name)[:40] not in text


def test_a_page_without_merged_prototypes_tells_only_of_the_training() -> None:
    text = render_page(replace(some_facts(), training=some_training()), "run")
    check(text)
    assert "<h2>Training</h2>" in text
    for word in ("Merging", "relabel", 'data-shows="prototypes"', "<noscript><style>.panel"):
        assert word not in text, word


def test_the_page_tells_of_training_and_merging() -> None:
    text = render_page(network_facts(), "my run's")
    addresses = check(text).addresses
    assert len(addresses) == 4
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    for word in (
        "<h2>Training</h2>", "It finished after 40 steps, as asked.", "Usage entropy", "last 2<",
        "Agreement &lt;with&gt; the start", "<h2>Merging</h2>", "cut: 3 clusters",
        "4 prototypes of the network were merged into 3 clusters", "fourth-root scale",
        "hsistream relabel &#39;my run&#39;&#34;&#39;&#34;&#39;s&#39; --clusters 4",
        'data-shows="prototypes" aria-pressed="false"', 'alt="Prototypes of frame0"',
        "Prototype 3, cluster 2: 4 pixels",
    ):  # fmt: skip
        assert word in text, word
    assert text.count('class="leaf"') == 4 + 3


def test_shades_of_the_map_are_those_of_the_rows() -> None:
    text = render_page(network_facts(), "run")
    found = re.search(r'id="prototypes">(.*?)</script>', text)
    assert found is not None
    colours = json.loads(found.group(1))
    assert len(set(colours)) == 4
    assert all(f'fill="{colour}"' in text for colour in colours)


def test_prototypes_without_pixels_have_no_row() -> None:
    merging = some_merging()
    labels = np.array([0, 0, 1, 2, 1, 0])
    pixels = np.array([1, 2, 3, 4, 0, 0])
    text = render_page(network_facts(merging=replace(merging, labels=labels, pixels=pixels)), "run")
    check(text)
    assert "2 more have no pixel." in text
    assert text.count("<title>Prototype ") == 4
    found = re.search(r'id="prototypes">(.*?)</script>', text)
    assert found is not None
    assert json.loads(found.group(1))[4:] == [None, None]


def test_a_network_that_was_not_trained_has_no_curves() -> None:
    text = render_page(network_facts(training=some_training(steps=0, asked=0)), "run")
    check(text)
    assert "No steps were asked for" in text
    assert 'class="loss"' not in text
    assert '<div class="training">' not in text


def test_losses_that_are_not_finite_are_told() -> None:
    training = some_training()
    training.losses[7:9] = np.nan
    text = render_page(network_facts(training=training), "run")
    assert "Gaps: at 2 steps the loss was no finite number." in text


@pytest.mark.parametrize("losses", [[np.nan], [np.inf] * 40])
def test_a_training_without_a_finite_loss_still_shows_its_checks(losses: list[float]) -> None:
    training = replace(some_training(), losses=np.array(losses))
    text = render_page(network_facts(training=training), "run")
    check(text)
    assert "Usage entropy" in text
    assert 'class="loss"' not in text


def test_one_prototype_has_nothing_to_merge() -> None:
    facts = network_facts(merging=some_merging(1, 1), clusters_used=1, clusters_suggested=1)
    frames = [replace(frame, prototypes=frame.labels * 0) for frame in facts.frames]
    text = render_page(replace(facts, frames=frames), "run")
    check(text)
    assert "One prototype of the network has all pixels" in text
    assert "hsistream relabel" not in text
    assert "cut:" not in text


def test_all_prototypes_in_one_cluster() -> None:
    facts = network_facts(merging=some_merging(4, 1), clusters_used=1, clusters_suggested=None)
    text = render_page(facts, "run")
    check(text)
    assert "cut: 1 cluster<" in text
    assert "--clusters 2" in text


@pytest.mark.parametrize(
    ("used", "suggested", "command"),
    [(3, 4, 4), (3, 3, 4), (3, 12, 4), (4, 4, 3), (4, 12, 3), (2, None, 3)],
)
def test_the_command_asks_for_a_number_that_can_be_had(
    used: int, suggested: int | None, command: int
) -> None:
    facts = network_facts(
        merging=some_merging(4, used), clusters_used=used, clusters_suggested=suggested
    )
    assert f"hsistream relabel run --clusters {command}<" in render_page(facts, "run")


def test_a_kept_cut_is_told() -> None:
    merging = replace(some_merging(), labels=np.array([0, 1, 2, 0]))
    assert "earlier check" in render_page(network_facts(merging=merging), "run")
    assert "earlier check" not in render_page(network_facts(), "run")


@pytest.mark.parametrize(
    ("ending", "steps", "said"),
    [
        ("finished", 1, "It finished after 1 step, as asked."),
        ("stable", 15, "after 15 steps of at most 1,200, because 3 checks in a row agreed"),
        ("minutes", 15, "out of time after 15 steps of 1,200"),
        ("floor", 15, "collapsed and was taken back to the start after 15 steps"),
    ],
)
def test_the_end_of_a_training_is_told(ending: str, steps: int, said: str) -> None:
    assert said in describe_ending(some_training(ending, steps, 1200))


def test_what_prototypes_were_merged_by_is_told() -> None:
    said = describe_merging(replace(some_merging(), measure="diffusion"), 3)
    assert said.endswith("by where they meet in the scene and how alike they are.")


def test_label_changes_at_seams_are_told_where_there_are_seams() -> None:
    facts = some_facts()
    assert "neighbours differ" not in render_page(facts, "run")
    seams = SeamSummary(64, LabelChanges(100, 12, 1000, 100))
    page = render_page(replace(facts, seams=seams), "run")
    check(page)
    assert describe_seams(seams) in page


def test_seams_are_not_compared_with_labels_that_change_nowhere_else() -> None:
    said = describe_seams(SeamSummary(64, LabelChanges(100, 12, 1000, 0)))
    assert said.endswith("the labels of 12.0% of all neighbours differ, elsewhere of 0.0%.")
