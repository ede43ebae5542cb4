"""Networks that turn spectra into latents: one line each.

Strings, so that the table costs nothing; a method is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from socket import gethostname
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from hsistream.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from hsistream.methods.base import Method

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "dgc": "hsistream.methods.dgc",
        "dgc-paper": "hsistream.methods.dgc_paper",
        "diffcrn": "hsistream.methods.diffcrn",
        "spectraldiff": "hsistream.methods.spectraldiff",
        "umae": "hsistream.methods.umae",
    }
)
"""Name of a network, as in ``encoder.name``, to the module that holds it."""


def load_method(name: str) -> Method:
    """Import a method by its name, a key of ``METHODS``."""
    return cast("Method", import_module(METHODS[name]))


def choose_device(wanted: str) -> str:
    """Choose where networks run: ``"cuda"`` or ``"cpu"``; ``"auto"`` takes a GPU if there is one.

    Raises
    ------
    ConfigError
        If ``"cuda"`` is asked for and there is no such device.
    """
    import torch

    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise ConfigError(
            f"--device cuda needs a CUDA device, but torch finds none on {gethostname()}. Use "
            f"--device cpu, or install a build of torch for your GPU."
        )
    return "cuda" if wanted == "cuda" or (wanted == "auto" and found) else "cpu"


@contextmanager
def using(device: str) -> Iterator[None]:
    """Use a device in a block, and give back what torch keeps of the memory of a GPU behind it.

    Raises
    ------
    ResourceError
        If that memory is exhausted.
    """
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        told, _, _ = str(error).partition(" GPU ")  # what follows fills a page
        raise ResourceError(
            f"The GPU has too little free memory. {told} Use --device cpu, or end what else uses "
            f"the GPU. A training needs less with a smaller training.pairs, encoder.portions or "
            f"encoder.batch, whichever the method has, and a smaller encoder.crop_px."
        ) from error
    finally:
        if device == "cuda":
            torch.cuda.empty_cache()
