"""Where runs are computed: on the CPU, or on GPUs where torch sees any.

torch is imported where it is asked. A sweep on a machine whose torch is built for the CPU alone does not wait for it.
"""

import os
import platform
import runpy
import sys
from importlib.util import find_spec
from typing import Literal

from datamodules.errors import UserError

Device = Literal[
    "auto",  # a GPU where torch sees one, else the CPU
    "cpu",
    "gpu",
]


def check_device(device: str) -> None:
    """Raise `UserError` for an unknown device, and for "gpu" where torch sees none."""
    if device not in ("auto", "cpu", "gpu"):
        raise UserError(f"unknown device '{device}'. Known: auto, cpu, gpu")
    if device == "gpu" and (reason := why_no_gpu()):
        raise UserError(f"--device gpu asks for a GPU: use --device cpu or auto. {reason}")


def why_no_gpu() -> str | None:
    """Why torch sees no GPU and what to do about it, None where it sees one."""
    import torch

    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is built for the CPU and sees no GPU: where there is a card, check that "
            f"nvidia-smi lists it, and install torch {torch.__version__.partition('+')[0]} built for CUDA "
            "(pytorch.org/get-started)"
        )
    return (
        f"torch {torch.__version__}, built for CUDA {torch.version.cuda}, sees no GPU: check that nvidia-smi lists the "
        "card, that its driver is recent enough for this CUDA, and that CUDA_VISIBLE_DEVICES does not hide it"
    )


def built_for_gpus() -> bool:
    """Whether torch is built for GPUs, by the file in which it says so; True where it does not say."""
    spec = find_spec("torch")
    places = spec.submodule_search_locations if spec else None
    try:
        build = runpy.run_path(f"{places[0]}/version.py") if places else {}
    except OSError:
        build = {}
    return any(build.get(name, "unknown") is not None for name in ("cuda", "hip"))


def uses_gpu(device: str) -> bool:
    """Whether runs with this device are computed on a GPU, here and now."""
    if device == "cpu" or not built_for_gpus():
        return False
    import torch

    return torch.cuda.is_available()


def visible_gpus(device: str) -> list[str]:
    """The GPUs that runs are spread over, as CUDA_VISIBLE_DEVICES names them; none for runs on the CPU."""
    if not uses_gpu(device):
        return []
    import torch

    count, given = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(count)] if given is None else given.split(",")
    return [name.strip() for name in names[:count]]


def describe(device: str, devices: int = 1) -> str:
    """What a record says of the hardware: "cpu, 1 thread(s), x86_64" or "gpu, NVIDIA H200, 1 thread(s), x86_64"."""
    import torch

    host = f"{torch.get_num_threads()} thread(s), {platform.machine()}"
    host += f", {devices} processes" if devices > 1 else ""
    return f"gpu, {torch.cuda.get_device_name()}, {host}" if uses_gpu(device) else f"cpu, {host}"


def triton_version(device: str) -> dict[str, str]:
    """The version of Triton where it computes the recurrences of runs on a GPU; empty where nothing or a loop does."""
    if not uses_gpu(device):
        return {}
    import torch

    from baselines.layers.recurrence import triton_takes

    takes = triton_takes(torch.device("cuda", torch.cuda.current_device()), 1)
    return {"triton": str(sys.modules["triton"].__version__)} if takes else {}
