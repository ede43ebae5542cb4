from __future__ import annotations

from pathlib import Path

import pytest

from hsistream.errors import SceneError
from hsistream.readers.envi_header import (
    find_data,
    find_header,
    parse_envi_header,
    read_envi_header,
)
from hsistream.readers.options import ReadOptions
from hsistream.readers.spectral_axis import BandFacts, parse_numbers, spectral_axis

HEADER = """ENVI
description = {
  A scene = with an equals sign,
  [and brackets]}
; a comment = not a field
SAMPLES = 4 ; columns
lines   = 3
Bands=2
header offset =
Data  Type = 12
interleave = bip
byte order = 0
wavelength units = Micrometers
wavelength = {
 0.45,
; a comment between
 0.85}
fwhm = {0.01, 0.02}
bbl = {1.0, 0.0}
data ignore value = -9999
reflectance scale factor = 10000.0
"""


def written(path: Path, text: str = HEADER) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_fields_are_case_insensitive_and_keep_many_lines() -> None:
    fields = parse_envi_header(HEADER)
    assert fields["samples"].startswith("4")
    assert fields["data type"] == "12"
    assert fields["header offset"] == ""
    assert "an equals sign" in fields["description"]
    assert not any("comment" in name for name in fields)


def test_header_knows_its_size_and_bands(tmp_path: Path) -> None:
    header = read_envi_header(written(tmp_path / "a.hdr"))
    assert header.shape == (3, 4)
    assert header.needed_bytes == 3 * 4 * 2 * 2
    assert header.no_data == -9999
    assert header.attributes["reflectance scale factor"] == "10000.0"
    assert header.attributes["scale_factor"] == "0.0001"
    axis = spectral_axis([header.band_facts], header.bands, ReadOptions(), "a.hdr")
    assert axis.wavelengths_nm == (450.0, 850.0)
    assert axis.fwhm_nm == (10.0, 20.0)
    assert axis.good_bands == (True, False)


def test_latin_text_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.hdr"
    latin.write_bytes(HEADER.replace("A scene", "Gr\u00fcn").encode("latin-1"))
    assert "Gr\u00fcn" in read_envi_header(latin).fields["description"]
    marked = tmp_path / "marked.hdr"
    marked.write_bytes(b"\xef\xbb\xbf" + HEADER.encode())
    assert read_envi_header(marked).bands == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BYTEORDER I\nNROWS 3\n", "starts with the word ENVI"),
        ("", "starts with the word ENVI"),
        ("ENVI\nwavelength = {1, 2\n", "never closed"),
    ],
)
def test_other_headers_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        read_envi_header(written(tmp_path / "a.hdr", text))


def test_missing_and_unreadable_fields_are_named(tmp_path: Path) -> None:
    header = read_envi_header(written(tmp_path / "a.hdr", "ENVI\nlines = many\nbands = 2\n"))
    with pytest.raises(SceneError, match="lacks samples, data type, interleave"):
        header.check_complete()
    with pytest.raises(SceneError, match="whole number for 'lines', but has 'many'"):
        header.shape  # noqa: B018 (reading the property raises)


@pytest.mark.parametrize(
    ("values", "units", "asked", "expected"),
    [
        ((450.0, 2400.0), "Nanometers", None, (450.0, 2400.0)),
        ((0.45, 2.4), "Micrometers", None, (450.0, 2400.0)),
        ((0.45, 2.4), "\u00b5m", None, (450.0, 2400.0)),
        ((0.45, 2.4), "Unknown", None, (450.0, 2400.0)),
        ((450.0, 2400.0), "", None, (450.0, 2400.0)),
        ((450.0, 2400.0), "Micrometers", None, (450.0, 2400.0)),
        ((1.0, 2.0), "Index", None, (1000.0, 2000.0)),
        ((1.0, 200.0), "Index", None, ()),
        ((450.0, 2400.0), "Micrometers", "nm", (450.0, 2400.0)),
        ((50.0, 90.0), "", "nm", (50.0, 90.0)),
        ((450.0,), "nm", None, ()),
        ((450.0, float("nan")), "nm", None, ()),
    ],
)
def test_wavelengths_come_out_in_nanometres(
    values: tuple[float, ...], units: str, asked: str | None, expected: tuple[float, ...]
) -> None:
    facts = BandFacts(wavelengths=values, units=units)
    axis = spectral_axis([facts], 2, ReadOptions(wavelength_units=asked), "a.hdr")
    assert axis.wavelengths_nm == expected


def test_a_guess_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    spectral_axis([BandFacts((0.4, 0.5), units="Unknown")], 2, ReadOptions(), "a.hdr")
    assert "--wavelength-units" in caplog.text


def test_places_fill_each_other() -> None:
    places = [BandFacts((400.0, 500.0), units="nm"), BandFacts((1.0, 2.0), quality=(1.0, 0.0))]
    axis = spectral_axis(places, 2, ReadOptions(), "a.tif")
    assert axis.wavelengths_nm == (400.0, 500.0)
    assert axis.good_bands == (True, False)


def test_a_bad_band_list_of_another_length_is_refused() -> None:
    with pytest.raises(SceneError, match="3 entries for 2 bands"):
        spectral_axis([BandFacts(quality=(1.0, 0.0, 1.0))], 2, ReadOptions(), "a.hdr")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.0, 0", (1.0, 0.0)), ("{True false}", (1.0, 0.0)), ("", ()), ("{a, b}", ())],
)
def test_numbers_are_read_in_any_dress(text: str, expected: tuple[float, ...]) -> None:
    assert parse_numbers(text) == expected


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ("a.hdr", "a.img"),
        ("a.hdr", "a"),
        ("a.img.hdr", "a.img"),
        ("a.HDR", "a.IMG"),
        ("a.hdr", "a.unusual"),
    ],
)
def test_header_and_data_find_each_other(tmp_path: Path, header: str, data: str) -> None:
    written(tmp_path / header)
    (tmp_path / data).write_bytes(b"x")
    (tmp_path / "a.txt").write_text("notes")
    assert find_data(tmp_path / header) == tmp_path / data
    assert find_header(tmp_path / data) == tmp_path / header


def test_a_header_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"a\.img"):
        find_data(written(tmp_path / "a.hdr"))
