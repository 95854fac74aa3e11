"""A LeRobot dataset, codebase version v3.0, from demonstrations.

The layout is that of huggingface/lerobot 0.4 (`src/lerobot/datasets`): rows in data/, one H.264 video a camera in
videos/, and in meta/ the features, the tasks, the episodes with where their rows and pictures lie, and statistics.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from numpy.typing import NDArray

from runtime.export.demonstrations import Demonstration
from runtime.layout import JOINT_NAMES

VERSION: Final = "v3.0"
DATA_PATH: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH: Final = "meta/episodes/chunk-000/file-000.parquet"
KEYFRAME_EVERY: Final = 2
"""As LeRobot encodes: a training loader seeks to any frame."""
_FIRST: Final = {"chunk_index": 0, "file_index": 0}
_SAMPLES: Final = 100
"""Pictures of an episode that its statistics are made from, at most."""

Statistics = dict[str, dict[str, Any]]


def write(folder: Path, demonstrations: Sequence[Demonstration], fps: int, robot: str) -> None:
    """Write a dataset of at least one demonstration, all with the same cameras, into a folder that does not exist."""
    cameras = {f"observation.images.{name}": name for name in demonstrations[0].frames}
    sizes = {key: _size(demonstrations[0].frames[name][0].jpeg) for key, name in cameras.items()}
    columns = _columns(demonstrations, fps)
    for part in ("meta/episodes/chunk-000", "data/chunk-000"):
        (folder / part).mkdir(parents=True)
    _write_rows(folder / DATA_PATH.format(**_FIRST), columns)
    for key, name in cameras.items():
        path = folder / VIDEO_PATH.format(video_key=key, **_FIRST)
        path.parent.mkdir(parents=True)
        _write_video(path, (frame.jpeg for demo in demonstrations for frame in demo.frames[name]), sizes[key], fps)
    statistics = [_statistics(demo, _columns([demo], fps), cameras) for demo in demonstrations]
    _write_tasks(folder / "meta/tasks.parquet", _tasks(demonstrations))
    _write_episodes(folder / EPISODES_PATH, demonstrations, statistics, list(cameras), fps)
    _write_json(folder / "meta/stats.json", _joined(statistics))
    _write_json(folder / "meta/info.json", _info(demonstrations, sizes, fps, robot))


def _tasks(demonstrations: Sequence[Demonstration]) -> list[str]:
    return list(dict.fromkeys(demo.task for demo in demonstrations))


def _columns(demonstrations: Sequence[Demonstration], fps: int) -> dict[str, NDArray[Any]]:
    """Return the rows of all episodes, column by column."""
    tasks, lengths = _tasks(demonstrations), [len(demo.state) for demo in demonstrations]
    frame = np.concatenate([np.arange(length) for length in lengths])
    return {
        "observation.state": np.concatenate([demo.state for demo in demonstrations]),
        "action": np.concatenate([demo.action for demo in demonstrations]),
        "intervention": np.concatenate([demo.intervention for demo in demonstrations]),
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(sum(lengths)),
        "task_index": np.repeat([tasks.index(demo.task) for demo in demonstrations], lengths),
    }


def _write_rows(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    arrays = {}
    for name, values in columns.items():
        if values.ndim == 2:
            arrays[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        else:
            arrays[name] = pa.array(values)
    pq.write_table(pa.table(arrays), path)


def _write_tasks(path: Path, tasks: list[str]) -> None:
    """Write the tasks as pandas would: the task is the frame's index."""
    index = "__index_level_0__"
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), index: pa.array(tasks, pa.string())})
    column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    label = {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object"}
    about = {
        "index_columns": [index],
        "column_indexes": [{"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}],
        "columns": [{**entry, "metadata": None} for entry in (column, label)],
    }
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(about)}), path)


