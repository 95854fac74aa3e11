"""Runs a system's released server code around an emulator's model: `python -m ... SYSTEM PORT`.

The code is not part of this project: LEADTIME_RELEASES names a folder with checkouts of the repositories, each under
its own name (tests/conformance/releases.py makes them). A prompt "fail" makes the model fail.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.conformance.emulators import dreamzero, lingbot_va, openpi, starvla, xpolicylab
from tests.conformance.emulators.numpy_msgpack import unpackb
from tests.conformance.peers import cosmos_policy, gr00t
from tests.conformance.suite import HIDDEN

RELEASES = "LEADTIME_RELEASES"
HOST = "127.0.0.1"


def folder(*parts: str) -> Path | None:
    """Return a folder in the checkouts, None where there is none."""
    root = os.environ.get(RELEASES)
    path = None if root is None else Path(root).joinpath(*parts)
    return path if path is not None and path.is_dir() else None


def fail_if_told(prompt: Any) -> None:
    if prompt in ("fail", ["fail"]):
        raise RuntimeError(f"no weights in {HIDDEN}")


class Packed:
    """A model as the openpi family's servers call it."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def infer(self, request: dict[str, Any]) -> Any:
        fail_if_told(request.get("prompt"))
        return self.protocol.answer(request)


class Roboarena(Packed):
    """The same with an endpoint of its own for a reset."""

    def infer(self, request: dict[str, Any]) -> Any:
        return super().infer({**request, "endpoint": "infer"})

    def reset(self, request: dict[str, Any]) -> None:
        self.protocol.answer({**request, "endpoint": "reset"})


class Enveloped:
    """A model as starVLA's server calls it."""

    def predict_action(self, examples: list[Any], **kwargs: Any) -> Any:
        fail_if_told(examples[0]["lang"])
        return starvla.StarVlaProtocol().predict_action(examples, **kwargs)


class Imaged:
    """A model as VLA-JEPA's server calls it: with pictures of PIL."""

    def predict_action(self, batch_images: Any, instructions: list[str], **kwargs: Any) -> Any:
        fail_if_told(instructions)
        arrays = [[np.asarray(image) for image in images] for images in batch_images]
        return starvla.VlaJepaProtocol().predict_action(arrays, instructions, **kwargs)


class Stepped:
    """A model as XPolicyLab's server calls it."""

    def reset(self) -> None:
        self.seen: Any = None

    def update_obs(self, observation: Any) -> None:
        self.seen = observation

    def get_action(self) -> Any:
        fail_if_told(self.seen["instruction"])
        return xpolicylab.XPolicyLabProtocol().actions(self.seen)


def _server(module: str, *paths: str) -> Any:
    sys.path[:0] = [str(folder(path)) for path in paths]
    return importlib.import_module(module)


def serve_openpi(port: int) -> None:
    module = _server("openpi.serving.websocket_policy_server", "openpi/src", "openpi/packages/openpi-client/src")
    protocol = openpi.OpenPiProtocol()
    module.WebsocketPolicyServer(Packed(protocol), HOST, port, unpackb(protocol.hello())).serve_forever()


def serve_lingbot_va(port: int) -> None:
    module = _server("deploy.websocket_policy_server", "lingbot-va/wan_va/utils/Simple_Remote_Infer")
    module.WebsocketPolicyServer(Packed(lingbot_va.LingBotVaProtocol()), HOST, port).serve_forever()


def serve_dreamzero(port: int) -> None:
    module = _server("eval_utils.policy_server", "dreamzero", "openpi/packages/openpi-client/src")
    _serve_roboarena(module, port)


def serve_roboarena(port: int) -> None:
    _serve_roboarena(_server("roboarena.policy_server", "roboarena"), port)


def _serve_roboarena(module: Any, port: int) -> None:
    protocol = dreamzero.DreamZeroProtocol()
    wishes = module.PolicyServerConfig(**unpackb(protocol.hello()))
    module.WebsocketPolicyServer(Roboarena(protocol), wishes, HOST, port).serve_forever()


