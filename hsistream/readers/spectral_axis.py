"""Wavelengths, widths and bad bands: from what a file says to nanometres.

Files give wavelengths in nanometres, in micrometres, or without a unit, and bad
bands as numbers, truth values or text. Here all of it takes one form.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from hsistream.errors import SceneError
from hsistream.readers.options import ReadOptions

log = logging.getLogger(__name__)

NM_PER_UNIT = {
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "micrometer": 1e3, "micrometre": 1e3,
}  # fmt: skip
"""Units as files write them, singular and in lower case."""

WAVENUMBERS = {"wavenumber", "cm-1", "cm^-1", "1/cm"}
"""Units of waves in a centimetre, which become wavelengths."""

PLAUSIBLE_NM = (100.0, 30_000.0)
"""Optical sensors see nothing outside of this; it tells units apart."""

FALSE_WORDS = {"false", "no", "bad"}
TRUE_WORDS = {"true", "yes", "good"}


@dataclass(frozen=True, slots=True)
class SpectralAxis:
    """Bands in nanometres; each field is empty where nothing is known."""

    wavelengths_nm: tuple[float, ...] = ()
    fwhm_nm: tuple[float, ...] = ()
    good_bands: tuple[bool, ...] = ()

    def completed(self, other: SpectralAxis) -> SpectralAxis:
        """Fill what is not known here from another axis."""
        return SpectralAxis(
            self.wavelengths_nm or other.wavelengths_nm,
            self.fwhm_nm or other.fwhm_nm,
            self.good_bands or other.good_bands,
        )


@dataclass(frozen=True, slots=True)
class BandFacts:
    """What one place of a file says of its bands, as numbers in the file's own units."""

    wavelengths: tuple[float, ...] = ()
    fwhm: tuple[float, ...] = ()
    quality: tuple[float, ...] = ()
    units: str = ""

    @property
    def unit(self) -> str:
        """The unit as it is looked up: in lower case, and singular."""
        return self.units.strip().lower().rstrip("s")

    def adds_to(self, axis: SpectralAxis) -> bool:
        """Tell whether an axis lacks something that is said here."""
        return bool(
            (self.wavelengths and not axis.wavelengths_nm)
            or (self.fwhm and not axis.fwhm_nm)
            or (self.quality and not axis.good_bands)
        )


def spectral_axis(
    places: Iterable[BandFacts], bands: int, options: ReadOptions, where: str
) -> SpectralAxis:
    """Bring what the places of a file say of its bands to one axis in nanometres.

    Parameters
    ----------
    places : iterable of BandFacts
        The more trusted come first.
    bands : int
        Number of bands of the file.
    options : ReadOptions
        ``wavelength_units`` overrides the file.
    where : str
        Name of the file, for messages.

    Returns
    -------
    SpectralAxis
        Wavelengths whose count is not that of the bands, or which no optical
        sensor sees, are left out with a logged warning.

    Raises
    ------
    SceneError
        If a bad-band list has not one entry per band.

    Examples
    --------
    >>> facts = BandFacts(wavelengths=(0.45, 0.55), units="Micrometers")
    >>> spectral_axis([facts], 2, ReadOptions(), "a.hdr").wavelengths_nm
    (450.0, 550.0)
    """
    axis = SpectralAxis()
    for facts in dict.fromkeys(places):  # some say it twice
        if facts.adds_to(axis):
            axis = axis.completed(_in_nm(facts, bands, options, where))
    return axis


def parse_numbers(text: str) -> tuple[float, ...]:
    """Read a list of numbers or truth values, with or without braces; empty if it is none.

    Examples
    --------
    >>> parse_numbers("{1.0, 0, true}")
    (1.0, 0.0, 1.0)
    >>> parse_numbers("{ red, green }")
    ()
    """
    words = [word for word in re.split(r"[,\s{}\[\]()]+", text) if word]
    try:
        return tuple(_number(word.lower()) for word in words)
    except ValueError:
        return ()


