"""A rig's pictures are copied once, lie side by side by moment, and stay while somebody has them."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import deque
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS
from runtime.inference.client.gallery import SAME_MOMENT_NS, Gallery
from runtime.inference.region import Region, stacked

SIZES = {"left": (32, 24), "right": (32, 24)}
PERIOD_NS = 33 * NS_PER_MS


def picture(shade: int) -> NDArray[np.uint8]:
    return np.full((24, 32, 3), shade, np.uint8)


def places_of(gallery: Gallery, **pictures: NDArray[Any]) -> list[int] | None:
    places = gallery.places(pictures)
    return None if places is None else [place.offset for place in places]


def test_pictures_of_a_moment_are_read_where_they_lie_as_one_array() -> None:
    gallery = Gallery(SIZES, 2)
    region = Region(os.dup(gallery.fd))
    taken = {name: gallery.take(name, picture(40 + i), i) for i, name in enumerate(SIZES)}
    places = gallery.places(taken)
    assert places is not None
    views = region.views(places)
    for i, name in enumerate(SIZES):
        for seen in (taken[name], views[name]):
            assert np.array_equal(seen, picture(40 + i))
            assert not seen.flags.writeable
    whole = stacked(list(views.values()))
    assert np.shares_memory(whole, views["left"])
    assert not whole.flags.writeable
    assert [int(image[0, 0, 0]) for image in whole] == [40, 41]
    apart = stacked([views["right"], views["left"]])
    assert [int(image[0, 0, 0]) for image in apart] == [41, 40]
    assert not np.shares_memory(apart, views["left"])
    gallery.close()


def test_a_picture_stays_while_somebody_has_it_or_a_part_of_it() -> None:
    gallery = Gallery(SIZES, 2)
    first = gallery.take("left", picture(1), 0)
    second = gallery.take("left", picture(2), PERIOD_NS)
    third = gallery.take("left", picture(3), 2 * PERIOD_NS)
    assert places_of(gallery, a=first) != places_of(gallery, a=second)
    assert places_of(gallery, a=third) is None
    assert third[0, 0, 0] == 3
    place, corner = places_of(gallery, a=second), second[:2, :2]
    del second
    assert places_of(gallery, a=gallery.take("left", picture(4), 3 * PERIOD_NS)) is None
    assert (corner == 2).all()
    del corner
    assert places_of(gallery, a=gallery.take("left", picture(5), 4 * PERIOD_NS)) == place
    assert (first == 1).all()
    gallery.close()


def test_only_pictures_of_about_one_time_lie_side_by_side() -> None:
    gallery = Gallery(SIZES, 4)

    def side_by_side(left: NDArray[Any], right: NDArray[Any]) -> bool:
        places = places_of(gallery, left=left, right=right)
        assert places is not None
        return places[1] - places[0] == left.nbytes

    left, right = gallery.take("left", picture(1), 0), gallery.take("right", picture(2), SAME_MOMENT_NS)
    assert side_by_side(left, right)
    # The left camera missed one: its next does not lie beside the right one's older.
    older, newer = gallery.take("right", picture(3), PERIOD_NS), gallery.take("left", picture(4), 2 * PERIOD_NS)
    assert not side_by_side(newer, older)
    beside = gallery.take("right", picture(5), 2 * PERIOD_NS - SAME_MOMENT_NS)
    assert side_by_side(newer, beside)
    assert [int(image[0, 0, 0]) for image in (left, right, older, newer, beside)] == [1, 2, 3, 4, 5]
    gallery.close()


def test_cameras_that_take_their_pictures_at_other_times_have_as_much_room() -> None:
    rows = 3
    gallery = Gallery(dict.fromkeys("abc", (8, 8)), rows)
    held: dict[str, deque[NDArray[Any]]] = {name: deque() for name in "abc"}
    for tick in range(20):
        for i, name in enumerate("abc"):
            t_ns = tick * PERIOD_NS + i * PERIOD_NS // 3
            if len(held[name]) == rows:
                held[name].popleft()
            held[name].append(gallery.take(name, np.full((8, 8, 3), tick, np.uint8), t_ns))
            assert places_of(gallery, newest=held[name][-1]) is not None
    for images in held.values():
        assert [int(image[0, 0, 0]) for image in images] == [17, 18, 19]
    gallery.close()


def test_a_picture_of_another_size_is_refused() -> None:
    gallery = Gallery(SIZES, 1)
    with pytest.raises(ValueError, match=r"camera 'left' is \(24, 32, 3\), not \(24, 31, 3\)"):
        gallery.take("left", np.zeros((24, 31, 3), np.uint8), 0)
    gallery.close()


def test_what_lies_elsewhere_or_is_no_whole_picture_has_no_place() -> None:
    gallery = Gallery(SIZES, 1)
    here = gallery.take("left", picture(1), 0)
    assert places_of(gallery, a=here, b=picture(2)) is None
    assert places_of(gallery, a=here[:, :16]) is None
    assert places_of(gallery) == []
    gallery.close()


def test_a_picture_outlives_the_gallery() -> None:
    gallery = Gallery(SIZES, 1)
    here = gallery.take("left", picture(7), 0)
    gallery.close()
    del gallery
    assert (here == 7).all()


def test_a_rig_without_cameras_has_a_gallery_too() -> None:
    gallery = Gallery({}, 3)
    assert gallery.size_bytes == os.fstat(gallery.fd).st_size > 0
    gallery.close()


def test_nobody_else_writes_where_the_rig_looks_too() -> None:
    gallery = Gallery(SIZES, 1)
    first = gallery.take("left", picture(1), 0)
    with pytest.raises(PermissionError):
        mmap.mmap(gallery.fd, gallery.size_bytes)
    with pytest.raises(PermissionError):
        os.pwrite(gallery.fd, b"x", 0)
    second = gallery.take("right", picture(2), 0)
    assert (first == 1).all()
    assert (second == 2).all()
    assert len(mmap.mmap(gallery.fd, gallery.size_bytes, prot=mmap.PROT_READ)) == gallery.size_bytes
    gallery.close()


def test_a_rig_can_neither_shrink_nor_unseal_what_it_has_handed_over() -> None:
    gallery = Gallery(SIZES, 1)
    with pytest.raises(PermissionError):
        os.ftruncate(gallery.fd, 0)
    with pytest.raises(PermissionError):
        fcntl.fcntl(gallery.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    gallery.close()
