"""A guardian's steps: what is allowed can be stopped before the limits, and the nearest step is allowed."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime.arms import X5
from runtime.control.stepper import JointLimits, Stepper

LIMITS = JointLimits(low=-1.0, high=1.0, v_max=0.02, a_max=0.001)
ROUNDING = 1e-12

shares = st.floats(-1.0, 1.0)
rooms = st.one_of(st.floats(0.0, 2.0), st.floats(0.0, 0.005))


@settings(max_examples=300, deadline=None)
@given(room=rooms, last=shares, step=shares)
def test_an_allowed_step_can_be_stopped_before_the_limit(room: float, last: float, step: float) -> None:
    position, last, step = LIMITS.high - room, last * LIMITS.v_max, step * LIMITS.v_max
    assume(LIMITS.allow(position, last, step))
    assert abs(step - last) <= LIMITS.a_max + ROUNDING
    while abs(step) > ROUNDING:
        position += step
        step = max(abs(step) - LIMITS.a_max, 0.0) * (1.0 if step > 0.0 else -1.0)
        assert LIMITS.low - ROUNDING <= position <= LIMITS.high + ROUNDING


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0.01, 1.0), up=st.booleans())
def test_a_step_is_allowed_where_its_stop_just_fits_and_no_nearer(share: float, up: bool) -> None:
    size = share * LIMITS.v_max
    count = int(size / LIMITS.a_max)
    stop = sum(size - i * LIMITS.a_max for i in range(count + 1))
    step = size if up else -size
    fits, too_near = (LIMITS.high - stop * x if up else LIMITS.low + stop * x for x in (1.0 + 1e-9, 1.0 - 1e-6))
    assert LIMITS.allow(fits, step, step)
    assert not LIMITS.allow(too_near, step, step)


@settings(max_examples=300, deadline=None)
@given(room=rooms, last=shares, away=st.floats(-3.0, 3.0), pace=shares)
def test_from_an_allowed_step_the_nearest_one_is_allowed(room: float, last: float, away: float, pace: float) -> None:
    position, last = LIMITS.high - room, last * LIMITS.v_max
    assume(LIMITS.allow(position - last, last, last))
    step = LIMITS.nearest(position, last, away, pace * LIMITS.v_max)
    assert any(LIMITS.allow(position, last, step + slack) for slack in (0.0, ROUNDING, -ROUNDING))


def test_only_a_step_that_is_not_allowed_is_reported_and_all_joints_stay_inside() -> None:
    stepper = Stepper(X5, 0.005)
    home = list(X5.home)
    stepper.rest(home)
    near, still = [*home[:-1], home[-1] - 1e-4], [0.0] * len(home)
    assert stepper.move(near, still)
    assert stepper.target == near
    assert not stepper.move([*near[:-1], 2.0], still)
    assert stepper.target[:-1] == near[:-1]
    assert near[-1] - 1e-3 < stepper.target[-1] <= X5.position_max[-1]
