"""`SCHEME://WHERE?setting=value`: every setting of every adapter can be written so, and every endpoint shown is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import numpy as np
import pytest
from PIL import Image

from runtime.errors import UsageError
from runtime.inference.adapters import fast_wam, motus
from runtime.inference.adapters.registry import ADAPTERS, make_adapter
from tests.conformance.franka import example
from tests.conformance.peers.gr00t import HORIZON, PARTS, Gr00tPeer, modality
from tests.conformance.suite import PROMPT, question
from tests.unit.recorded import make_spec

ROOT: Final = Path(__file__).parent.parent.parent
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES: Final = {"fast-wam": fast_wam.FILE, "motus": motus.FILE, "vjepa2-ac": "hubconf.py"}
"""The file by which a checkout on this host is known."""
NEEDED: Final = {
    "lingbot-va": {"arms": "x5"},
    "gigaworld": {"trust": "127.0.0.1"},
    "fast-wam": {"checkpoint": "a", "statistics": "b"},
    "motus": {"checkpoint": "a", "wan": "b", "vlm": "c"},
    "vjepa2-ac": {"goal": "goal.png", "arms": "x5"},
}
SETTINGS: Final = [
    (scheme, each) for scheme, kind in ADAPTERS.items() for each in msgspec.structs.fields(kind.settings)
]
Field = msgspec.structs.FieldInfo


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder: a checkout of each system that runs here, and the files that are named."""
    for name in FILES.values():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "goal.png")
    (tmp_path / "franka.yaml").write_text(example())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("scheme", "field"), SETTINGS, ids=[f"{scheme}.{field.name}" for scheme, field in SETTINGS])
def test_every_setting_can_be_written_in_a_url(scheme: str, field: Field, checkout: Path) -> None:
    where = str(checkout) if scheme in FILES else "127.0.0.1:9"
    for given, value in written(field, str(checkout / "goal.png")):
        query = urlencode(NEEDED.get(scheme, {}) | given, safe=",")
        adapter: Any = make_adapter(f"{scheme}://{where}?{query}").adapter
        assert msgspec.to_builtins(getattr(adapter._settings, field.name)) == value
        adapter.close()


def written(field: Field, picture: str) -> Iterator[tuple[dict[str, str], Any]]:
    """Yield a setting as it may be written, and what is to be read of that."""
    name = field.name
    match msgspec.inspect.type_info(field.type):
        case msgspec.inspect.DictType(value_type=msgspec.inspect.TupleType()):
            yield {f"{name}.torso": "3,9", f"{name}.tail": "0,3"}, {"torso": (3, 9), "tail": (0, 3)}
        case msgspec.inspect.DictType():
            yield {f"{name}.cam_high": "ego_view"}, {"cam_high": "ego_view"}
        case msgspec.inspect.VarTupleType():
            yield {name: "cam_high,cam_left_wrist"}, ("cam_high", "cam_left_wrist")
            yield {name: "cam_high"}, ("cam_high",)
        case msgspec.inspect.LiteralType(values=values):
            yield from (({name: str(value)}, value) for value in values)
        case msgspec.inspect.BoolType():
            yield {name: "true"}, True
        case msgspec.inspect.FloatType():
            yield {name: "0.08"}, 0.08
        case msgspec.inspect.IntType(multiple_of=multiple, ge=least):
            number = (multiple or 1) * max(least or 0, 1)
            yield {name: str(number)}, number
        case msgspec.inspect.StrType():
            text = picture if name == "goal" else "some"
            yield {name: text}, text
        case msgspec.inspect.UnionType():
            hand = {"arm": "left", "translation_m": 1.0, "rotation_rad": 0.5}
            yield {f"{name}.arm": "left", f"{name}.rotation_rad": "0.5"}, hand
        case other:
            pytest.fail(f"no way to write {other} is known here")


@pytest.mark.parametrize(("scheme", "field"), SETTINGS, ids=[f"{scheme}.{field.name}" for scheme, field in SETTINGS])
def test_what_is_for_the_peer_alone_is_not_left_by_a_run(scheme: str, field: Field, tmp_path: Path) -> None:
    policy = f"{scheme}://h:1?name=a&{field.name}=some&arms=x5"
    kept = msgspec.structs.replace(make_spec(tmp_path), policy=policy).kept()
    secret = field.name.startswith("api_")
    assert kept.policy == (policy.replace("=some", "=(secret)") if secret else policy)


def shown() -> list[str]:
    """Return the endpoints of other projects' policies in the documentation."""
    found = re.compile(rf"\b(?:{'|'.join(ADAPTERS)})://[^\s'`]+")
    return sorted({url for page in PAGES for url in found.findall(page.read_text())})


def test_every_system_has_an_endpoint_shown_or_its_scheme_named() -> None:
    text = (ROOT / "docs" / "systems.md").read_text()
    assert all(f"`{scheme}`" in text for scheme in ADAPTERS)
    assert len(shown()) >= 10


@pytest.mark.parametrize("url", shown())
def test_every_endpoint_shown_is_one_that_is_taken(url: str, checkout: Path) -> None:
    for name, value in {
        "HOST": "127.0.0.1",
        "MODEL": "x5",
        "/CHECKOUT": str(checkout),
        "goal=..": "goal=goal.png",
    }.items():
        url = url.replace(name, value)
    make_adapter(url).adapter.close()


@pytest.fixture
def peer() -> Iterator[Gr00tPeer]:
    made = Gr00tPeer()
    yield made
    made.close()


def test_a_checkpoint_with_other_names_for_one_arm_is_driven_as_the_url_says(peer: Gr00tPeer, tmp_path: Path) -> None:
    (tmp_path / "body.yaml").write_text("{arms: [right]}")
    peer.config["action"] = modality(["right_arm", "right_gripper"], HORIZON)
    parts = "&".join(f"parts.{name}={begin},{end}" for name, (begin, end) in PARTS.items())
    acts = "action_parts.right_arm=0,6&action_parts.right_gripper=6,7"
    adapter = make_adapter(f"{peer.endpoint}?{parts}&{acts}&embodiment={tmp_path / 'body.yaml'}").adapter
    try:
        adapter.open(10.0)
        adapter.reset(PROMPT)
        asked = question(1)
        rows = adapter.infer(asked).actions
        assert np.allclose(rows[-1, 7:13], asked.view.position[7:13] + 0.002 * HORIZON, atol=1e-5)
        assert np.array_equal(rows[:, :7], np.tile(asked.view.position[:7], (HORIZON, 1)))
    finally:
        adapter.close()


@pytest.mark.parametrize(
    ("setting", "part"), [("parts.left_arm=0", "length 2"), ("parts.left_arm=0,six", "int"), ("parts=0,6", "object")]
)
def test_a_part_that_is_none_is_refused_with_what_would_be_right(setting: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_adapter(f"gr00t://h:1?{setting}")
    assert part in str(caught.value)
    assert "parts" in str(caught.value)


def test_of_several_parts_the_one_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match=r"key 'parts\.right_arm\[1\]': Expected `int`"):
        make_adapter("gr00t://h:1?parts.left_arm=0,6&parts.right_arm=7,x")


@pytest.mark.parametrize("given", ["hand=right&hand.arm=left", "hand.arm=left&hand=right"])
def test_a_setting_that_comes_whole_and_in_parts_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"setting 'hand' comes whole and as 'hand\.arm'; leave one"):
        make_adapter(f"starvla://h:1?{given}")
