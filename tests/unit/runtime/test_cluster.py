from __future__ import annotations

import atexit
from typing import Any

import distributed  # noqa: TID253 what is put in its place
import pytest
from distributed.deploy.spec import close_clusters  # noqa: TID253 the same

from hsistream.runtime.cluster import connect


def test_workers_that_were_interrupted_at_their_start_are_not_closed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    dropped: list[object] = []
    monkeypatch.setattr(distributed, "LocalCluster", interrupted)
    monkeypatch.setattr(atexit, "unregister", dropped.append)
    with pytest.raises(KeyboardInterrupt), connect("local:2"):
        pass
    assert dropped == [close_clusters]
