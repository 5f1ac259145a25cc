"""Steps of training on a device that has no arithmetic: `python fake_gpu.py` prints JSON lines.

PyTorch's fake tensors carry a shape, a type and a device, and no numbers. On them an operation over
two devices is refused as on a GPU, and so is whatever would need a number on the processor, where a
real GPU would be waited for. Anything large that is made on the processor is seen as well.

A process of its own, for a backend is registered once and for all.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

import torch  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402

FAKE = "fakegpu"
# More numbers than any list of lengths or positions has here.
LARGE = 100
LENGTHS = (3, 40, 1, 17)


def touches_no_gpu() -> list[str]:
    """What imports would start on a GPU: a process forked after that could not use it."""
    touched: list[str] = []
    initialise, available = torch.cuda._lazy_init, torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    torch.cuda._lazy_init = lambda: touched.append("torch.cuda was initialised by an import")
    try:
        import luthier.evaluate.model
        import luthier.train.run  # noqa: F401
    finally:
        torch.cuda._lazy_init, torch.cuda.is_available = initialise, available
    return touched


def register_fake_device() -> None:
    from torch.utils import backend_registration

    class Module(backend_registration._DummyBackendModule):
        """What torch asks a device's module for."""

        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16]

        def is_available(self) -> bool:
            return True

    backend_registration._setup_privateuseone_for_python_backend(FAKE, backend_module=Module())
    create = torch._C._acc.create_empty_tensor

    # `torch.tensor(numbers, device=…)` copies behind the back of fake tensors.
    @torch.library.impl("aten::empty_strided", "privateuseone")
    def _(size: Any, _stride: Any, *, dtype: torch.dtype = torch.float32, **_: Any) -> torch.Tensor:
        return create(tuple(size), dtype)

    @torch.library.impl("aten::_copy_from", "privateuseone")
    def _(_source: torch.Tensor, target: torch.Tensor, _wait: bool = False) -> torch.Tensor:
        return target


@contextlib.contextmanager
def fake_device() -> Iterator[list[str]]:
    """Within the block all tensors are fake; yields what large ones the processor has made."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    strays: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None):
            output = func(*args, **(kwargs or {}))
            strays.extend(
                f"{func} made {tuple(leaf.shape)} on the processor"
                for leaf in pytree.tree_leaves(output)
                if isinstance(leaf, torch.Tensor)
                and leaf.device.type == "cpu"
                and leaf.numel() > LARGE
            )
            return output

    with FakeTensorMode(allow_non_fake_inputs=True), Watch():
        yield strays


def move(model: Any) -> Any:
    """The model with its weights on the fake device; numbers are lost."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        return model._apply(lambda tensor: torch.empty_like(tensor, device=FAKE))
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def take_steps(
    family: str,
    *,
    adapter: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    rl: str | None = None,
    optimizer: str = "adamw_torch",
    bits: Any = None,
    noise: bool = False,
    checkpoints: bool = False,
) -> list[str]:
    """Two steps of one kind; what went wrong."""
    from tiny_models import make_examples
    from verification.models import build_model
    from verification.pairs import make_pairs

    from luthier.adapters.attach_lora import LoraTargets, attach_lora
    from luthier.adapters.full import attach_full
    from luthier.adapters.lora import LoraSettings
    from luthier.adapters.switched_off import switched_off
    from luthier.data.batches import pack
    from luthier.data.pair_batches import pack_pairs
    from luthier.models.neftune import NeftuneNoise
    from luthier.models.packed import PackedModel
    from luthier.models.quantize import Quantization, quantize_model
    from luthier.objectives import OBJECTIVES
    from luthier.objectives.objective import count_totals
    from luthier.objectives.settings import ObjectiveSettings
    from luthier.optim.groups import GroupSettings, build_groups
    from luthier.optim.projected_layers import list_embeddings, select_projected
    from luthier.optim.settings import OptimizerSettings, ProjectionSettings
    from luthier.optim.table import OPTIMIZERS
    from luthier.train.module import TrainedModule

    model = build_model(family).to(dtype)
    if bits:
        quantize_model(model, Quantization(bits))
    packed = PackedModel(model)  # its trial needs numbers
    place = torch.device(FAKE, 0)
    with fake_device() as strays:
        move(model)
        if adapter is None:
            attached = attach_full(model)
        else:
            settings = LoraSettings(4, 8, **adapter)
            attached = attach_lora(model, settings, LoraTargets(None, True), base_model="")
        if checkpoints:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        wanted = None
        if "galore" in optimizer or "fira" in optimizer:
            wanted = ProjectionSettings(select_projected(model, None, "galore"), 4, 2)
        moves = OPTIMIZERS[optimizer](
            build_groups(attached.parameters, attached.roles, GroupSettings(1e-3, 0.1)),
            OptimizerSettings(projection=wanted, embeddings=list_embeddings(model)),
        )
        choices = ObjectiveSettings(reference_model=lambda: switched_off(packed))
        objective = OBJECTIVES[rl](choices)
        module = TrainedModule(packed, objective, NeftuneNoise(model, 5.0) if noise else None)
        module.train()
        examples: list[Any] = make_pairs() if rl else make_examples(*LENGTHS)
        for _ in range(2):
            batch = pack_pairs(examples, shared=True) if rl else pack(examples)
            share = module(batch.to(place), count_totals(examples))
            share.loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(attached.parameters.values(), 1.0)
            moves.step()
            moves.zero_grad(set_to_none=True)
            attached.refresh()
        elsewhere = [
            f"{name} lies on {parameter.device}"
            for name, parameter in attached.parameters.items()
            if parameter.device != place
        ]
        state = [
            f"the state's {key} lies on {value.device}"
            for parameter in attached.parameters.values()
            for key, value in moves.state[parameter].items()
            if isinstance(value, torch.Tensor) and value.device != place and value.ndim > 0
        ]
        assert norm.device == share.loss.device == place
    return sorted({*strays, *elsewhere, *state})


DORA = {"magnitude": True}
DROPPED = {"magnitude": True, "dropout": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "lora": {"family": "gpt_neox", "adapter": {}},
    "full": {"family": "gemma", "optimizer": "adamw_torch_fused"},
    "dora on bfloat16": {"family": "qwen2", "adapter": DORA, "dtype": torch.bfloat16},
    "dropout, noise and checkpoints": {
        "family": "qwen2", "adapter": DROPPED, "noise": True, "checkpoints": True,
    },
    "qlora": {"family": "qwen2", "adapter": DORA, "bits": 4},
    "8-bit base": {"family": "gpt2", "adapter": {}, "bits": 8},
    "dpo": {"family": "qwen2", "adapter": {}, "rl": "dpo"},
    "orpo": {"family": "qwen2", "rl": "orpo"},
    "galore": {"family": "qwen2", "optimizer": "galore_adamw"},
}  # fmt: skip


def main() -> None:
    print(json.dumps({"case": "imports", "problems": touches_no_gpu()}), flush=True)
    from torch.utils import backend_registration

    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        return
    register_fake_device()
    for name, case in CASES.items():
        try:
            problems = take_steps(**case)
        except Exception as error:
            import traceback

            last = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in last if "/luthier/" in frame.filename]
            where = f"{ours[-1].filename}:{ours[-1].lineno}: " if ours else ""
            problems = [f"{where}{type(error).__name__}: {error}"[:600]]
        print(json.dumps({"case": name, "problems": problems}), flush=True)


if __name__ == "__main__":
    main()
