"""What a policy's manifest.yaml may say: every key, its type and its bounds; an unknown key is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from runtime.inference.backends.pictures import Resize
from runtime.inference.translate import Affine, Space
from runtime.layout import RIG_DOF
from runtime.records import CHUNK_STEPS_MAX, OBJECT_STATE_MAX

Steps = Annotated[int, Meta(ge=1, le=CHUNK_STEPS_MAX)]
PixelCount = Annotated[int, Meta(ge=16, le=4096)]
Rate = Annotated[int, Meta(ge=1, le=1000)]
PrefixLength = Annotated[int, Meta(ge=0, le=CHUNK_STEPS_MAX)]
ObjectStateLength = Annotated[int, Meta(ge=0, le=OBJECT_STATE_MAX)]
ShortText = Annotated[str, Meta(min_length=1, max_length=64)]
Files = Annotated[dict[ShortText, ShortText], Meta(max_length=64)]
Vector = Annotated[tuple[float, ...], Meta(min_length=RIG_DOF, max_length=RIG_DOF)]
Colour = Annotated[tuple[float, ...], Meta(min_length=3, max_length=3)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16"]

Fault = tuple[str, str]
"""A key and what is wrong with it."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a manifest: an unknown key is refused."""


class Units(_Strict, frozen=True, kw_only=True):
    """Units of actions and state: joints in radians, grippers as a fraction of their opening (1 open)."""

    joint: Literal["rad"]
    gripper: Literal["fraction"]


class Statistics(_Strict, frozen=True, kw_only=True):
    """How 14 numbers were normalised: to zero `mean` and unit `std`, or `q01` to -1 and `q99` to 1; rad, fractions."""

    mean: Vector | None = None
    std: Vector | None = None
    q01: Vector | None = None
    q99: Vector | None = None

    def affine(self) -> Affine | None:
        """Return the map between these numbers and the rig's; None where the four keys give none."""
        if self.mean is not None and self.std is not None and self.q01 is None and self.q99 is None:
            return Affine.of_spread(self.mean, self.std)
        if self.q01 is not None and self.q99 is not None and self.mean is None and self.std is None:
            return Affine.of_quantiles(self.q01, self.q99)
        return None

    def faults(self, key: str) -> Iterator[Fault]:
        """Yield what is wrong."""
        affine = self.affine()
        if affine is None:
            yield key, "give 'mean' and 'std', or 'q01' and 'q99'"
        elif not (affine.scale > 0.0).all():
            what = "a 'std' below 0" if self.std is not None else "a 'q99' below its 'q01'"
            yield key, f"joint {int((affine.scale > 0.0).argmin())} has {what}"


class Observed(_Strict, frozen=True, kw_only=True):
    """What of the observation the model takes normalised; what is not given it takes in the rig's units."""

    state: Statistics | None = None
    velocity: Statistics | None = None


class PixelScale(_Strict, frozen=True, kw_only=True):
    """Mean and spread of red, green and blue in 0..1 that pictures are normalised by."""

    mean: Colour
    std: Colour


class ActionSpec(_Strict, frozen=True, kw_only=True):
    """What a chunk's rows are.

    `delta_joint`: arm joints relative to the observed state, grippers absolute all the same. With `normalisation` the
    model answers in normalised numbers, of the differences where they are such.
    """

    representation: Literal["absolute_joint", "delta_joint"]
    dof: Literal[14]
    joint_names: Annotated[tuple[ShortText, ...], Meta(min_length=RIG_DOF, max_length=RIG_DOF)]
    units: Units
    normalisation: Statistics | None = None


class ObservationSpec(_Strict, frozen=True, kw_only=True):
    """What the policy reads: cameras in the graph's order, all of one size.

    `rename` says which camera of the rig is meant by a name of the model's. `resize` is what is done where the rig's
    size is another (runtime.inference.backends.pictures); `pixels` are given where the model takes float pictures,
    channel first. `object_state` is how many numbers it takes from the simulator about the objects: 0 for none, one
    number for all tasks, or task -> number.
    """

    cameras: Annotated[tuple[ShortText, ...], Meta(max_length=8)] = ()
    width_px: PixelCount = 320
    height_px: PixelCount = 240
    rename: Annotated[dict[ShortText, ShortText], Meta(max_length=8)] = {}
    resize: Resize = "none"
    pixels: PixelScale | None = None
    state: Literal[14] = 14
    velocity: bool = True
    normalisation: Observed = Observed()
    object_state: ObjectStateLength | dict[ShortText, ObjectStateLength] = 0

    @property
    def rig_cameras(self) -> tuple[str, ...]:
        """The same cameras by the rig's names."""
        return tuple(self.rename.get(name, name) for name in self.cameras)


