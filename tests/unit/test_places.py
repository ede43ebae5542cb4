from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsistream.places import inside, join_places, numbered
from hsistream.stores.tables import Table

PLACES = [(frame, row, column) for frame in (0, 1) for row in (0, 7, 30) for column in (2, 9, 11)]


def table_of(places: list[tuple[int, int, int]]) -> Table:
    """Places as a tile gives them, and a number that each place has in order."""
    found = np.asarray(places, np.int32).reshape(-1, 3)
    value = np.asarray([PLACES.index(each) for each in places], np.int64)
    return {"value": value, "row": found[:, 1], "column": found[:, 2], "frame": found[:, 0]}


@given(st.permutations(PLACES), st.lists(st.integers(0, len(PLACES)), max_size=4))
def test_places_of_any_tiles_are_joined_in_one_order(
    places: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    edges = [0, *sorted(cuts), len(places)]
    parts = [table_of(places[a:b]) for a, b in pairwise(edges)]
    joined = join_places(parts)
    assert list(joined) == ["value", "row", "column", "frame"]
    assert joined["value"].tolist() == list(range(len(PLACES)))
    np.testing.assert_array_equal(joined["row"], table_of(PLACES)["row"])
    assert {name: values.dtype for name, values in joined.items()} == {
        name: values.dtype for name, values in parts[0].items()
    }


SPANS = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: slice(*sorted(ends)))


@given(st.sets(st.sampled_from(PLACES)), st.integers(0, 2), SPANS, SPANS)
def test_places_inside_are_those_that_comparing_all_of_them_finds(
    places: set[tuple[int, int, int]], frame: int, rows: slice, columns: slice
) -> None:
    table = join_places([table_of(sorted(places))])
    wanted = [
        number
        for number, (own, row, column) in enumerate(sorted(places))
        if own == frame and rows.start <= row < rows.stop and columns.start <= column < columns.stop
    ]
    assert inside(table, frame, (rows, columns)).tolist() == wanted


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-9, 9)), min_size=1))
def test_kinds_are_numbered_as_numpy_does(pairs: list[tuple[int, int]]) -> None:
    keys = np.array(pairs).T
    _, first, member = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    found = numbered(keys)
    np.testing.assert_array_equal(found[0], first)
    np.testing.assert_array_equal(found[1], member.ravel())