def _number(word: str) -> float:
    """Read a number or a truth value."""
    if word in TRUE_WORDS or word in FALSE_WORDS:
        return float(word in TRUE_WORDS)
    return float(word)


def _in_nm(facts: BandFacts, bands: int, options: ReadOptions, where: str) -> SpectralAxis:
    """Scale what is said to nanometres, and drop what cannot be."""
    if facts.quality and len(facts.quality) != bands:
        raise SceneError(
            f"A bad-band list needs one entry per band, but that of {where} has "
            f"{len(facts.quality)} entries for {bands} bands. Correct it, or remove it."
        )
    good = tuple(value > 0 for value in facts.quality)
    wavelengths = _of_all_bands(facts.wavelengths, bands, "wavelengths", where)
    fwhm = _of_all_bands(facts.fwhm, bands, "band widths", where)
    if facts.unit in WAVENUMBERS and not options.wavelength_units:
        return SpectralAxis(*_of_waves(wavelengths, fwhm), good)
    factor = _nm_per_unit(wavelengths, facts, options, where)
    if factor is None:
        return SpectralAxis(good_bands=good)
    return SpectralAxis(_scaled(wavelengths, factor), _scaled(fwhm, factor), good)


def _of_all_bands(
    values: tuple[float, ...], bands: int, what: str, where: str
) -> tuple[float, ...]:
    """Leave out a list that has not one finite number per band."""
    if values and (len(values) != bands or not all(map(math.isfinite, values))):
        log.warning(
            "%s gives %d %s for %d bands, or some that are no number; they are left out.",
            where, len(values), what, bands,
        )  # fmt: skip
        return ()
    return values


def _of_waves(
    waves: tuple[float, ...], widths: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Turn waves per centimetre, and the widths of bands in them, into nanometres.

    Examples
    --------
    >>> _of_waves((1000.0, 1250.0), (2.0, 5.0))
    ((10000.0, 8000.0), (20.0, 32.0))
    """
    if not waves or min(waves) <= 0:
        return (), ()
    widths_nm = (1e7 * width / wave**2 for width, wave in zip(widths, waves, strict=False))
    return _scaled(tuple(1e7 / wave for wave in waves), 1.0), _scaled(tuple(widths_nm), 1.0)


def _scaled(values: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """Scale without the noise of binary fractions."""
    return tuple(round(value * factor, 6) for value in values)


def _nm_per_unit(
    wavelengths: tuple[float, ...], facts: BandFacts, options: ReadOptions, where: str
) -> float | None:
    """Choose the unit: the user's, the file's, or the one that gives light; None without one."""
    if options.wavelength_units:
        return NM_PER_UNIT[options.wavelength_units]
    said, units = NM_PER_UNIT.get(facts.unit), facts.units
    if not wavelengths:
        return said
    if said is not None and _plausible(wavelengths, said):
        return said
    guess = next((factor for factor in (1.0, 1e3) if _plausible(wavelengths, factor)), None)
    if guess is None:
        log.warning(
            "The wavelengths of %s, from %g to %g (unit: %s), are neither nanometres nor "
            "micrometres of light; they are left out. Use --wavelength-units to keep them.",
            where, min(wavelengths), max(wavelengths), units or "missing",
        )  # fmt: skip
        return None
    log.warning(
        "The wavelengths of %s have the unit %s; from %g to %g, they are taken for %s. "
        "Use --wavelength-units to say otherwise.",
        where, units or "(missing)", min(wavelengths), max(wavelengths),
        "nanometres" if guess == 1.0 else "micrometres",
    )  # fmt: skip
    return guess


def _plausible(wavelengths: tuple[float, ...], factor: float) -> bool:
    """Tell whether a unit makes all wavelengths those of light."""
    low, high = PLAUSIBLE_NM
    return low <= min(wavelengths) * factor and max(wavelengths) * factor <= high
