from __future__ import annotations

from dataclasses import astuple
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.scene.blocks import (
    Block,
    BlockGrid,
    BlockPlan,
    Schedule,
    choose_grid,
    draw_places,
    frame_shares,
    make_schedule,
)
from hsistream.tiles import area

GRID = BlockGrid(chunk_px=16, chunks=3, least_px=40)
SHAPES = ((100, 230), (48, 90), (200, 64))


def schedules() -> st.SearchStrategy[Schedule]:
    """Schedules in which every block gives at least one pair."""
    return st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(0, 200)).map(
        lambda found: Schedule(found[0] * found[1] + found[2], found[0], found[1])
    )


def full_counts(shape: tuple[int, int] = SHAPES[0]) -> NDArray[np.int32]:
    """Counts of a frame without no data, of the chunks of ``GRID``."""
    rows, columns = (np.diff([*range(0, extent, 16), extent]) for extent in shape)
    return np.outer(rows, columns).astype(np.int32)


def drawn_places(
    counts: list[NDArray[np.int32]], schedule: Schedule, seed: int = 0
) -> NDArray[np.int32]:
    return draw_places(GRID, SHAPES[: len(counts)], counts, schedule, seed)


@given(
    st.integers(1, 700),
    st.integers(1, 64),
    st.integers(2, 6),
    st.floats(0, 1),
    st.data(),
)
def test_the_blocks_of_an_axis_are_whole_chunks_and_leave_none_out(
    extent_px: int, chunk_px: int, chunks: int, least: float, data: st.DataObject
) -> None:
    grid = BlockGrid(chunk_px, chunks, 1 + int(least * (chunks * chunk_px - 1)))
    spans = grid.spans(extent_px, data.draw(st.integers(0, chunks - 1)))
    covered = {chunk for start, stop in spans.tolist() for chunk in range(start, stop)}
    assert covered == set(range(-(-extent_px // chunk_px)))
    lengths = np.diff(np.minimum(spans * chunk_px, extent_px))
    assert lengths.min() >= min(grid.least_px, extent_px)
    assert lengths.max() <= grid.longest_px(extent_px)
    assert len(np.unique(spans, axis=0)) == len(spans)


def test_the_origin_moves_the_inner_borders_of_blocks() -> None:
    inner = [set(GRID.spans(480, origin)[1:-1].ravel().tolist()) for origin in range(3)]
    assert set.union(*inner) >= set(range(3, 27))


@pytest.mark.parametrize(
    ("chunk_px", "spectrum_bytes", "side_px"),
    [(64, 384, 256), (64, 385, 192), (64, 602, 192), (64, 1000, 128), (128, 120, 256)],
)
def test_blocks_are_as_large_as_the_limits_allow(
    chunk_px: int, spectrum_bytes: int, side_px: int
) -> None:
    found = choose_grid(chunk_px, spectrum_bytes, 64, px_most=256, bytes_most=24 * 2**20)
    assert found.side_px == side_px
    assert found.side_px**2 * spectrum_bytes <= 24 * 2**20


@pytest.mark.parametrize(("chunk_px", "spectrum_bytes"), [(64, 4000), (256, 24)])
def test_blocks_have_two_chunks_and_two_crops_per_side(chunk_px: int, spectrum_bytes: int) -> None:
    found = choose_grid(chunk_px, spectrum_bytes, 64, px_most=256, bytes_most=24 * 2**20)
    assert found.side_px == 2 * chunk_px


@given(schedules())
def test_pairs_take_turns_in_the_slots(schedule: Schedule) -> None:
    blocks = [schedule.block(pair) for pair in range(schedule.uses)]
    assert all(b % schedule.slots == p % schedule.slots for p, b in enumerate(blocks))
    for slot in range(schedule.slots):
        in_slot = blocks[slot :: schedule.slots]
        assert [block for block, _ in groupby(in_slot)] == sorted(set(in_slot))


@given(schedules())
def test_blocks_are_needed_in_the_order_of_their_numbers(schedule: Schedule) -> None:
    needs = list(schedule.needs(0))
    assert needs == list(range(len(needs)))
    assert len(needs) <= schedule.blocks


@given(schedules())
def test_blocks_of_a_slot_share_its_pairs(schedule: Schedule) -> None:
    mean = schedule.uses / schedule.blocks
    blocks, uses = np.unique(
        [schedule.block(pair) for pair in range(schedule.uses)], return_counts=True
    )
    generation = blocks // schedule.slots
    inner = uses[(generation > 0) & (generation < schedule.generations - 1)]
    assert np.all((inner >= np.floor(mean)) & (inner <= np.ceil(mean)))
    assert np.all(uses >= np.floor(mean / 2))
    assert np.all(uses <= np.ceil(1.5 * mean) + 1)


@given(schedules(), st.data())
def test_a_run_entered_later_needs_the_blocks_that_it_uses(
    schedule: Schedule, data: st.DataObject
) -> None:
    first_pair = data.draw(st.integers(0, schedule.uses))
    used = {schedule.block(pair) for pair in range(first_pair, schedule.uses)}
    needs = list(schedule.needs(first_pair))
    assert len(needs) == len(used)
    assert set(needs) == used


def test_blocks_are_changed_a_few_at_a_time() -> None:
    schedule = make_schedule(600, 4, 8, cost=8, amplification=1)
    numbers = [schedule.block(pair) for pair in range(schedule.uses)]
    _, first_pairs = np.unique(numbers, return_index=True)
    changes = first_pairs[schedule.slots :]
    assert np.all(changes[2:] - changes[:-2] > schedule.slots)


@given(
    st.integers(1, 1000),
    st.integers(1, 4),
    st.floats(0.05, 32),
    st.sampled_from([0.25, 0.5, 1.0, 2.0]),
)
def test_a_run_reads_no_more_than_its_amplification_allows(
    steps: int, pairs: int, cost: float, amplification: float
) -> None:
    schedule = make_schedule(steps, pairs, 8, cost, amplification)
    assert pairs <= schedule.slots <= 8
    read = schedule.blocks * cost
    most = 1.1 * amplification * schedule.uses
    assert read <= max(most, pairs * cost)
    if steps >= cost / amplification:
        assert read <= most * (1 + 1e-12)


def test_blocks_do_not_repeat_themselves() -> None:
    schedule = make_schedule(36, 8, 8, cost=8, amplification=8 / 33)
    assert schedule.uses / schedule.blocks == 36
    schedule = make_schedule(70, 8, 8, cost=8, amplification=8 / 37)
    assert schedule.uses / schedule.blocks == 35, "64 pairs are enough, and 1.1 x allow it"


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=9).filter(any))
def test_frames_have_their_share(valid_pixels: list[int]) -> None:
    shares, valid = frame_shares(valid_pixels), np.asarray(valid_pixels)
    assert shares.sum() == pytest.approx(1)
    assert np.array_equal(shares > 0, valid > 0)
    natural = valid / valid.sum()
    assert np.all(shares <= 4 * natural + 1e-12)
    if np.count_nonzero(valid) > 1:
        assert shares.max() <= max(0.5, 1 - 4 * (1 - natural.max())) + 1e-12
    others = np.arange(len(valid)) != valid.argmax()
    if valid[others].any():
        np.testing.assert_allclose(
            shares[others] * valid[others].sum(), valid[others] * shares[others].sum(), atol=1e-9
        )


def test_frames_are_drawn_by_their_shares() -> None:
    counts = [full_counts(shape) for shape in SHAPES]
    places = drawn_places(counts, Schedule(8_000, 8, 1_000))
    found = np.bincount(places[:, 0]) / len(places)
    shares = frame_shares([int(count.sum()) for count in counts])
    np.testing.assert_allclose(found, shares, atol=0.02)
    each = places[:, 0].reshape(-1, 8)
    assert np.all((each == 0).sum(axis=1) <= 5), "the cap holds in every generation, within one"


def test_a_frame_without_data_is_never_drawn() -> None:
    counts = [full_counts(), np.zeros_like(full_counts(SHAPES[1])), full_counts(SHAPES[2])]
    places = drawn_places(counts, Schedule(800, 8, 100))
    assert np.unique(places[:, 0]).tolist() == [0, 2]


def test_a_frame_is_seen_whole_in_every_round() -> None:
    places = drawn_places([full_counts()], Schedule(4_000, 8, 50))
    starts = {(int(place[1]), int(place[3])) for place in places}
    assert {top for top, _ in starts} == {0, 16, 32, 48}
    assert {left for _, left in starts} == set(range(0, 192, 16))
    first = {tuple(place) for place in places[:6].tolist()}
    assert len(first) == 6, "a permutation holds each block once"


def test_blocks_are_inside_their_frame_and_on_chunk_edges() -> None:
    places = drawn_places([full_counts(shape) for shape in SHAPES], Schedule(800, 8, 100))
    for frame, top, bottom, left, right in places.tolist():
        height, width = SHAPES[frame]
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        assert top % 16 == left % 16 == 0
        assert bottom % 16 == 0 or bottom == height
        assert right % 16 == 0 or right == width


def test_blocks_without_data_in_half_of_their_pixels_are_left_out() -> None:
    counts = full_counts()
    counts[:, :7] = 0
    for place in drawn_places([counts], Schedule(800, 8, 100)).tolist():
        block = Block(*place)
        rows, columns = (slice(part.start // 16, -(-part.stop // 16)) for part in block.window)
        assert 2 * counts[rows, columns].sum() >= area(block.window)


def test_a_frame_with_little_data_gives_the_blocks_that_have_some() -> None:
    counts = np.zeros_like(full_counts())
    counts[5, 3] = 7
    for place in drawn_places([counts], Schedule(800, 8, 100)).tolist():
        rows, columns = Block(*place).window
        assert rows.start <= 5 * 16 < rows.stop
        assert columns.start <= 3 * 16 < columns.stop


def test_the_seed_changes_the_blocks() -> None:
    counts = [full_counts(shape) for shape in SHAPES]
    schedule = Schedule(800, 8, 10)
    first, second = (drawn_places(counts, schedule, seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, drawn_places(counts, schedule, 0))


def test_a_run_of_more_blocks_begins_with_the_same() -> None:
    counts = [full_counts(shape) for shape in SHAPES]
    short, long = (drawn_places(counts, Schedule(800, 8, n)) for n in (10, 20))
    np.testing.assert_array_equal(short, long[: len(short)])


def test_a_frame_of_one_block_gives_it_always() -> None:
    places = draw_places(GRID, [(20, 30)], [np.full((2, 2), 9, np.int32)], Schedule(9, 1, 9), 0)
    assert {astuple(Block(*place)) for place in places.tolist()} == {(0, 0, 20, 0, 30)}


def test_a_plan_holds_blocks_or_whole_frames() -> None:
    places = np.asarray([[1, 16, 48, 0, 48]], np.int32)
    for keep, held in ((False, Block(1, 16, 48, 0, 48)), (True, Block(1, 0, 48, 0, 90))):
        plan = BlockPlan(Schedule(1, 1, 1), places, SHAPES, keep)
        assert plan.block(0) == Block(1, 16, 48, 0, 48)
        assert plan.held(0) == held
