from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hsistream.superpixels import SEGMENTERS, load_segmenter
from tests.unit.superpixels.images import assert_superpixels, noise


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_segmenter_cuts_a_base_image(name: str, channels: int) -> None:
    valid = np.ones((20, 30), np.bool_)
    valid[5:9, 4:20] = False
    segment = load_segmenter(name)
    numbers = segment(noise((20, 30), 0, channels=channels, levels=50), 12, valid=valid)
    assert_superpixels(numbers, valid, 8)
    assert 8 <= numbers.max() + 1 <= 40


def test_the_table_imports_no_segmenter() -> None:
    code = "import sys, hsistream.superpixels; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
