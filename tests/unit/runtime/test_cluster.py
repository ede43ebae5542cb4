from __future__ import annotations

import atexit
import socket
from typing import Any

import distributed  # noqa: TID253 what is put in its place
import pytest
from distributed.deploy.spec import close_clusters  # noqa: TID253 the same

from hsistream.errors import ConfigError, IncompleteError
from hsistream.runtime import cluster
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


def test_what_takes_a_question_and_never_answers_is_no_scheduler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(cluster, "SPARE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(IncompleteError, match="none answered"), connect(address):
            pass


@pytest.mark.parametrize("scheduler", ["local:0", "local:many", "4", None])
def test_what_names_no_scheduler_is_refused(scheduler: Any) -> None:
    with pytest.raises(ConfigError, match="--scheduler must be none, local:N or an address"):
        cluster.connect(scheduler).__enter__()
