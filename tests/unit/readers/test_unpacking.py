from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hsistream.readers.unpacking import UnpackedArray


def test_threads_that_read_at_once_unpack_once(tmp_path: Path) -> None:
    cube, unpacked = np.arange(24).reshape(2, 3, 4), []

    def unpack(target: Path) -> None:
        unpacked.append(target)
        time.sleep(0.05)
        np.save(target, cube)

    array = UnpackedArray(tmp_path, cube.shape, cube.dtype, unpack)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda row: array[(slice(row, row + 1),)], range(2)))
    assert np.array_equal(np.concatenate(rows), cube)
    assert len(unpacked) == 1
