"""Convolutions laid out for the device and, if asked, compiled: the same detections, in less time.

What does not work on a machine is left out, with a warning of one line. docs/speed.md.
"""

import warnings
from collections.abc import Callable

import torch

from mstlib.model.detector import MST


def speed_up(model: MST, compiled: bool = False) -> MST:
    """The model, its weights in channels-last order on a GPU (what its convolutions want) and, with
    `compiled`, the stages of its backbone compiled when first used.

    Compiling takes minutes, once for each size of image; there is no other change to the model.
    """
    if model.mean.is_cuda:
        model.to(memory_format=torch.channels_last)
    if compiled and can_compile(model.mean.device):
        for stage in (*model.backbone.c4_modules(), model.backbone.conv5):
            stage.compile(dynamic=False)
    return model


def can_compile(device: torch.device, compiler: Callable = torch.compile) -> bool:
    """Does a trial of torch.compile work on the device? A warning says why not."""
    try:
        compiler(lambda x: torch.relu(x) + 1)(torch.ones(8, device=device))
    except Exception as error:  # whatever is missing: a C++ compiler, Triton, Python's headers
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        warnings.warn(f"stages are not compiled, torch.compile does not work here: {reason}",
                      stacklevel=2)
        return False
    return True
