from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest

from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.graph.exemplars import ALONE
from hsistream.growth import (
    CONSTANT_S,
    GROWTH,
    Load,
    Measured,
    Pace,
    estimated,
    longest_s,
    pace_of,
    predicted,
)
from hsistream.network_sections import TrainingSection
from hsistream.planning import plan
from hsistream.presets import PRESETS
from hsistream.scene.scene import Scene
from hsistream.stages.table import stream

NO_PACE = Pace()

ONE_TILE = dict.fromkeys(GROWTH, 1.0)


def load(pixels: int, **amounts: int) -> Load:
    given = dict.fromkeys(("reservoir", "reference", "shown"), pixels) | {"nodes": 0} | amounts
    return Load(pixels, **given, at_once=ONE_TILE)


def measured(of: Load, work_s: float = 0.0, pace: Pace = NO_PACE, **seconds: float) -> Measured:
    return Measured(of, seconds, pace, work_s)


def steps(**changes: object) -> TrainingSection:
    return TrainingSection().model_copy(
        update={"steps": 100, "check_every": 30, "probe": 8, **changes}
    )


def test_every_stage_of_every_preset_grows_somehow() -> None:
    names = {
        stage.name
        for method in PRESETS
        for stage in stream(RunConfig.make(method, settings=[("cluster.clusters", 3)]))
    }
    classified = RunConfig.make(settings=[("classify.labels", "labels.npy")])
    names |= {stage.name for stage in stream(classified)}
    assert names | {"adopt", "sample"} == set(GROWTH)  # these two are of predictions


def test_a_stage_takes_a_constant_and_so_much_for_each_pixel() -> None:
    runs = [measured(load(pixels), encode=0.5 + 0.001 * pixels) for pixels in (100, 400, 1600)]
    assert predicted("encode", runs, load(10**6)) == pytest.approx(0.5 + 1000)


def test_no_stage_takes_less_where_there_is_more_to_do() -> None:
    runs = [measured(load(100), encode=0.4), measured(load(400), encode=0.2)]
    assert predicted("encode", runs, load(10**9)) == pytest.approx(0.3)


def test_a_reservoir_that_is_full_grows_no_more() -> None:
    runs = [measured(load(pixels), codebooks=0.01 * pixels) for pixels in (100, 400)]
    assert predicted("codebooks", runs, load(10**9, reservoir=5000)) == pytest.approx(50)


def test_pixels_and_the_reservoir_are_told_apart() -> None:
    loads = [load(100), load(400), load(1600, reservoir=400), load(6400, reservoir=1600)]
    runs = [
        measured(each, report=0.1 + 1e-3 * each.shown + 1e-2 * each.reservoir) for each in loads
    ]
    wanted = load(10**6, reservoir=1000)
    assert predicted("report", runs, wanted) == pytest.approx(0.1 + 1000 + 10)


def test_walks_grow_with_the_nodes_and_with_pairs_of_the_first() -> None:
    runs = [
        measured(load(9, nodes=nodes), walks=0.2 + 1e-4 * nodes + 1e-8 * nodes**2)
        for nodes in (600, 1200, 4800)
    ]
    wanted = load(9, nodes=60_000)
    assert predicted("walks", runs, wanted) == pytest.approx(0.2 + 6 + 1e-8 * ALONE**2)


def test_densities_grow_with_the_sample_times_the_nodes() -> None:
    def seconds(of: Load) -> float:
        return 0.1 + 1e-6 * of.reference * of.nodes

    loads = [load(100, nodes=30), load(400, nodes=60), load(1600, nodes=240, reference=400)]
    runs = [measured(each, describe=seconds(each)) for each in loads]
    wanted = load(10**6, nodes=15_000, reference=25_000)
    assert predicted("describe", runs, wanted) == pytest.approx(seconds(wanted))


def test_tiles_side_by_side_share_the_pixels() -> None:
    runs = [measured(load(pixels), encode=0.001 * pixels) for pixels in (100, 400)]
    wanted = replace(load(10**6), at_once={**ONE_TILE, "encode": 4.0})
    assert predicted("encode", runs, wanted) == pytest.approx(250)
    runs = [replace(each, load=replace(each.load, at_once=wanted.at_once)) for each in runs]
    assert predicted("encode", runs, wanted) == pytest.approx(1000)


