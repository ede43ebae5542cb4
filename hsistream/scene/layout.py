"""How a scene is laid out on disk: chunks, shards and spectral coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import zarr

from hsistream.scene.scene import SPECTRA, VALID, Scene
from hsistream.scene.source import FrameHeader
from hsistream.stores import arrays

CHUNK_BYTES = 4 * 2**20
CHUNK_SIDES_PX = (256, 128, 64)
SHARD_BYTES = 64 * 2**20


def choose_storage(layout: FrameHeader, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Choose chunk and shard sizes, px per side, from the bytes of a spectrum.

    A chunk holds all bands of a square of 64 to 256 px and about 4 MiB, so
    that a spectrum and a crop both cost few reads; a shard holds whole chunks
    up to 64 MiB, or the largest frame.
    """
    spectrum = layout.bands * layout.dtype.itemsize
    chunk = next((px for px in CHUNK_SIDES_PX if px * px * spectrum <= CHUNK_BYTES), 64)
    wanted = max(1, int(math.sqrt(SHARD_BYTES / spectrum)) // chunk)
    needed = -(-max(max(shape) for shape in shapes) // chunk)
    return chunk, chunk * max(1, min(wanted, needed))


def create_frame(
    root: zarr.Group, header: FrameHeader, layout: FrameHeader, chunk_px: int, shard_px: int
) -> None:
    """Create the arrays and coordinates of one frame."""
    group = root.create_group(header.name, attributes={"source": dict(header.attributes)})
    mapping = {"grid_mapping": arrays.SPATIAL_REF} if header.georeference else {}
    arrays.create_array(
        group,
        SPECTRA,
        shape=(layout.bands, *header.shape),
        dtype=layout.dtype,
        chunks=(layout.bands, chunk_px, chunk_px),
        shards=(layout.bands, shard_px, shard_px),
        dimensions=["band", "y", "x"],
        attributes=mapping,
    )
    arrays.create_array(
        group,
        VALID,
        shape=header.shape,
        dtype=np.bool_,
        chunks=(shard_px, shard_px),
        dimensions=["y", "x"],
        attributes={"long_name": "pixel has data", **mapping},
    )
    arrays.write_georeference(group, header.georeference, header.shape)


def write_band_coordinates(root: zarr.Group, scene: Scene) -> None:
    """Give every frame its spectral coordinates, by the CF conventions."""
    for frame in scene.frames:
        group = root[frame.name]
        assert isinstance(group, zarr.Group)
        names = ["good_wavelengths"]
        quality = np.asarray(scene.good_bands, np.uint8)
        arrays.create_vector(group, names[0], "band", quality, {"long_name": "1 = good band"})
        for name, values, attributes in (
            ("wavelength", scene.wavelengths_nm, {"standard_name": "radiation_wavelength"}),
            ("fwhm", scene.fwhm_nm, {"long_name": "full width at half maximum"}),
        ):
            if values:
                vector = np.asarray(values, np.float64)
                arrays.create_vector(group, name, "band", vector, {**attributes, "units": "nm"})
                names.append(name)
        group[SPECTRA].attrs["coordinates"] = " ".join(names)
