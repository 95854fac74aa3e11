"""A small policy of LeRobot with random weights and what it answers: `KIND FOLDER JOINTS`, where LeRobot is installed.

FOLDER has the policy and its processors as LeRobot saves them, and in `chunks.npy` (2, horizon, joints) LeRobot's own
chunks for two observations of an episode, the second as it comes after the first.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from bench.decoupling.peers import lerobot_import

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
    },
    "vqbet": {
        "n_obs_steps": 3,
        "action_chunk_size": 5,
        "crop_shape": None,
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
}
WORDS = ("<pad>", "<unk>", "<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>", "transfer")
SHOWN = ((8, 10), (9, 200))
"""Seed and grey level of each observation."""


def statistics(shape: tuple[int, ...], middle: float, width: float) -> dict[str, Any]:
    """Return the statistics of a feature."""
    mean, std = torch.full(shape, middle), torch.full(shape, width)
    return {"mean": mean, "std": std, "min": mean - std, "max": mean + std}


def language(folder: str) -> str:
    """Make what SmolVLA takes from the hub: the shape of its vision and language model, a tokenizer of few words."""
    import tokenizers
    import transformers

    word = dict(zip(("pad", "unk", "fake", "global", "image", "end"), WORDS, strict=False))
    held = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=word["unk"])
    )
    held.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=held,
        unk_token=word["unk"],
        pad_token=word["pad"],
        extra_special_tokens={
            "fake_image_token": word["fake"],
            "image_token": word["image"],
            "global_image_token": word["global"],
            "end_of_utterance_token": word["end"],
        },
    )
    transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessor(), tokenizer, transformers.SmolVLMVideoProcessor()
    ).save_pretrained(folder)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    text = {"model_type": "llama", "vocab_size": 16, "num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 16}
    transformers.SmolVLMConfig(
        text_config={**size, **text, "pad_token_id": 0},
        vision_config={**size, "num_hidden_layers": 1, "image_size": 64, "patch_size": 16},
        scale_factor=2,
        image_token_id=WORDS.index(word["image"]),
        pad_token_id=0,
    ).save_pretrained(folder)
    return folder


def make(kind: str, folder: str, joints: int) -> None:
    """Make the folder."""
    size = (240, 320) if kind == "act" else (84, 84)
    # TDMPC finds no other (LeRobot 0.4.4).
    picture = "observation.image" if kind == "tdmpc" else "observation.images.top"
    torch.manual_seed(0)
    config = factory.make_policy_config(
        kind,
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (joints,)),
            picture: PolicyFeature(FeatureType.VISUAL, (3, *size)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (joints,))},
        device="cpu",
        **SMALL[kind],
        **({"vlm_model_name": language(f"{folder}/language")} if kind == "smolvla" else {}),
    )
    policy = factory.get_policy_class(kind)(config).eval()
    if kind == "vqbet":
        policy.vqbet.action_head.vqvae_model.discretized.fill_(True)
    spread = torch.linspace(0.5, 1.0, joints)
    before, after = factory.make_pre_post_processors(
        config,
        dataset_stats={
            "observation.state": statistics((joints,), 0.1, 0.5),
            picture: statistics((3, 1, 1), 0.5, 0.25),
            "action": {name: value * spread for name, value in statistics((joints,), 0.3, 0.2).items()},
        },
    )
    for part in (policy, before, after):
        part.save_pretrained(folder)
    chunks = []
    for seed, grey in SHOWN:
        seen = {
            "observation.state": torch.full((1, joints), 0.1),
            picture: torch.full((1, 3, *size), grey / 255),
            "task": "transfer",
        }
        torch.manual_seed(seed)
        with torch.inference_mode():
            first = policy.select_action(before(seen))
            rest = policy._action_queue if kind == "act" else policy._queues["action"]
            chunks.append(np.concatenate([after(action).numpy() for action in (first, *rest)]))
            rest.clear()
    np.save(f"{folder}/chunks.npy", chunks)


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2], int(sys.argv[3]))
