"""From readable files to a scene store, streamed shard by shard.

The store appears under its name only when it is complete: it is written beside
it and renamed at the end.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.events import Notify, Progress, StageFinished, StageStarted, ignore
from hsistream.files import filing, local_path, locked
from hsistream.scene.checks import checked_source, listed_sources
from hsistream.scene.layout import choose_storage, create_frame, write_band_coordinates
from hsistream.scene.missing import (
    Tally,
    dead_bands,
    find_missing,
    fits,
    flat_pixels,
    good_bands,
    lost_pixels,
    undeclared,
)
from hsistream.scene.scene import SPECTRA, VALID, Frame, Scene, is_scene, root_attributes
from hsistream.scene.source import FrameHeader, Source, check_scales
from hsistream.stores import arrays
from hsistream.tiles import Tile, TileGrid, within

log = logging.getLogger(__name__)

READ_BYTES = 128 * 2**20
"""Neighbouring shards are read from the source at once up to this size."""

WAVELENGTH_TOLERANCE_NM = 1.0
"""Bands of two files are the same if their wavelengths differ by no more."""

BRIGHTEST = 1e12
"""Brightness beyond that of all units: fill values are among the spectra."""


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What a user may say about sources that do not say it themselves.

    ``keep_zeros`` keeps pixels that are exactly zero in every band, which are
    otherwise taken for padding.
    """

    no_data: float | None = None
    keep_zeros: bool = False
    overwrite: bool = False


def ingest(
    sources: Iterable[Source],
    uri: str | PathLike[str],
    options: IngestOptions = IngestOptions(),
    notify: Notify = ignore,
) -> Scene:
    """Write sources as the frames of one scene store.

    Parameters
    ----------
    sources : iterable of Source
        One per frame; they must agree in their number of bands and wavelengths.
    uri : str or path-like
        Where the store shall lie, on a local disk; nothing must be there unless
        ``options.overwrite``.
    options : IngestOptions
        What the files do not say themselves.
    notify : callable
        Receives progress.

    Returns
    -------
    Scene
        The finished scene.

    Raises
    ------
    SceneError
        If a source is not what :class:`Source` says, the sources do not fit together or hold
        no data, or ``uri`` is taken or remote.

    Notes
    -----
    Memory is that of a few shards (``READ_BYTES``), whatever the size of a frame.
    """
    target = local_path(uri, SceneError).absolute()
    target = target.resolve() if target.is_symlink() else target
    listed = listed_sources(sources)
    _check_not_read(listed, target)
    checked = [checked_source(source, number) for number, source in enumerate(listed)]
    layout = _common_layout([source.header for source in checked])
    _check_target(target, options.overwrite)
    partial, old = (target.with_name(f".{target.name}.{end}") for end in ("partial", "old"))
    lock = target.with_name(f".{target.name}.lock")
    busy = f"Another command is writing {target}. Wait until it has ended, or choose another name."
    with locked(lock, busy):
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)  # a kill came between two renames
        try:
            _write_scene(checked, str(partial), layout, options, notify)
            with filing(target):
                _check_target(target, options.overwrite)
                _replace(target, partial, old)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        finally:
            lock.unlink(missing_ok=True)
    return Scene.open(target)


def _replace(target: Path, partial: Path, old: Path) -> None:
    """Put a finished store in its place; at every moment it or the old one is whole."""
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        partial.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_not_read(sources: Sequence[Source], target: Path) -> None:
    """Refuse to join a scene with others in its own place: a folder may hold it by chance."""
    paths = (getattr(source, "path", None) for source in sources)
    read = [Path(path).absolute() if isinstance(path, str | PathLike) else None for path in paths]
    if target in read and any(path != target for path in read):
        raise SceneError(
            f"A scene and other files are joined to a new scene, but {target} is one of what is "
            f"read. Name the other files alone, or choose another place for the scene."
        )


