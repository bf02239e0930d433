"""Types and ranges of the settings that stand at the top of the entry points' configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from modise_lightning.errors import UserError

_PATHS = (
    *("checkpoint", "init", "input", "model", "output", "output_dir", "resume", "settings", "source"),
    *("data.raw", "data.root"),
)
_LISTS = ("checkpoint", "input")  # where several are named


def _rising(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError("the first number is the larger one")
    return values


_PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]
# By dotted key; each is checked where a configuration has it.
_TYPES: dict[str, Any] = {
    "seed": Annotated[int, Field(ge=0, lt=2**32)],  # what NumPy takes
    "fold": NonNegativeInt,
    "num_threads": PositiveInt | None,
    "num_workers": NonNegativeInt,
    "batch_size": PositiveInt,
    "evaluation_batch_size": PositiveInt,
    "image_size": PositiveInt,
    "scale_range": Annotated[tuple[_PositiveFloat, _PositiveFloat], AfterValidator(_rising)],
    "baselines": list[str],
    "name": str,
    "device": str,
    "split": str,
    "contact_sheet_images": NonNegativeInt,
    "gallery_images": PositiveInt,
    "images": PositiveInt,
    "versions": PositiveInt,
    "verify_only": bool,
    "vocabulary": str | list[Any] | None,
    "class_agnostic": bool,
    "trusted_targets": list[str],
    "overrides": dict[str, Any],
    "pictures.num_images": NonNegativeInt,
    "pictures.rows_per_picture": PositiveInt,
    "clip_head.enabled": bool,
    "clip_head.alpha": _Share,
    "clip_head.beta": _Share,
    "clip_head.template": str,
    "clip_head.training_texts": list[str] | None,
    "text.template": str,
    "init_fingerprint": str | None,
    "trained_on.name": str | None,
    "trained_on.synthetic": bool,
    "trainer.max_epochs": Annotated[int, Field(ge=-1)] | None,
    "trainer.gradient_clip_val": Annotated[float, Field(ge=0, allow_inf_nan=False)] | None,
    "trainer.accumulate_grad_batches": PositiveInt,
    "trainer.check_val_every_n_epoch": PositiveInt | None,
    "trainer.log_every_n_steps": PositiveInt,
    "trainer.num_nodes": PositiveInt,
}


def check_top_level(config: Mapping[str, Any]) -> None:
    """Check the settings that no constructor's signature checks.

    Args:
        config: A whole configuration, resolved.

    Raises:
        UserError: Names the first setting of another type or out of its range.
    """
    for key in _PATHS:
        value = _select(config, key)
        for each in value if key in _LISTS and isinstance(value, list) else (value,):
            if each is not None and not isinstance(each, str):
                raise UserError(
                    f"{key}: found {each!r} where a file or folder is named; one with such a name is given "
                    f"as {key}=./{each}."
                )
    for key, hint in _TYPES.items():
        value = _select(config, key, missing := object())
        if value is missing:
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(strict=True))
        try:
            adapter.validate_python(
                tuple(value) if key == "scale_range" and isinstance(value, list) else value
            )
        except ValidationError as error:
            raise UserError(f"{key}: found {value!r}: {error.errors()[0]['msg']}.") from error


def _select(config: Mapping[str, Any], key: str, default: object = None) -> Any:  # noqa: ANN401 (any setting)
    node: Any = config
    for depth, part in enumerate(parts := key.split(".")):
        if node is not None and not isinstance(node, Mapping):
            raise UserError(f"{'.'.join(parts[:depth])}: a group of settings is expected, found {node!r}.")
        if node is None or part not in node:
            return default
        node = node[part]
    return node
