"""What LeRobot's policies take from the hub beside their own weights, small and random, in a cache as the hub's is.

For a process whose HF_HUB_CACHE is that folder and whose HF_HUB_OFFLINE is 1.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

WORDS = ("<pad>", "<eos>", "<bos>", "<unk>", "transfer")
SMOLVLM = {
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "image_token": "<image>",
    "end_of_utterance_token": "<end_of_utterance>",
}
QWEN = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
CHAT = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|> <|image_pad|> <|vision_end|>{% else %}{{ part.text }}{% endif %} "
    "{% endfor %}{% endfor %}"
)
SIZE: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}


def fill(hub: Path, kind: str) -> None:
    """Write what a policy of a kind takes."""
    torch.manual_seed(1)
    match kind:
        case "smolvla":
            smolvlm(hub.parent / "language")
        case "pi0" | "pi05":
            cached(tokenizer(), hub, "google/paligemma-3b-pt-224")
        case "vla_jepa":
            qwen(repository(hub, "Qwen/Qwen3-VL-2B-Instruct"))
        case "fastwam":
            wan(repository(hub, "Wan-AI/Wan2.2-TI2V-5B-Diffusers"))
            cached(tokenizer(), hub, "google/umt5-xxl")
        case "lingbot_va":
            folder = repository(hub, "robbyant/lingbot-va-base")
            wan(folder)
            pieces = [(word, 0.0) for word in ("<pad>", "</s>", "<unk>", "\u2581", "transfer")]
            transformers.T5TokenizerFast(vocab=pieces, extra_ids=0).save_pretrained(folder / "tokenizer")


def repository(hub: Path, name: str) -> Path:
    """Return the folder of a repository in the cache."""
    folder, revision = hub / f"models--{name.replace('/', '--')}", "0" * 40
    for part in ("refs", f"snapshots/{revision}"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(revision)
    return folder / "snapshots" / revision


def cached(words: Any, hub: Path, name: str) -> None:
    """Write a tokenizer as a repository of its own."""
    folder = repository(hub, name)
    words.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "paligemma"}))


def tokenizer(special: Mapping[str, str] | None = None) -> Any:
    """Return a tokenizer of few words; `special` are words by the name of what they are for."""
    special = special or {}
    numbers = {word: i for i, word in enumerate((*WORDS, *special.values()))}
    held = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, "<unk>"))
    held.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    known = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=held, **known, extra_special_tokens=dict(special))


def smolvlm(folder: Path) -> None:
    """Write the shape of SmolVLA's vision and language model, and its words."""
    words = tokenizer(SMOLVLM)
    transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessor(), words, transformers.SmolVLMVideoProcessor()
    ).save_pretrained(folder)
    text = {"model_type": "llama", "vocab_size": 16, "num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 16}
    transformers.SmolVLMConfig(
        text_config={**SIZE, **text, "pad_token_id": 0},
        vision_config={**SIZE, "num_hidden_layers": 1, "image_size": 64, "patch_size": 16},
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    ).save_pretrained(folder)


def qwen(folder: Path) -> None:
    """Write a Qwen3-VL and its processor."""
    words = tokenizer(QWEN)
    patches = {"patch_size": 16, "merge_size": 2}
    transformers.Qwen3VLProcessor(
        transformers.Qwen2VLImageProcessor(min_pixels=32 * 32, max_pixels=64 * 64, **patches),
        words,
        transformers.Qwen3VLVideoProcessor(**patches),
        chat_template=CHAT,
    ).save_pretrained(folder)
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = {"num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 80, "pad_token_id": 0}
    pictures = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "depth": 1, "patch_size": 16}
    merged = {"spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32}
    config = transformers.Qwen3VLConfig(
        text_config={**SIZE, **text, "rope_scaling": rope},
        vision_config={**pictures, **merged, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        **{f"{name}_id": words.convert_tokens_to_ids(word) for name, word in QWEN.items()},
    )
    transformers.Qwen3VLForConditionalGeneration(config).save_pretrained(folder)


def wan(folder: Path) -> None:
    """Write an autoencoder and a text encoder of Wan 2.2."""
    import diffusers

    diffusers.AutoencoderKLWan(
        **{"base_dim": 8, "decoder_base_dim": 8, "z_dim": 48, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1},
        **{"temperal_downsample": [False, True, True], "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48},
        **{"is_residual": True, "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16},
    ).save_pretrained(folder / "vae")
    text = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    transformers.UMT5EncoderModel(transformers.UMT5Config(**text)).save_pretrained(folder / "text_encoder")


def shrink(kind: str) -> None:
    """Let LeRobot make pi0 and pi0.5, whose widths are fixed in its code, small in this process."""
    module = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    whole = module.PaliGemmaForConditionalGenerationWithPiGemma
    narrow = {"width": 32, "depth": 2, "mlp_dim": 64, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}

    def small(config: Any) -> Any:
        for name, value in {**SIZE, "num_hidden_layers": 1, "projection_dim": 32}.items():
            setattr(config.vision_config, name, value)
        return whole(config=config)

    vars(module)["PaliGemmaForConditionalGenerationWithPiGemma"] = small
    vars(module)["get_gemma_config"] = lambda _variant: module.GemmaConfig(**narrow)
