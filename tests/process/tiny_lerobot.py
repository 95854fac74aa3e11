"""A small policy of LeRobot with random weights and what it answers: `KIND FOLDER JOINTS`, where LeRobot is installed.

A kind may end in `-blind`: it does not read the joints. FOLDER has the policy and its processors as LeRobot saves them,
and in `chunks.npy` (2, horizon, joints) LeRobot's own chunks for two observations of an episode, the second as it comes
after the first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.decoupling.peers import lerobot_import
from tests.process import tiny_hub

lerobot_import.import_torchvision()
from lerobot.configs.types import FeatureType, PolicyFeature  # noqa: E402
from lerobot.policies import factory  # noqa: E402

SMALL: dict[str, dict[str, Any]] = {
    "act": {
        "chunk_size": 20,
        "n_action_steps": 20,
        "dim_model": 32,
        "n_heads": 2,
        "dim_feedforward": 64,
        "n_encoder_layers": 1,
        "use_vae": False,
        "pretrained_backbone_weights": None,
    },
    "diffusion": {
        "n_obs_steps": 2,
        "horizon": 16,
        "n_action_steps": 8,
        "down_dims": (16, 32),
        "diffusion_step_embed_dim": 16,
        "spatial_softmax_num_keypoints": 4,
        "num_train_timesteps": 4,
        "pretrained_backbone_weights": None,
    },
    "vqbet": {
        "n_obs_steps": 3,
        "action_chunk_size": 5,
        "crop_shape": None,
        "pretrained_backbone_weights": None,
        "spatial_softmax_num_keypoints": 4,
        "gpt_block_size": 32,
        "gpt_input_dim": 32,
        "gpt_output_dim": 32,
        "gpt_n_layer": 1,
        "gpt_n_head": 2,
        "gpt_hidden_dim": 32,
        "vqvae_embedding_dim": 16,
        "vqvae_enc_hidden_dim": 16,
    },
    "tdmpc": {
        "horizon": 5,
        "n_action_steps": 5,
        "n_action_repeats": 1,
        "latent_dim": 8,
        "mlp_dim": 16,
        "state_encoder_hidden_dim": 16,
        "n_gaussian_samples": 16,
        "n_pi_samples": 4,
        "n_elites": 4,
        "cem_iterations": 2,
    },
    "smolvla": {
        "chunk_size": 10,
        "n_action_steps": 10,
        "num_steps": 2,
        "num_vlm_layers": 2,
        "resize_imgs_with_padding": (64, 64),
        "attention_mode": "self_attn",
        "load_vlm_weights": False,
    },
    "pi0": {"chunk_size": 10, "n_action_steps": 10, "num_inference_steps": 2, "use_relative_actions": True},
    "pi05": {"chunk_size": 10, "n_action_steps": 10, "num_inference_steps": 2},
    "vla_jepa": {
        "chunk_size": 10,
        "n_action_steps": 10,
        "enable_world_model": False,
        "torch_dtype": "float32",
        "action_hidden_size": 32,
        "action_num_layers": 2,
        "action_num_heads": 2,
        "action_attention_head_dim": 16,
        "num_inference_timesteps": 2,
        "num_target_vision_tokens": 4,
        "num_embodied_action_tokens_per_instruction": 2,
        "binarize_gripper_action": False,
        "pre_snap_gripper_action": False,
    },
    "fastwam": {
        "action_dim": 14,
        "action_horizon": 8,
        "n_action_steps": 8,
        "num_inference_steps": 2,
        "torch_dtype": "float32",
        "image_size": (64, 64),
        "tokenizer_max_len": 8,
        "base_model_id": None,
    },
    "lingbot_va": {
        "obs_cam_keys": ["observation.images.top"],
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "text_dim": 16,
        "freq_dim": 16,
        "ffn_dim": 32,
        "num_layers": 1,
        "dtype": "float32",
        "height": 32,
        "width": 32,
        "frame_chunk_size": 2,
        "num_inference_steps": 2,
        "action_num_inference_steps": 2,
        "max_sequence_length": 8,
    },
}
EXPERT = {"num_heads": 2, "attn_head_dim": 24, "num_layers": 1, "text_dim": 16, "freq_dim": 16, "ffn_dim": 64}
"""Sizes of Fast-WAM's two."""
SHOWN = ((8, 10), (9, 200))
"""Seed and grey level of each observation."""


