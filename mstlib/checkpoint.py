"""Small trained checkpoints: safetensors in half precision, which cannot carry code.

All figures are measured on these files, not on the training states (DEVIATIONS.md 17). Their
metadata holds the whole configuration, so that a checkpoint says what model it belongs to.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from mstlib.config import DETECTORS, MSTError, config_from_dict
from mstlib.fileio import write_bytes
from mstlib.limits import at_test
from mstlib.model.detector import MST, build_model
from mstlib.model.methods import method_of


def variant_of(model: MST) -> str:
    """The name in `DETECTORS` of a model with these levels and this method ("-" if none is)."""
    method = method_of(model.config)
    return next((name for name, known in DETECTORS.items()
                 if known.levels == model.levels and known.model["method"] == method), "-")


def save_weights(model: MST, path: str | Path, seed: int, half: bool = True,
                 classes: Sequence[str] = ()) -> Path:
    """Write the weights with their configuration and the names of their classes; float tensors in
    half precision unless told not to."""
    from safetensors.torch import save

    tensors = {k: (v.half() if half and v.is_floating_point() else v).contiguous()
               for k, v in model.state_dict().items()}
    metadata = {"format": "mstlib-1", "variant": variant_of(model), "seed": str(seed),
                "classes": json.dumps(list(classes)),
                "config": json.dumps(model.config.to_dict(), sort_keys=True)}
    return write_bytes(path, in_order(save(tensors, metadata)))


def in_order(data: bytes) -> bytes:
    """A safetensors file with its metadata in order, which the library writes in any: the same
    weights give the same bytes, so that their hash says who they are.

    The file: 8 bytes, the length of a JSON header; the header, padded to a multiple of 8; tensors.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def read_metadata(path: str | Path) -> dict[str, str]:
    """A checkpoint's metadata: format, variant, seed, classes and config (JSON); MSTError if
    damaged."""
    return _open(path)[1]


def load_weights(path: str | Path, variant: str | None = None,
                 settings: dict[str, object] | None = None) -> tuple[MST, dict[str, str]]:
    """The model of a checkpoint, in float32 and ready to detect, and its metadata.

    settings: changed for detecting, see `mstlib.limits.at_test`. MSTError if the file is missing,
    damaged, of another format, or not of the `variant` asked for.
    """
    tensors, metadata = _open(path)
    if variant is not None and metadata["variant"] != variant:
        raise MSTError(f"{path}: holds variant ({metadata['variant']}), not ({variant}); "
                       f"evaluate it as it is or give the file of ({variant})")
    model = build_model(at_test(config_from_dict(json.loads(metadata["config"])), settings or {}))
    own = model.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or sorted(
        k for k in own if own[k].shape != tensors[k].shape)
    if wrong:
        raise MSTError(f"{path}: weights do not fit their own configuration, first at "
                       f"'{wrong[0]}'; the file is damaged or from another version")
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})
    return model.eval(), metadata


def _open(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file of ours."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise MSTError(f"{path}: no such checkpoint; shipped ones lie in results/checkpoints/")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise MSTError(f"{path}: not a readable safetensors file ({error}); "
                       "fetch it again") from error
    if metadata.get("format") != "mstlib-1":
        raise MSTError(f"{path}: not a checkpoint of mstlib (format {metadata.get('format')}); "
                       f"training states (.pt) are exported by mst train")
    return tensors, metadata
