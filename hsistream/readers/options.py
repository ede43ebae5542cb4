"""What a user may say about a file where the file does not say it itself."""

from __future__ import annotations

from dataclasses import dataclass

from hsistream.errors import ConfigError

UNITS = ("nm", "um")
"""Units of ``wavelength_units``."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Answers to what a file leaves open.

    Parameters
    ----------
    key : str, optional
        Name of the cube inside npz, mat, zarr and HDF5.
    axes : str, optional
        Order of the axes as letters y, x and b, such as ``"yxb"``, for npy,
        npz, mat, zarr and HDF5; ``"yx"`` for an image of one band.
    wavelength_units : str, optional
        ``"nm"`` or ``"um"``; overrides what a file says.
    mosaic : bool
        Take all rasters for pieces of one frame, placed by their georeference.
    shape : (int, int), optional
        Size (y, x), px, of a cube that is stored as (band, pixel) or
        (pixel, band).
    no_data, keep_zeros : float, bool
        As :class:`hsistream.scene.ingest.IngestOptions` has them: where pieces of a
        mosaic overlap, one without data gives way.

    Raises
    ------
    ConfigError
        If an answer is not one of these.

    Examples
    --------
    >>> ReadOptions(axes="BYX").axes
    'byx'
    """

    key: str | None = None
    axes: str | None = None
    wavelength_units: str | None = None
    mosaic: bool = False
    shape: tuple[int, int] | None = None
    no_data: float | None = None
    keep_zeros: bool = False

    def __post_init__(self) -> None:
        if self.axes is not None:
            object.__setattr__(self, "axes", _checked_axes(self.axes))
        if self.wavelength_units not in (None, *UNITS):
            raise ConfigError(
                f"--wavelength-units must be nm or um, but is {self.wavelength_units!r}."
            )
        if self.shape is not None and (len(self.shape) != 2 or min(self.shape) < 1):
            raise ConfigError(f"--shape needs two positive sizes (y, x), but is {self.shape}.")


def _checked_axes(axes: str) -> str:
    """Normalise the letters of axes, and refuse others."""
    letters = axes.lower().replace(",", "").replace(" ", "")
    if sorted(letters) not in (sorted("yxb"), sorted("yx")):
        raise ConfigError(
            f"--axes needs each of the letters y, x and b once, in the order of the file, such as "
            f"yxb or byx (yx for a single band), but is {axes!r}."
        )
    return letters
