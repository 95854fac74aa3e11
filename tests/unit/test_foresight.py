"""Promises of the trust in predicted pictures: a usual error is usual, a parting costs horizon, then the arms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.inference.foresight import GRID, LOST, NOISE, PARTS, STRANGE, Foresight, Trust, coarse, expect, record_of

HEIGHT, WIDTH = 48, 64


def scene(place: float, *, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A bright block at a place (0..1) on a dark table, with noise."""
    rng = np.random.default_rng(seed)
    image = np.full((HEIGHT, WIDTH, 3), 60.0)
    column = int(place * (WIDTH - 24))
    image[8:40, column : column + 24] = 230.0
    return np.clip(image + noise * rng.standard_normal(image.shape), 0, 255).astype(np.uint8)


def foreseen(places: list[float], chunk_id: int = 1, first_tick: int = 0) -> Any:
    frames = {"cam_head": np.stack([scene(place) for place in places])}
    return expect(chunk_id, first_tick, 10 * len(places), frames)


def play(foresight: Foresight, moves: list[tuple[float, float]]) -> list[Trust]:
    """Let chunk after chunk foresee one place and show another."""
    said = []
    for chunk, (place, seen) in enumerate(moves, start=1):
        foresight.follow(foreseen([place], chunk, 10 * chunk))
        said.append(foresight.see(10 * chunk + 10, {"cam_head": scene(seen, noise=5.0, seed=chunk)}))
    return said


def test_coarse_pictures_are_block_means_of_any_size() -> None:
    image = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)
    assert coarse(image).shape == (*GRID, 3)
    np.testing.assert_allclose(coarse(image)[0, 0], image[:2, :2].reshape(-1, 3).mean(axis=0))
    odd = np.full((25, 33, 3), 7, dtype=np.uint8)
    np.testing.assert_allclose(coarse(odd), 7.0)


def test_pictures_are_due_evenly_the_last_at_the_end_of_the_span() -> None:
    expected = expect(3, 100, 50, {"a": np.zeros((5, *GRID, 3), np.uint8)})
    assert expected is not None
    assert expected.ticks == (110, 120, 130, 140, 150)


def test_of_many_pictures_as_many_are_compared_as_divide_the_span_evenly() -> None:
    rows = np.zeros((16, *GRID, 3), np.uint8)
    rows[:] = np.arange(16, dtype=np.uint8)[:, None, None, None]
    expected = expect(3, 100, 32, {"a": rows})
    assert expected is not None
    assert expected.ticks == tuple(range(104, 133, 4))
    record = record_of(expected, ("b", "a"), 7)
    assert (int(record["chunk_id"]), int(record["t_received_ns"]), int(record["count"])) == (3, 7, 8)
    assert int(record["cameras"]) == 2
    assert record["ticks"].tolist() == list(expected.ticks)
    assert record["pictures"][1, :, 3, 5, 1].tolist() == list(range(1, 16, 2))
    assert not record["pictures"][0].any()


@pytest.mark.parametrize(
    "frames",
    [
        {},
        {"a": np.zeros((0, *GRID, 3), np.uint8)},
        {"a": np.zeros((2, GRID[0] - 1, GRID[1], 3), np.uint8)},
        {"a": np.zeros((2, GRID[0], GRID[1] - 1, 3), np.uint8)},
        {"a": np.zeros((4, 8), np.uint8)},
        {"a": np.zeros((2, *GRID, 4), np.uint8)},
        {"a": np.zeros((2, *GRID, 3), np.float32)},
        {"a": np.zeros((2, *GRID, 3), np.uint8), "b": np.zeros((3, *GRID, 3), np.uint8)},
    ],
)
def test_what_cannot_be_compared_is_no_prediction(frames: dict[str, Any]) -> None:
    assert expect(1, 0, 50, frames) is None


def test_a_policy_that_foresees_what_comes_keeps_full_trust() -> None:
    said = play(Foresight(), [(0.1 * i, 0.1 * i) for i in range(10)])
    assert set(said) == {Trust.FULL}


def test_one_surprise_shortens_the_horizon_and_a_fit_gives_it_back() -> None:
    said = play(Foresight(), [(0.2, 0.2)] * 4 + [(0.2, 1.0)] + [(0.2, 0.2)])
    assert said == [Trust.FULL] * 4 + [Trust.NEAR, Trust.FULL]