def serve_starvla(port: int) -> None:
    module = _server("deployment.model_server.tools.websocket_policy_server", "starVLA")
    metadata = unpackb(starvla.StarVlaProtocol().hello())
    module.WebsocketPolicyServer(Enveloped(), HOST, port, metadata=metadata).serve_forever()


def serve_vla_jepa(port: int) -> None:
    module = _server("deployment.model_server.tools.websocket_policy_server", "VLA-JEPA")
    module.WebsocketPolicyServer(Imaged(), HOST, port, metadata={"env": "simpler_env"}).serve_forever()


def serve_xpolicylab(port: int) -> None:
    module = _server("client_server.ws.model_server", "XPolicyLab")
    asyncio.run(module.PolicyServer(Stepped(), module.PolicyServerConfig(HOST, port)).serve_forever())


class _Planned:
    """Cosmos-Policy's module of what its server asks of a model, around the emulator's."""

    def __getattr__(self, name: str) -> Any:
        """Anything else that the server imports, and does not use as it is configured here."""
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    @staticmethod
    def init_t5_text_embeddings_cache(path: str) -> None:
        """Nothing to load."""

    @staticmethod
    def load_dataset_stats(path: str) -> None:
        """Nothing to load."""

    @staticmethod
    def get_model(config: Any) -> Any:
        dataset = SimpleNamespace(chunk_size=config.chunk_size)
        return None, SimpleNamespace(dataloader_train=SimpleNamespace(dataset=dataset))

    @staticmethod
    def get_action(config: Any, model: Any, stats: Any, observation: Any, task: str, **_: Any) -> dict[str, Any]:
        fail_if_told(task)
        answer: dict[str, Any] = cosmos_policy.answer(observation)
        return answer


def serve_cosmos_policy(port: int) -> None:
    package = "cosmos_policy.experiments.robot"
    robot: Any = SimpleNamespace(get_image_resize_size=lambda family: 224)
    utils: Any = SimpleNamespace(set_seed_everywhere=lambda seed: None)
    planned: Any = _Planned()
    sys.modules.update(
        {f"{package}.cosmos_utils": planned, f"{package}.robot_utils": robot, "cosmos_policy.utils.utils": utils}
    )
    module = _server(f"{package}.aloha.deploy", "cosmos-policy")
    module.PolicyServer(module.DeployConfig()).run(HOST, port)


def serve_gr00t(port: int) -> None:
    module = _server("gr00t.policy.server_client", "Isaac-GR00T")
    modality = module.ModalityConfig

    class Actor(module.BasePolicy):  # type: ignore[misc]
        """The model as the server calls it."""

        def get_modality_config(self) -> dict[str, Any]:
            told = gr00t.modalities()
            return {name: modality(**config["as_json"]) for name, config in told.items()}

        def _get_action(self, observation: Any, options: Any = None) -> Any:
            fail_if_told(observation["language"]["annotation.human.task_description"][0][0])
            return gr00t.acted(observation), {}

        def reset(self, options: Any = None) -> dict[str, Any]:
            return {}

        def check_observation(self, observation: Any) -> None:
            """The emulator's model does."""

        def check_action(self, action: Any) -> None:
            """The rig does."""

    module.PolicyServer(Actor(strict=False), HOST, port).run()


SERVERS: dict[str, tuple[str, Callable[[int], None]]] = {
    "openpi": ("openpi", serve_openpi),
    "lingbot-va": ("lingbot-va", serve_lingbot_va),
    "dreamzero": ("dreamzero", serve_dreamzero),
    "roboarena": ("roboarena", serve_roboarena),
    "starvla": ("starVLA", serve_starvla),
    "vla-jepa": ("VLA-JEPA", serve_vla_jepa),
    "xpolicylab": ("XPolicyLab", serve_xpolicylab),
    "cosmos-policy": ("cosmos-policy", serve_cosmos_policy),
    "gr00t": ("Isaac-GR00T", serve_gr00t),
}
"""System -> its repository's folder, what runs its server on a port."""

if __name__ == "__main__":
    SERVERS[sys.argv[1]][1](int(sys.argv[2]))
