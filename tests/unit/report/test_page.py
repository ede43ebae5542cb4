from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hsistream.errors import StoreError
from hsistream.report.facts import (
    ClusterSummary,
    FramePicture,
    PageFacts,
    StageSummary,
    format_area,
)
from hsistream.report.page import LARGE_FRAMES, render_page, write_page
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


def test_a_column_of_areas_has_one_unit() -> None:
    assert [format_area(area, 2e4) for area in (2e4, 100)] == ["2.00 ha", "0.01 ha"]
