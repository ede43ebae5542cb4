"""Superpixels: small connected parts of an image, of one colour each."""

from __future__ import annotations

from hsistream.superpixels.base_image import eight_bit
from hsistream.superpixels.ers import entropy_rate

__all__ = ["eight_bit", "entropy_rate"]
