from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.errors import IncompleteError
from hsistream.events import ignore
from hsistream.execution import Execution
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Address, Context
from hsistream.stages import train as train_stage
from hsistream.stages.assign import load_prototypes
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import write_table


class Unhashable(Scene):
    """A scene of which nobody may ask more than what it looks like."""

    def __hash__(self) -> int:
        raise AssertionError("a scene with many frames takes long to hash")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("and to compare")


@pytest.fixture
def address(scene: Scene, tmp_path: Path) -> Address:
    return Address(scene, RunDirectory(tmp_path / "run"), "mark")


def test_an_address_is_another_one_with_another_run_fingerprint_or_holder(
    address: Address, tmp_path: Path
) -> None:
    others = [
        replace(address, run=RunDirectory(tmp_path)),
        replace(address, fingerprint="other"),
        replace(address, holder="other"),
    ]
    assert len({address, *others}) == 4
    assert {address: 1}[replace(address)] == 1


def test_the_scene_is_neither_hashed_nor_compared(address: Address) -> None:
    known = {field: getattr(address.scene, field) for field in Scene.__dataclass_fields__}
    strange = replace(address, scene=Unhashable(**known))
    assert {address: 1}[strange] == 1


def test_a_task_can_carry_an_address(address: Address) -> None:
    carried = pickle.loads(pickle.dumps(address))
    assert carried == address
    assert carried.scene == address.scene


def test_a_stage_gives_its_tasks_its_own_address(scene: Scene, address: Address) -> None:
    context = Context(address.run, scene, RunConfig(), Execution(), 32, 1, None, ignore, "mark")
    assert context.address == address
    assert context.address.scene is scene
    assert replace(context, fingerprint="next").address != address


def test_a_task_that_outlives_its_command_writes_nothing_into_the_run_of_the_next(
    scene: Scene, address: Address
) -> None:
    layer, core = Layer("labels", "uint16", 65535), (slice(0, 8), slice(0, 8))
    store = RasterStore.create(address.run.labels_uri, [layer], scene.frames, 32)
    name = scene.frames[0].name

    def write(holder: str, value: int) -> None:
        values = np.full((8, 8), value, np.uint16)
        replace(address, holder=holder).write(store.uri, name, "labels", core, values)

    with address.run.locked() as first:
        write(first, 1)
    with address.run.locked() as second:
        write(second, 2)
        with pytest.raises(IncompleteError, match="Nothing was written"):
            write(first, 1)
    assert (store.read(name, "labels", core) == 2).all()


# --- what is read once per process ---------------------------------------------------------


def write_prototype(address: Address, place: int) -> None:
    address.run.path.mkdir(exist_ok=True)
    prototypes = np.eye(3, dtype=np.float32)[None, [place]]
    write_table(address.run.table(train_stage.TABLE), {"prototypes": prototypes})


def found_prototype(address: Address) -> int:
    return int(load_prototypes(address)[0].argmax())


def test_a_process_that_outlives_a_run_takes_no_table_of_another(
    address: Address, tmp_path: Path
) -> None:
    elsewhere = replace(address, run=RunDirectory(tmp_path / "elsewhere"))
    write_prototype(address, 0)
    write_prototype(elsewhere, 1)
    assert [found_prototype(each) for each in (address, elsewhere, address)] == [0, 1, 0]


def test_a_run_that_is_asked_for_otherwise_is_read_again(address: Address) -> None:
    write_prototype(address, 0)
    assert found_prototype(address) == 0
    write_prototype(address, 2)
    assert found_prototype(replace(address, fingerprint="other")) == 2


def test_tables_are_read_once_whatever_address_comes_with_a_task(address: Address) -> None:
    write_prototype(address, 0)
    found = load_prototypes(address)
    assert load_prototypes(pickle.loads(pickle.dumps(address))) is found
