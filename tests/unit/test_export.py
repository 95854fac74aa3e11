"""`leadtime export` leaves a LeRobot v3.0 dataset: by its files, and by LeRobot's own class where that is installed."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from runtime.blackbox import load_run
from runtime.cli import Export
from runtime.commands.export import export
from runtime.errors import LeadtimeError, UsageError
from runtime.export.demonstrations import Demonstration, demonstrations
from tests.unit import recorded

ROWS = 100


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    recorded.record(path, 600)
    return path


@pytest.fixture(scope="module")
def demos(runs: Path) -> list[Demonstration]:
    """Two episodes of the recorded run, the second shorter and by a person."""
    (demo,) = demonstrations(load_run(runs))
    frames = {name: frames[:40] for name, frames in demo.frames.items()}
    hand = np.ones(40, dtype=bool)
    return [demo, Demonstration("tidy up", demo.state[:40] + 1.0, demo.action[:40], hand, None, frames)]


@pytest.fixture(scope="module")
def dataset(demos: list[Demonstration], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow")
    pytest.importorskip("av")
    from runtime.export import lerobot

    folder = tmp_path_factory.mktemp("out") / "dataset"
    lerobot.write(folder, demos, 50, "sim-x5")
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def test_the_rows_are_those_of_the_episodes(dataset: Path, demos: list[Demonstration]) -> None:
    table = rows(dataset / "data/chunk-000/file-000.parquet")
    assert len(table) == ROWS + 40
    assert [row["index"] for row in table] == list(range(ROWS + 40))
    assert [row["episode_index"] for row in table] == [0] * ROWS + [1] * 40
    assert [row["frame_index"] for row in table] == [*range(ROWS), *range(40)]
    assert [row["task_index"] for row in table] == [0] * ROWS + [1] * 40
    assert [row["intervention"] for row in table] == [False] * ROWS + [True] * 40
    assert table[ROWS + 3]["timestamp"] == pytest.approx(3 / 50)
    assert table[7]["action"] == pytest.approx(demos[0].action[7].tolist())
    assert table[ROWS + 7]["observation.state"] == pytest.approx(demos[1].state[7].tolist())


def test_the_episodes_say_where_their_rows_and_pictures_are(dataset: Path) -> None:
    first, second = rows(dataset / "meta/episodes/chunk-000/file-000.parquet")
    assert (first["dataset_from_index"], first["dataset_to_index"], first["length"]) == (0, ROWS, ROWS)
    assert (second["dataset_from_index"], second["dataset_to_index"]) == (ROWS, ROWS + 40)
    assert (first["success"], second["success"]) == (True, None)
    assert second["tasks"] == ["tidy up"]
    key = "videos/observation.images.cam_high"
    assert (second[f"{key}/from_timestamp"], second[f"{key}/to_timestamp"]) == pytest.approx((2.0, 2.8))
    assert second["stats/observation.state/count"] == [40]


def test_a_video_has_a_picture_for_every_row(dataset: Path, demos: list[Demonstration]) -> None:
    import av

    info = json.loads((dataset / "meta/info.json").read_text())
    for name in demos[0].frames:
        path = info["video_path"].format(video_key=f"observation.images.{name}", chunk_index=0, file_index=0)
        with av.open(str(dataset / path)) as container:
            frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert [time for time, _ in frames] == pytest.approx([i / 50 for i in range(ROWS + 40)])
        shown = simplejpeg.decode_jpeg(demos[1].frames[name][39].jpeg)
        assert np.abs(frames[-1][1].astype(int) - shown).mean() < 6.0


def test_the_statistics_are_those_of_all_rows(dataset: Path, demos: list[Demonstration]) -> None:
    stats = json.loads((dataset / "meta/stats.json").read_text())
    state = np.concatenate([demo.state for demo in demos]).astype(float)
    assert stats["observation.state"]["mean"] == pytest.approx(state.mean(axis=0).tolist(), abs=1e-6)
    assert stats["observation.state"]["std"] == pytest.approx(state.std(axis=0).tolist(), abs=1e-6)
    assert stats["observation.state"]["max"] == pytest.approx(state.max(axis=0).tolist())
    assert stats["observation.state"]["count"] == [ROWS + 40]
    picture = stats["observation.images.cam_high"]
    assert np.shape(picture["mean"]) == (3, 1, 1)
    assert 0.0 <= np.min(picture["min"]) < np.max(picture["max"]) <= 1.0


@pytest.mark.filterwarnings("ignore:The video decoding and encoding capabilities of torchvision:UserWarning")
def test_lerobot_s_own_class_loads_it(dataset: Path, demos: list[Demonstration]) -> None:
    pytest.importorskip("lerobot")
    from bench.decoupling.peers.lerobot_import import import_torchvision

    import_torchvision()
    if not hasattr(pytest.importorskip("torchvision").io, "VideoReader"):
        pytest.skip("lerobot 0.4.4 decodes through torchvision below 0.24")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    loaded = LeRobotDataset("leadtime/test", root=dataset, video_backend="pyav")
    assert (loaded.num_episodes, loaded.num_frames, loaded.fps) == (2, ROWS + 40, 50)
    item = loaded[ROWS + 5]
    assert item["action"].numpy() == pytest.approx(demos[1].action[5])
    assert item["task"] == "tidy up"
    assert bool(item["intervention"])
    assert tuple(item["observation.images.cam_high"].shape) == (3, 120, 160)
    shown = simplejpeg.decode_jpeg(demos[1].frames["cam_high"][5].jpeg) / 255.0
    assert np.abs(item["observation.images.cam_high"].numpy().transpose(1, 2, 0) - shown).mean() < 0.025


def test_the_command_writes_it_and_refuses_a_folder_that_is_there(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("av")
    out = tmp_path / "dataset"
    assert export(Export(runs, out=out)) == 0
    assert re.search(rf"1 episodes, {ROWS} rows, 0 of them by a person", capsys.readouterr().out)
    with pytest.raises(UsageError, match="exists"):
        export(Export(runs, out=out))


def test_a_disk_that_fills_leaves_no_half_of_a_dataset(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("av")
    from runtime.export import lerobot

    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "deep" / "dataset"
    with monkeypatch.context() as patch:
        patch.setattr(lerobot, "_write_json", full)
        with pytest.raises(OSError, match="No space") as refused:
            export(Export(runs, out=out))
    assert refused.value.filename == str(out)
    assert list(out.parent.iterdir()) == []
    assert export(Export(runs, out=out)) == 0
    assert [path.name for path in out.parent.iterdir()] == ["dataset"]


def test_without_the_extra_the_remedy_is_named(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.commands.export.find_spec", lambda name: None)
    with pytest.raises(LeadtimeError, match=r"av and pyarrow: pip install 'leadtime\[export\]'"):
        export(Export(runs, out=tmp_path / "dataset"))