def test_a_policy_that_goes_on_parting_is_not_trusted_until_the_operator_begins_anew() -> None:
    foresight = Foresight()
    said = play(foresight, [(0.2, 0.2)] * 4 + [(0.2, 1.0)] * LOST + [(0.2, 0.2)] * 3)
    assert said[4 : 4 + LOST] == [Trust.NEAR] * (LOST - 1) + [Trust.NONE]
    assert said[4 + LOST :] == [Trust.NONE] * 3
    foresight.open()
    assert foresight.trust is Trust.FULL
    assert play(foresight, [(0.2, 0.2)]) == [Trust.FULL]


def test_many_pictures_of_one_wrong_prediction_are_one_mistake() -> None:
    foresight = Foresight()
    play(foresight, [(0.2, 0.2)] * 4)
    foresight.follow(foreseen([0.2] * 5, chunk_id=9, first_tick=200))
    said = [foresight.see(210 + 10 * i, {"cam_head": scene(1.0)}) for i in range(5)]
    assert said == [Trust.NEAR] * 5


def test_a_model_that_is_always_a_little_wrong_is_judged_by_what_is_usual_for_it() -> None:
    said = play(Foresight(), [(0.2, 0.35)] * 12)
    assert set(said) == {Trust.FULL}


def test_another_scene_is_strange_from_the_first_prediction_on() -> None:
    foresight = Foresight()
    dark, bright = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.full((HEIGHT, WIDTH, 3), STRANGE + 1, np.uint8)
    for chunk in range(1, LOST + 1):
        foresight.follow(expect(chunk, 10 * chunk, 10, {"a": dark[None]}))
        foresight.see(10 * chunk + 10, {"a": bright})
    assert foresight.trust is Trust.NONE


@pytest.mark.parametrize(("difference", "trust"), [(PARTS * NOISE, Trust.FULL), (PARTS * NOISE + 1, Trust.NEAR)])
def test_what_noise_alone_can_make_is_no_parting(difference: float, trust: Trust) -> None:
    foresight, dark = Foresight(), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    foresight.follow(expect(1, 0, 10, {"a": dark[None]}))
    foresight.see(10, {"a": dark})
    foresight.follow(expect(2, 10, 10, {"a": dark[None]}))
    assert foresight.see(20, {"a": np.full_like(dark, round(difference))}) is trust


def test_nothing_is_judged_before_it_is_due_or_twice() -> None:
    foresight = Foresight()
    foresight.follow(foreseen([0.2, 0.2], chunk_id=1))
    assert not foresight.due(9)
    assert foresight.due(10)
    foresight.see(9, {"cam_head": scene(1.0)})
    assert foresight.due(10)
    foresight.see(10, {"cam_head": scene(0.2)})
    assert not foresight.due(19)
    assert foresight.due(20)
    foresight.see(25, {"cam_head": scene(0.2)})
    assert not foresight.due(1000)


def test_nothing_is_judged_once_the_arms_stand_and_wait_for_the_next_chunk() -> None:
    foresight, frames = Foresight(), {"cam_head": np.stack([scene(0.2 * i) for i in range(1, 5)])}
    expected = expect(1, 100, 40, frames, halts_after=25)
    assert expected is not None
    assert expected.ticks == (110, 120, 130, 140)
    foresight.follow(expected)
    assert foresight.see(129, {"cam_head": scene(0.4)}) is Trust.FULL
    assert foresight.difference == 0.0
    assert not any(foresight.due(tick) for tick in (130, 140, 1000))
    foresight.follow(expect(2, 200, 40, frames, halts_after=25))
    # What is looked at late is the last that was to be seen.
    assert foresight.see(245, {"cam_head": scene(0.4)}) is Trust.FULL
    assert foresight.difference == 0.0


def test_a_camera_that_is_not_seen_is_not_judged() -> None:
    foresight = Foresight()
    foresight.follow(foreseen([0.2]))
    assert foresight.see(10, {"cam_left": scene(1.0)}) is Trust.FULL


def test_the_worst_camera_decides() -> None:
    foresight = Foresight()
    play(foresight, [(0.2, 0.2)] * 3)
    frames = {name: scene(0.2)[None] for name in ("a", "b")}
    foresight.follow(expect(9, 100, 10, frames))
    assert foresight.see(110, {"a": scene(0.2), "b": scene(1.0)}) is Trust.NEAR
