from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch  # noqa: TID253 the layer of the networks

from hsistream.errors import DamagedError, ResourceError
from hsistream.nn.checkpoint import (
    Checkpoint,
    checkpoint_steps,
    discard,
    keep_only,
    read_checkpoint,
    read_elapsed,
    read_state,
    write_checkpoint,
    write_elapsed,
)

TENSORS = {
    "b.weight": torch.arange(6.0).reshape(2, 3).T,
    "a.count": torch.tensor(7),
    "c": torch.tensor([[1.0, math.inf], [-0.0, math.nan]], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 3),
}
STATE = {"mark": "é", "losses": [0.1, 1 / 3, math.nan], "nested": {"none": None, "yes": True}}


def written(folder: Path, step: int = 30) -> Path:
    write_checkpoint(folder, Checkpoint(step, STATE, TENSORS))
    return folder / "checkpoints" / f"step-{step:08d}"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written(tmp_path)
    found = read_checkpoint(tmp_path, 30)
    assert found.step == 30
    assert repr(found.state) == repr(STATE) == repr(read_state(tmp_path, 30))
    assert set(found.tensors) == set(TENSORS)
    for name, value in TENSORS.items():
        torch.testing.assert_close(found.tensors[name], value, rtol=0, atol=0, equal_nan=True)
        assert found.tensors[name].dtype == value.dtype


def test_the_order_of_names_changes_no_byte_of_the_tensors(tmp_path: Path) -> None:
    path = written(tmp_path / "1")
    backwards = dict(reversed(TENSORS.items()))
    write_checkpoint(tmp_path / "2", Checkpoint(30, STATE, backwards))
    other = tmp_path / "2" / "checkpoints" / path.name
    for name in ("tensors.safetensors", "state.json"):
        assert (path / name).read_bytes() == (other / name).read_bytes()


def test_tensors_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    shared = torch.arange(8.0)
    tensors = {"one": shared, "same": shared, "part": shared[::2]}
    write_checkpoint(tmp_path, Checkpoint(0, {}, tensors))
    found = read_checkpoint(tmp_path, 0).tensors
    assert torch.equal(found["same"], shared)
    assert torch.equal(found["part"], shared[::2])


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    path = written(tmp_path)
    write_checkpoint(tmp_path, Checkpoint(30, {}, {}))
    assert read_checkpoint(tmp_path, 30) == Checkpoint(30, {}, {})
    assert list(path.parent.iterdir()) == [path]


def test_only_what_is_asked_for_is_kept(tmp_path: Path) -> None:
    for step in (0, 30, 60, 90):
        path = written(tmp_path, step)
    left = path.with_name(".step-00000120.partial")
    left.mkdir()
    (left / "tensors.safetensors").write_bytes(b"half")
    (tmp_path / ".checkpoints.partial").mkdir()
    assert checkpoint_steps(tmp_path) == [90, 60, 30, 0]
    keep_only(tmp_path, {0, 60, 90})
    assert checkpoint_steps(tmp_path) == [90, 60, 0]
    assert not left.exists()
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoints"]


def test_all_can_be_discarded(tmp_path: Path) -> None:
    written(tmp_path)
    write_elapsed(tmp_path, 3.0)
    (tmp_path / "other").touch()
    discard(tmp_path)
    discard(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["other"]
    assert checkpoint_steps(tmp_path) == []


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_any_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    path = written(tmp_path) / name
    sound = path.read_bytes()
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(DamagedError, match=r"fails its checksum. Delete .*step-00000030 and"):
            read_checkpoint(tmp_path, 30)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"sha256": 3}'])
@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_other_content_is_damage(tmp_path: Path, name: str, content: bytes) -> None:
    (written(tmp_path) / name).write_bytes(content)
    with pytest.raises(DamagedError):
        read_checkpoint(tmp_path, 30)


def test_a_missing_checkpoint_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="is missing"):
        read_checkpoint(tmp_path, 30)


def test_a_full_disk_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="is full"):
        write_checkpoint(tmp_path, Checkpoint(60, STATE, TENSORS))
    assert list(path.parent.iterdir()) == [path]


def test_the_time_is_kept_beside_the_checkpoints(tmp_path: Path) -> None:
    assert read_elapsed(tmp_path) == 0
    write_elapsed(tmp_path, 12.3456)
    assert read_elapsed(tmp_path) == 12.346


@pytest.mark.parametrize("content", ["", "3", "{}", '{"elapsed_s": "x"}', '{"elapsed_s": null}'])
def test_a_damaged_time_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "elapsed.json").write_text(content)
    with pytest.raises(DamagedError, match=r"elapsed.json does not hold a time"):
        read_elapsed(tmp_path)


def test_a_checkpoint_is_plain_json_and_safetensors(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert sorted(each.name for each in path.iterdir()) == ["state.json", "tensors.safetensors"]
    assert json.loads((path / "state.json").read_bytes())["state"]["mark"] == "é"
    header = (path / "tensors.safetensors").read_bytes()[8:]
    assert header.startswith(b"{") and b"__metadata__" not in header  # noqa: PT018