def test_of_two_runs_the_start_is_no_growth() -> None:
    runs = [measured(load(100), encode=1.0, report=3.0), measured(load(400), encode=4.0, report=1)]
    found = estimated(runs, load(10_000), steps())
    assert found["encode"] == pytest.approx(100)
    assert found["report"] == pytest.approx(3)


def test_the_start_of_a_process_is_counted_once() -> None:
    runs = [measured(load(100), encode=7.1), measured(load(200), encode=0.2)]
    runs.append(measured(load(400), encode=0.4))
    assert estimated(runs, load(10**6), steps())["encode"] == pytest.approx(7 + 1000)


def test_a_run_on_the_work_scene_is_its_own_estimate() -> None:
    runs = [measured(load(100), label=0.3, views=2.0, describe=1.0, report=0.5)]
    assert estimated(runs, load(100), steps()) == pytest.approx(dict(runs[0].seconds))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1 + 100 * 0.5 + 4 * 3),
        ({"steps": 60}, 1 + 60 * 0.5 + 2 * 3),
        ({"steps": 0}, 1),
        ({"minutes": 0.5}, 1 + 30),
        ({"minutes": 60}, 1 + 100 * 0.5 + 4 * 3),
        ({"probe": 9}, 1 + 100 * 0.5 + 4 * 2 * 3),
        ({"probe": 5}, 1 + 100 * 0.5 + 4 * 3),
    ],
)
def test_a_training_takes_its_steps_and_checks_and_no_longer_than_it_may(
    changes: Mapping[str, object], expected: float
) -> None:
    paces = Pace(9, 9, 16), Pace(0.5, 3, 8)
    runs = [measured(load(100), train=1.0, pace=pace) for pace in paces]
    found = estimated(runs, load(100), steps(**changes))
    assert found["train"] == pytest.approx(expected)


def test_the_pace_is_that_of_the_steps_after_the_first_and_the_last_has_a_check() -> None:
    assert pace_of([10.0, 10.5, 11.0, 14.5], 2) == Pace(0.5, 3.0, 2)
    assert pace_of([10.0, 10.5], 2) == pace_of([], 2) == Pace()


def test_how_long_the_next_run_takes_follows_from_how_the_last_ones_grew() -> None:
    runs = [measured(load(50), 9.0), measured(load(100), 2.0), measured(load(400), 5.0)]
    assert longest_s(runs, 1600) == pytest.approx(5 + 3 * 4)
    slow = [measured(load(50), 9.0, encode=0.3), measured(load(100), 4.0, encode=CONSTANT_S + 2)]
    assert longest_s(slow, 400) == pytest.approx(4 + 2 * 6)
    slow[0] = measured(load(50), 9.0, encode=CONSTANT_S + 1)
    assert longest_s(slow, 400) == pytest.approx(4 + 1 * 6)


def test_a_load_counts_what_a_plan_says(scene: Scene) -> None:
    config = RunConfig.make("s2dl", settings=[("cluster.clusters", 3), ("reservoir.pixels", 3000)])
    needed = plan(scene, config, Execution(tile_px=32, threads=4, memory_bytes=2**40))
    found = Load.of(scene, config, needed)
    assert (found.pixels, found.shown) == (scene.valid_pixels, scene.pixels)
    assert found.reservoir == found.reference == 3000
    assert found.nodes == 3 * config.segment.count(scene.valid_pixels)
    assert found.at_once["count"] == 10 / 3  # ten tiles, four at a time, take three rounds
    assert found.at_once["codebooks"] == 1
    assert found.of_tiles("count") == pytest.approx(scene.valid_pixels * 3 / 10)


def test_amounts_grow_with_the_pixels(scene: Scene) -> None:
    config = RunConfig.make("ds2dl", settings=[("cluster.clusters", 3)])
    loads = []
    for side in (200, 2000, 20_000):
        frame = replace(scene.frames[0], shape=(side, side), valid_pixels=side**2)
        large = replace(scene, frames=(frame,), shard_px=256)
        loads.append(Load.of(large, config, plan(large, config, Execution(threads=2))))
    for stage in stream(config):
        amounts = [GROWTH[stage.name](each) for each in loads]
        for less, more in pairwise(amounts):
            assert all(a <= b for a, b in zip(less, more, strict=True)), stage.name
