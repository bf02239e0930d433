"""Where pretrained weights come from, and how they are read safely."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import safetensors
import safetensors.torch
import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular, is_there

# The weights of a part that is trained as a whole, when a checkpoint brings them.
IN_CHECKPOINT = "checkpoint"
_HUB_TIMEOUT_SECONDS = 5.0


def locate(
    *, part: str, weights: str, repository: str, patterns: Sequence[str], trained: bool = False
) -> Path | None:
    """Find the local folder or file that holds the pretrained weights of a part.

    Args:
        part: Config key of the part, named in messages (``backbone``).
        weights: ``hub`` (the published repository, downloaded once into the Hugging Face cache), ``random``,
            or the path of a local folder or file.
        repository: Published id on the Hugging Face hub.
        patterns: File name patterns of the repository that are needed.
        trained: Whether all its weights are in checkpoints, so that ``checkpoint`` may stand for them: none
            have to be there before.

    Returns:
        An existing path, or None for ``random`` and ``checkpoint``.

    Raises:
        UserError: The weights are nowhere; the message says how to get them or run without.
    """
    if weights == "random" or (trained and weights == IN_CHECKPOINT):
        return None
    if weights == "hub":
        return _locate_on_hub(part, repository, patterns)
    path = Path(os.path.expanduser(weights))  # unlike pathlib's, leaves ~nobody as it is
    if not is_there(path):
        raise UserError(
            f"{part}: no file or folder '{path}' ({part}.weights). Give the local copy of '{repository}', "
            f"or {part}.weights=hub to download it, or {part}.weights=random to run without it."
        )
    return path.resolve()


def _locate_on_hub(part: str, repository: str, patterns: Sequence[str]) -> Path:
    # Also without a network this gives what is in the cache; what is missing there is for the reader to tell.
    try:
        return Path(
            snapshot_download(repository, allow_patterns=list(patterns), etag_timeout=_HUB_TIMEOUT_SECONDS)
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{part}: the weights '{repository}' are neither in the local cache "
            f"({constants.HF_HUB_CACHE}) nor reachable on the Hugging Face hub ({reason}). "
            "On a machine with internet access run "
            f"`hf download {repository} --local-dir FOLDER`, copy FOLDER here and give "
            f"{part}.weights=FOLDER; {part}.weights=random runs without pretrained weights."
        ) from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a ``.safetensors`` file or a pickle that holds nothing but tensors.

    Raises:
        UserError: The file is damaged, or a pickle that would have to run code to be read.
    """
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(check_regular(path))
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: not a readable safetensors file ({error}). Download it again."
            ) from error
    try:
        loaded = torch.load(check_regular(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: this pickle holds more than tensors, and reading it could run foreign code, so it is "
            "refused. Use a safetensors version of these weights."
        ) from error
    except Exception as error:  # A damaged archive makes torch raise almost anything.
        raise UserError(f"{path}: not a readable weights file ({error}). Download it again.") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path}: expected tensors by name, found something else. Is it a weights file?")
    return cast(dict[str, Tensor], loaded)


def fingerprint(module: nn.Module, prefix: str = "") -> str:
    """Identify the frozen weights of a module, so that a checkpoint can tell whether it is used with its own.

    Args:
        module: Whole, or a part of one.
        prefix: What stands before the part's names in the whole, with a dot at the end.

    Returns:
        Hexadecimal digest of names, shapes, types and bit sums of all parameters that take no gradient.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        if parameter.requires_grad:
            continue
        # Of shared-out weights each process has a part; all of them have to ask for the whole.
        whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        data = whole.detach().contiguous().cpu()
        bits = data.view(
            {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[data.element_size()]
        )
        total = int(bits.sum(dtype=torch.int64))
        digest.update(f"{prefix}{name}|{tuple(data.shape)}|{data.dtype}|{total}\n".encode())
    return digest.hexdigest()[:16]