class Capabilities(_Strict, frozen=True, kw_only=True):
    """What the policy can do beyond a plain chunk.

    Take up to `prefix_max` committed steps as the start (one number for all tasks, or task -> number); be pulled
    towards the running plan, with its `guided` graphs; draw several chunks for `best_of`, which takes as many times
    longer; give the first steps of a chunk in `parts` before the rest.
    """

    prefix: bool = False
    prefix_max: PrefixLength | dict[ShortText, PrefixLength] = 0
    guidance: bool = False
    best_of: bool = False
    parts: bool = False


class PolicyManifest(_Strict, frozen=True, kw_only=True):
    """A policy's manifest.yaml. `execute_steps` is the preferred number of policy ticks between two chunks.

    `horizon` is how many steps a chunk has, one number for all tasks or task -> number. `noise` is whether the model is
    given some: one that is not has one chunk for an observation. `arms` are the arm models whose joint angles it was
    trained on; left out, it is taken to fit any. `graphs` are its ONNX files by task, `guided` those for guidance,
    `correctors` small graphs that put the next actions right each tick (runtime.inference.client.corrector), `torch`
    what backend torch runs: TorchScript (.pt), an exported program (.pt2) or `module:function` of a Python file in the
    folder. `device` and `precision` are asked of whatever backend runs it.
    """

    name: ShortText
    description: str = ""
    policy_class: ShortText
    arms: Annotated[tuple[ShortText, ...], Meta(max_length=8)] = ()
    rate_hz: Rate
    horizon: Steps | dict[ShortText, Steps]
    execute_steps: Steps
    action: ActionSpec
    observation: ObservationSpec
    capabilities: Capabilities = Capabilities()
    noise: bool = True
    graphs: Files = {}
    guided: Files = {}
    correctors: Files = {}
    torch: Files = {}
    device: Device = "auto"
    precision: Precision = "fp32"

    @property
    def space(self) -> Space:
        """The numbers that the model reads and answers in."""

        def affine(statistics: Statistics | None) -> Affine | None:
            return None if statistics is None else statistics.affine()

        seen = self.observation.normalisation
        return Space(
            state=affine(seen.state),
            velocity=affine(seen.velocity),
            actions=affine(self.action.normalisation),
            delta=self.action.representation == "delta_joint",
        )

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong beyond the type of one key."""
        seen = self.observation
        for key, statistics in (
            ("action.normalisation", self.action.normalisation),
            ("observation.normalisation.state", seen.normalisation.state),
            ("observation.normalisation.velocity", seen.normalisation.velocity),
        ):
            if statistics is not None:
                yield from statistics.faults(key)
        if self.capabilities.guidance != bool(self.guided):
            yield (
                "capabilities.guidance",
                "'capabilities.guidance: true' and the files under 'guided' go together; one is missing",
            )
        if not self.noise and (self.capabilities.best_of or self.capabilities.guidance):
            yield "noise", "'capabilities.best_of' and 'capabilities.guidance' need a model that is given noise"
        if not self.graphs and not self.torch:
            yield "graphs", "names no file; give 'task: file.onnx' here or a model under 'torch'"
        yield from self._picture_faults()

    def _picture_faults(self) -> Iterator[Fault]:
        seen = self.observation
        for name in seen.rename:
            if name not in seen.cameras:
                listed = ", ".join(seen.cameras) or "none"
                yield f"observation.rename.{name}", f"no camera of 'observation.cameras': {listed}"
        for names, key in ((seen.cameras, "cameras"), (seen.rig_cameras, "rename")):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                yield f"observation.{key}", f"camera {twice!r} comes twice"
                return
        if seen.pixels is not None and not all(std > 0.0 for std in seen.pixels.std):
            yield "observation.pixels.std", "give three numbers above 0"