def _write_episodes(
    path: Path, demonstrations: Sequence[Demonstration], statistics: list[Statistics], videos: list[str], fps: int
) -> None:
    rows, start = [], 0
    for i, (demo, found) in enumerate(zip(demonstrations, statistics, strict=True)):
        end = start + len(demo.state)
        row: dict[str, Any] = {"episode_index": i, "tasks": [demo.task], "length": end - start, "success": demo.success}
        row |= {"dataset_from_index": start, "dataset_to_index": end}
        row |= {f"{place}/{key}": 0 for place in ("data", "meta/episodes") for key in _FIRST}
        for video in videos:
            row |= {f"videos/{video}/{key}": 0 for key in _FIRST}
            row |= {f"videos/{video}/from_timestamp": start / fps, f"videos/{video}/to_timestamp": end / fps}
        row |= {f"stats/{name}/{key}": value for name, part in found.items() for key, value in part.items()}
        rows.append(row)
        start = end
    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_video(path: Path, jpegs: Iterator[bytes], size: tuple[int, int], fps: int) -> None:
    height, width = size
    with av.open(str(path), "w") as container:
        options = {"g": str(KEYFRAME_EVERY), "crf": "20", "bf": "0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        for i, jpeg in enumerate(jpegs):
            picture = simplejpeg.decode_jpeg(jpeg)[:height, :width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _size(jpeg: bytes) -> tuple[int, int]:
    """Return the height and width of a picture as its video has them: even, as 4:2:0 needs."""
    height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
    return height // 2 * 2, width // 2 * 2


def _statistics(demo: Demonstration, columns: dict[str, NDArray[Any]], cameras: dict[str, str]) -> Statistics:
    """Return min, max, mean, std and count of each feature of an episode; pictures from 0 to 1, a number a colour."""
    found = {name: _summary(values.reshape(len(values), -1)) for name, values in columns.items()}
    for key, name in cameras.items():
        frames = demo.frames[name]
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _SAMPLES)).astype(int))
        pixels = np.concatenate([simplejpeg.decode_jpeg(frames[i].jpeg).reshape(-1, 3) for i in chosen]) / 255.0
        values = _summary(pixels)
        found[key] = {k: v if k == "count" else [[[x]] for x in v] for k, v in values.items()}
        found[key]["count"] = [len(chosen)]
    return found


def _summary(values: NDArray[Any]) -> dict[str, Any]:
    numbers = values.astype(np.float64)
    return {
        "min": numbers.min(axis=0).tolist(),
        "max": numbers.max(axis=0).tolist(),
        "mean": numbers.mean(axis=0).tolist(),
        "std": numbers.std(axis=0).tolist(),
        "count": [len(numbers)],
    }


def _joined(parts: list[Statistics]) -> Statistics:
    """Return the statistics of all episodes together."""
    joined: Statistics = {}
    for name in parts[0]:
        low, high, mean, std, count = (
            np.array([part[name][key] for part in parts]) for key in ("min", "max", "mean", "std", "count")
        )
        weight = (count / count.sum()).reshape(-1, *[1] * (mean.ndim - 1))
        centre = (mean * weight).sum(axis=0)
        spread = np.sqrt(((std**2 + (mean - centre) ** 2) * weight).sum(axis=0))
        joined[name] = {
            "min": low.min(axis=0).tolist(),
            "max": high.max(axis=0).tolist(),
            "mean": centre.tolist(),
            "std": spread.tolist(),
            "count": [int(count.sum())],
        }
    return joined


def _info(
    demonstrations: Sequence[Demonstration], sizes: dict[str, tuple[int, int]], fps: int, robot: str
) -> dict[str, Any]:
    joints = {"dtype": "float32", "shape": [len(JOINT_NAMES)], "names": list(JOINT_NAMES)}
    features: dict[str, Any] = {"observation.state": joints, "action": joints}
    features["intervention"] = {"dtype": "bool", "shape": [1], "names": None}
    for key, (height, width) in sizes.items():
        about = {"video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p"}
        about |= {"video.is_depth_map": False, "video.fps": fps, "video.channels": 3, "has_audio": False}
        names = ["height", "width", "channels"]
        features[key] = {"dtype": "video", "shape": [height, width, 3], "names": names, "info": about}
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        dtype = "float32" if name == "timestamp" else "int64"
        features[name] = {"dtype": dtype, "shape": [1], "names": None}
    return {
        "codebase_version": VERSION,
        "robot_type": robot,
        "total_episodes": len(demonstrations),
        "total_frames": sum(len(demo.state) for demo in demonstrations),
        "total_tasks": len(_tasks(demonstrations)),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 500,
        "fps": fps,
        "splits": {"train": f"0:{len(demonstrations)}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if sizes else None,
        "features": features,
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=4), encoding="utf-8")
