"""The simulated rig behaves like one: it holds, follows, grips, collides, and continues from a snapshot."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.drivers.sim.plant import Plant, set_state_vector, state_size
from runtime.drivers.sim.scene import TABLE_TOP_Z_M, build_model
from runtime.drivers.sim.task import EmptyTable
from runtime.errors import UsageError
from runtime.layout import ARM_GRIPPER, ARM_JOINTS, ARM_SLICE, RIG_DOF, SIDES

ARMS = tuple(ARM_MODELS)
CUBE_HALF_M = 0.02


class LooseCube(EmptyTable):
    """A cube that starts between the left gripper's fingers or somewhere on the table, and a count of steps."""

    def __init__(self, mass_kg: float = 0.05) -> None:
        self.mass_kg = mass_kg
        self.steps = 0

    def add_to(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name="cube", pos=(0.0, 0.1, TABLE_TOP_Z_M + CUBE_HALF_M))
        body.add_freejoint(name="cube")
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[CUBE_HALF_M] * 3, mass=self.mass_kg)
        spec.worldbody.add_body(name="marker", mocap=True, pos=(0.0, 0.0, 1.0))

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        self.steps = 0
        data.joint("cube").qpos[:2] = rng.uniform(-0.1, 0.1, 2)

    def advance(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.steps += 1
        data.mocap_pos[0, 0] = 0.001 * self.steps


def run(plant: Plant, steps: int) -> None:
    for _ in range(steps):
        plant.step()


def home_of(plant: Plant) -> NDArray[np.float64]:
    return np.tile(plant.arm.home_array, len(SIDES))


@pytest.mark.parametrize("arm", ARMS)
def test_holds_home_against_gravity(arm: str) -> None:
    plant = Plant(arm)
    run(plant, 500)
    np.testing.assert_allclose(plant.position(), home_of(plant), atol=2e-3)
    np.testing.assert_allclose(plant.velocity(), 0.0, atol=1e-3)
    effort = plant.effort()
    assert np.abs(effort[ARM_SLICE["left"]][1:3]).max() > 0.5, "the motors carry the arm's weight"
    assert plant.time_s == pytest.approx(1.0)


@pytest.mark.parametrize("arm", ARMS)
def test_follows_a_moving_target_within_two_policy_ticks(arm: str) -> None:
    plant = Plant(arm)
    home, worst = home_of(plant), 0.0
    for k in range(1000):
        swing = np.full(RIG_DOF, 0.2 * np.sin(np.pi * k * plant.timestep_s) ** 2)
        swing[[ARM_GRIPPER, ARM_GRIPPER + 7]] *= -1
        plant.command(home + swing)
        plant.step()
        worst = max(worst, float(np.abs(plant.position() - home - swing).max()))
    fastest = 0.2 * np.pi
    assert worst < fastest * 0.04


@pytest.mark.parametrize("arm", ARMS)
def test_effort_stays_inside_the_motors_limits_under_a_step_target(arm: str) -> None:
    plant = Plant(arm)
    limit = np.tile(plant.arm.torque_max, len(SIDES))
    target = home_of(plant)
    target[[0, 7]] += (1.2, -1.2)
    target[[3, 10]] += 0.8
    plant.command(target)
    for _ in range(400):
        plant.step()
        assert (np.abs(plant.effort()) <= limit + 1e-9).all()
    run(plant, 600)
    np.testing.assert_allclose(plant.position(), target, atol=5e-3)


@settings(max_examples=12, deadline=None)
@given(
    arm=st.sampled_from(ARMS),
    fractions=st.lists(st.floats(-0.5, 1.5), min_size=RIG_DOF, max_size=RIG_DOF),
)
def test_no_target_makes_the_physics_explode(arm: str, fractions: list[float]) -> None:
    plant = Plant(arm)
    low, high = (np.tile(v, len(SIDES)) for v in (plant.arm.position_min, plant.arm.position_max))
    plant.command(low + np.array(fractions) * (high - low))
    run(plant, 300)
    position = plant.position()
    assert np.isfinite(position).all()
    assert not any(warning.number for warning in plant.data.warning)
    assert ((position > low - 0.15) & (position < high + 0.15)).all()


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_gripper_opens_to_the_commanded_fraction_of_its_stroke(arm: str, fraction: float) -> None:
    plant = Plant(arm)
    target = plant.arm.home_array.copy()
    target[ARM_GRIPPER] = fraction
    for side in SIDES:
        plant.command_arm(side, target)
    run(plant, 500)
    np.testing.assert_allclose(plant.position()[[ARM_GRIPPER, ARM_GRIPPER + 7]], fraction, atol=0.01)
    for side in SIDES:
        site = plant.data.site(f"{side}_tcp")
        pads = [plant.data.geom(f"{side}_finger{i}_pad").xpos for i in (1, 2)]
        half_thickness = plant.model.geom(f"{side}_finger1_pad").size[1]
        gap = (pads[0] - pads[1]) @ site.xmat.reshape(3, 3)[:, 1] - 2 * half_thickness
        assert gap == pytest.approx(fraction * plant.arm.gripper_stroke_m, abs=1e-3)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("mass_kg", [0.05, 0.1])
def test_holds_a_cube_by_friction_while_the_arm_swings(arm: str, mass_kg: float) -> None:
    plant = Plant(arm, LooseCube(mass_kg))
    home = home_of(plant)
    site, cube = plant.data.site("left_tcp"), plant.data.joint("cube")
    for finger in ("left_finger1", "left_finger2"):
        plant.data.joint(finger).qpos = CUBE_HALF_M + 0.002
    cube.qpos[:3] = site.xpos
    mujoco.mju_mat2Quat(cube.qpos[3:7], site.xmat)
    grip = home.copy()
    grip[ARM_GRIPPER] = 0.3
    plant.command(grip)
    run(plant, 200)
    before = in_hand(plant)
    assert plant.effort()[ARM_GRIPPER] < -5.0
    assert plant.position()[ARM_GRIPPER] == pytest.approx(2 * CUBE_HALF_M / plant.arm.gripper_stroke_m, abs=0.02)
    peak = 0.0
    for k in range(1000):
        swing = grip.copy()
        swing[:ARM_JOINTS] += 0.2 * np.sin(np.pi * k * plant.timestep_s) ** 2
        plant.command(swing)
        plant.step()
        peak = max(peak, float(np.abs(plant.velocity()[:ARM_JOINTS]).max()))
    assert peak > 0.5
    assert np.linalg.norm(in_hand(plant) - before) < 2e-3


def in_hand(plant: Plant) -> NDArray[np.float64]:
    """The cube's place in the left gripper's frame, m, shape (3,)."""
    site = plant.data.site("left_tcp")
    return np.asarray(site.xmat.reshape(3, 3).T @ (plant.data.body("cube").xpos - site.xpos))


def touching(plant: Plant) -> set[frozenset[str]]:
    """Pairs of bodies in contact."""
    model = plant.model
    return {frozenset(model.body(model.geom_bodyid[g]).name for g in contact.geom) for contact in plant.data.contact}


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_stopped_by_the_table(arm: str) -> None:
    plant = Plant(arm)
    target = home_of(plant)
    target[1] += 0.7
    plant.command(target)
    run(plant, 800)
    assert any("world" in pair and any(name.startswith("left_") for name in pair) for pair in touching(plant))
    assert plant.data.site("left_tcp").xpos[2] > TABLE_TOP_Z_M - 0.01
    assert abs(plant.position()[1] - target[1]) > 0.05


def test_the_arms_are_stopped_by_each_other() -> None:
    plant = Plant("x5")
    target = home_of(plant)
    target[[0, 7]] = (-1.2, 1.2)
    target[[3, 10]] = -0.2
    plant.command(target)
    run(plant, 800)
    pairs = touching(plant)
    assert any({name.split("_")[0] for name in pair} == {"left", "right"} for pair in pairs)
    assert abs(plant.position()[0] - target[0]) > 0.01


def test_a_restored_snapshot_continues_bit_identically() -> None:
    plant = Plant("x5", LooseCube())
    target = home_of(plant)
    target[:7] += 0.1
    plant.command(target)
    run(plant, 100)
    state = plant.snapshot()
    run(plant, 150)
    expected = plant.snapshot()
    twin = Plant("x5", LooseCube())
    for other in (plant, twin):
        other.restore(state)
        assert other.time_s == pytest.approx(0.2)
        run(other, 150)
        np.testing.assert_array_equal(other.snapshot().integration, expected.integration)
        assert other.snapshot().task == expected.task == {"mass_kg": 0.05, "steps": 250}


def test_the_state_vector_poses_another_copy_of_the_scene() -> None:
    plant = Plant("x5", LooseCube())
    plant.command(home_of(plant) + 0.05)
    run(plant, 60)
    vector = plant.state_vector()
    mujoco.mj_forward(plant.model, plant.data)
    model = build_model("x5", LooseCube())
    data = mujoco.MjData(model)
    assert vector.shape == (state_size(model),)
    assert vector.dtype == np.float64
    set_state_vector(model, data, vector)
    assert data.time == plant.time_s
    for name in ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "site_xpos", "light_xpos", "mocap_pos"):
        np.testing.assert_array_equal(getattr(data, name), getattr(plant.data, name), err_msg=name)
    with pytest.raises(ValueError, match="shape"):
        set_state_vector(model, data, vector[:-1])


def test_an_episode_is_decided_by_its_seeds() -> None:
    def start(seed: int, episode: int) -> list[float]:
        plant = Plant("x5", LooseCube(), seed=seed)
        plant.reset(episode)
        return [float(x) for x in plant.state_vector()]

    assert start(1, 5) == start(1, 5)
    assert len({tuple(start(s, e)) for s, e in ((1, 5), (1, 6), (2, 5))}) == 3


def test_an_unknown_arm_is_refused_with_the_valid_names() -> None:
    with pytest.raises(UsageError, match="x5, piper, vx300s"):
        Plant("ur5")