def statistics(shape: tuple[int, ...], middle: float, width: float) -> dict[str, Any]:
    """Return the statistics of a feature."""
    mean, std = torch.full(shape, middle), torch.full(shape, width)
    low, high = mean - std, mean + std
    return {"mean": mean, "std": std, "min": low, "max": high, "q01": low, "q99": high}


def settings(kind: str, folder: Path, joints: int, *, blind: bool) -> dict[str, Any]:
    """Return a small policy's configuration."""
    match kind:
        case "smolvla":
            return {**SMALL[kind], "vlm_model_name": str(folder / "language")}
        case "lingbot_va":
            return {**SMALL[kind], "used_action_channel_ids": [*range(3, 3 + joints)]}
        case "fastwam":
            from lerobot.policies.fastwam import configuration_fastwam as fastwam

            return {
                **SMALL[kind],
                "proprio_dim": None if blind else joints,
                "video_dit_config": {**fastwam.default_video_dit_config(14), **EXPERT, "hidden_dim": 48},
                "action_dit_config": {**fastwam.default_action_dit_config(14), **EXPERT, "hidden_dim": 32},
            }
        case _:
            return SMALL[kind]


def episode(policy: Any, before: Any, after: Any, picture: str, size: tuple[int, int]) -> list[Any]:
    """Return the chunks of LingBot-VA as `select_action` executes them, of which each is told and seen; greys rise."""
    chunks: list[Any] = []
    for tick in range(20):
        grey = torch.full((1, 3, *size), (10 + 10 * tick) / 255)
        if not policy._action_queue:
            torch.manual_seed(len(chunks))
            chunks.append([])
        with torch.inference_mode():
            action = after(policy.select_action(before({picture: grey, "task": "transfer"})))
        chunks[-1].append(action.numpy()[0])
    return chunks


def make(kind: str, folder: Path, joints: int, *, blind: bool) -> None:
    """Make the folder."""
    size = {"act": (240, 320), "fastwam": (64, 64)}.get(kind, (84, 84))
    # TDMPC finds no other (LeRobot 0.4.4).
    picture = "observation.image" if kind == "tdmpc" else "observation.images.top"
    state = {} if blind else {"observation.state": PolicyFeature(FeatureType.STATE, (joints,))}
    tiny_hub.fill(folder / "hub", kind)
    if kind in {"pi0", "pi05"}:
        tiny_hub.shrink(kind)
    torch.manual_seed(0)
    config = factory.make_policy_config(
        kind,
        input_features={**state, picture: PolicyFeature(FeatureType.VISUAL, (3, *size))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (joints,))},
        device="cpu",
        **settings(kind, folder, joints, blind=blind),
    )
    policy = factory.get_policy_class(kind)(config).eval()
    if kind == "vqbet":
        policy.vqbet.action_head.vqvae_model.discretized.fill_(True)
    spread = torch.linspace(0.5, 1.0, joints)
    # LingBot-VA is told what was executed, and grippers are executed from 0 to 1.
    width = 0.05 if kind == "lingbot_va" else 0.2
    before, after = factory.make_pre_post_processors(
        config,
        dataset_stats={
            "observation.state": statistics((joints,), 0.1, 0.5),
            picture: statistics((3, 1, 1), 0.5, 0.25),
            "action": {name: value * spread for name, value in statistics((joints,), 0.3, width).items()},
        },
    )
    for part in (policy, before, after):
        part.save_pretrained(folder)
    if kind == "lingbot_va":
        np.savez(folder / "episode.npz", *episode(policy, before, after, picture, size))
        return
    chunks = []
    for seed, grey in SHOWN:
        seen = {
            **{key: torch.full((1, joints), 0.1) for key in state},
            picture: torch.full((1, 3, *size), grey / 255),
            "task": "transfer",
        }
        torch.manual_seed(seed)
        with torch.inference_mode():
            first = policy.select_action(before(seen))
            rest = policy._action_queue if hasattr(policy, "_action_queue") else policy._queues["action"]
            chunks.append(np.concatenate([after(action).numpy() for action in (first, *rest)]))
            rest.clear()
    np.save(folder / "chunks.npy", chunks)


if __name__ == "__main__":
    named, _, how = sys.argv[1].partition("-")
    make(named, Path(sys.argv[2]), int(sys.argv[3]), blind=how == "blind")