def _common_layout(headers: Sequence[FrameHeader]) -> FrameHeader:
    """Check that frames share their bands, and describe what they share."""
    if not headers:
        raise SceneError("A scene needs at least one source, but none was given.")
    first = headers[0]
    names = [header.name for header in headers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SceneError(f"Frames need different names, but {', '.join(twice)} appears twice.")
    known = next((header for header in headers if header.wavelengths_nm), first)
    for header in headers:
        _check_bands(known, header)
    dtype = np.result_type(*[header.dtype for header in headers])
    return FrameHeader("", first.shape, first.bands, dtype, known.wavelengths_nm, known.fwhm_nm)


def _check_bands(first: FrameHeader, other: FrameHeader) -> None:
    """Refuse a frame whose bands differ from those of another."""
    if other.bands != first.bands:
        raise SceneError(
            f"Frames of a scene share their bands, but {first.name} has {first.bands} and "
            f"{other.name} has {other.bands}. Ingest them as two scenes."
        )
    check_scales(first, other)
    both = first.wavelengths_nm and other.wavelengths_nm
    tolerance_nm = WAVELENGTH_TOLERANCE_NM
    if both and not np.allclose(first.wavelengths_nm, other.wavelengths_nm, atol=tolerance_nm):
        raise SceneError(
            f"Frames of a scene share their wavelengths, but those of {first.name} and "
            f"{other.name} differ by more than {tolerance_nm:g} nm. Ingest them as two scenes."
        )


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuse to write over anything that is not an old scene."""
    if not target.exists():
        return
    if not overwrite:
        raise SceneError(f"{target} exists already. Choose another name, or add --overwrite.")
    if not is_scene(target):
        raise SceneError(
            f"{target} is no scene of hsistream, so --overwrite does not replace it. Choose "
            f"another name."
        )


def _write_scene(
    sources: Sequence[Source], uri: str, layout: FrameHeader, options: IngestOptions, notify: Notify
) -> Scene:
    """Write all frames, then the attributes that make the store a scene."""
    root = arrays.create_group(uri, {})
    chunk_px, shard_px = choose_storage(layout, [source.header.shape for source in sources])
    grids = [
        TileGrid(source.header.shape, shard_px, frame=number)
        for number, source in enumerate(sources)
    ]
    digest = hashlib.blake2b(digest_size=16)
    tallies = []
    total, done = sum(len(grid) for grid in grids), 0
    started = time.monotonic()
    notify(StageStarted("ingest", total))
    for source, grid in zip(sources, grids, strict=True):
        create_frame(root, source.header, layout, chunk_px, shard_px)
        tally = Tally(layout.bands)
        for tile, block, mask in _blocks(source, grid, layout.dtype):
            valid = _write_block(uri, source, tile, block, mask, options, tally)
            for part in (block, valid):
                digest.update(hashlib.blake2b(part.tobytes()).digest())
            done += 1
            notify(Progress("ingest", done, total))
        tallies.append(tally)
    good = good_bands([source.header for source in sources], tallies)
    frames = tuple(
        _finish_frame(uri, source, tally, good, options)
        for source, tally in zip(sources, tallies, strict=True)
    )
    no_data = _no_data(sources[0].header, options)
    scene = _describe_scene(uri, frames, layout, good, (chunk_px, shard_px), tallies, no_data)
    digest.update(json.dumps(_lasting_facts(scene)).encode())
    scene = replace(scene, identity=digest.hexdigest())
    write_band_coordinates(root, scene)
    root.attrs.update(root_attributes(scene))
    if not scene.valid_pixels:
        names = [frame.name for frame in frames]
        zeros = " Pixels that are zero in every band count as no data; or use --keep-zeros."
        known = zeros if any(tally.zeros for tally in tallies) else ""
        why = next((f" {loss}." for loss in lost_pixels(names, tallies, good)), known)
        raise SceneError(
            f"No pixel of {_names(sources)} has data; a scene needs at least one.{why}"
        )
    notify(StageFinished("ingest", time.monotonic() - started))
    return scene


def _lasting_facts(scene: Scene) -> dict[str, Any]:
    """Choose the facts, beside the pixels, that make a scene what it is; no sums of floats."""
    facts = asdict(scene)
    for frame in facts["frames"]:
        del frame["brightness"]
    return {key: value for key, value in facts.items() if key not in ("uri", "notes")}


def _blocks(
    source: Source, grid: TileGrid, dtype: np.dtype[Any]
) -> Iterator[tuple[Tile, NDArray[Any], NDArray[np.bool_] | None]]:
    """Read a source shard by shard, several neighbours at once where they are small."""
    spectrum = source.header.bands * dtype.itemsize
    together = max(1, READ_BYTES // (grid.tile**2 * spectrum))
    for row in range(grid.rows):
        for start in range(0, grid.columns, together):
            tiles = [grid[row, at] for at in range(start, min(start + together, grid.columns))]
            first, last = tiles[0].core, tiles[-1].core
            window = (first[0], slice(first[1].start, last[1].stop))
            spectra, mask = source.read(window), source.valid(window)
            for tile in tiles:
                inner = within(tile.core, window)
                block = np.ascontiguousarray(spectra[:, *inner], dtype=dtype)
                yield tile, block, None if mask is None else mask[inner]


def _write_block(
    uri: str,
    source: Source,
    tile: Tile,
    block: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    options: IngestOptions,
    tally: Tally,
) -> NDArray[np.bool_]:
    """Write one shard, count what it lacks, and return which pixels have data."""
    missing = find_missing(block, _no_data(source.header, options))
    valid = np.asarray(~missing.all(axis=0))
    if mask is not None:
        valid &= mask
    if not options.keep_zeros and tally.bands > 1:
        zeros = valid & ~np.any(block, axis=0)
        tally.zeros += int(zeros.sum())
        valid = valid & ~zeros
    tally.flat += flat_pixels(block, valid)
    missing &= valid
    tally.pixels += int(valid.sum())
    lacking = missing.sum(axis=(1, 2))
    tally.missing += lacking
    if lacking.any():
        tally.patchy.append(tile)
    counted = block if valid.all() and not lacking.any() else np.where(valid & ~missing, block, 0)
    tally.sums += counted.sum(axis=(1, 2), dtype=np.float64)
    name = source.header.name
    arrays.write(uri, f"{name}/{SPECTRA}", (slice(None), *tile.core), block)
    arrays.write(uri, f"{name}/{VALID}", tile.core, valid)
    return valid


def _no_data(header: FrameHeader, options: IngestOptions) -> float | None:
    """Prefer the user's no-data value to the file's; what is not finite is missing anyway."""
    value = header.no_data if options.no_data is None else options.no_data
    return value if value is not None and np.isfinite(value) else None


def _finish_frame(
    uri: str, source: Source, tally: Tally, good: tuple[bool, ...], options: IngestOptions
) -> Frame:
    """Mask the pixels that lack a value in a good band, and describe the frame."""
    header = source.header
    keep = np.asarray(good)
    if tally.missing[keep].any():
        for tile in tally.patchy:
            block = arrays.read(uri, f"{header.name}/{SPECTRA}", (slice(None), *tile.core))
            missing = find_missing(block[keep], _no_data(header, options)).any(axis=0)
            valid = arrays.read(uri, f"{header.name}/{VALID}", tile.core)
            tally.lost += int((valid & missing).sum())
            arrays.write(uri, f"{header.name}/{VALID}", tile.core, valid & ~missing)
    counts = np.maximum(1, tally.pixels - tally.missing)
    brightness = float((tally.sums / counts)[keep].mean())
    return Frame(
        header.name, header.shape, tally.pixels - tally.lost, brightness, header.georeference
    )


def _describe_scene(
    uri: str,
    frames: tuple[Frame, ...],
    layout: FrameHeader,
    good: tuple[bool, ...],
    storage: tuple[int, int],
    tallies: Sequence[Tally],
    no_data: float | None,
) -> Scene:
    """Collect the facts of a finished store."""
    zeros = sum(tally.zeros for tally in tallies)
    notes = []
    if zeros:
        notes.append(f"{zeros} pixels are zero in every band and count as no data (--keep-zeros)")
    if not all(good):
        notes.append(f"{good.count(False)} of {len(good)} bands are bad and never used")
    if no_data is not None and not fits(no_data, layout.dtype):
        notes.append(f"{no_data:g} marks no data, but no value of {layout.dtype} can be that")
    notes += undeclared(tallies)
    names = [frame.name for frame in frames]
    notes += dead_bands(names, tallies)
    notes += lost_pixels(names, tallies, good)
    notes += [
        f"the brightness of {frame.name} is {frame.brightness:.3g}; if values stand for no data "
        f"there, name them (--no-data)"
        for frame in frames
        if abs(frame.brightness) > BRIGHTEST
    ][:1]
    for note in notes:
        log.info("%s", note)
    return Scene(
        uri=uri,
        identity="",
        frames=frames,
        bands=layout.bands,
        dtype=str(layout.dtype),
        good_bands=good,
        wavelengths_nm=layout.wavelengths_nm,
        fwhm_nm=layout.fwhm_nm,
        chunk_px=storage[0],
        shard_px=storage[1],
        no_data=no_data,
        notes=tuple(notes),
    )


def _names(sources: Sequence[Source]) -> str:
    """List frames by name, the first few."""
    names = [source.header.name for source in sources]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
