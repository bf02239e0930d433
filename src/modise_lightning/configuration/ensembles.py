"""Reads several checkpoints as one model: finds them, checks that they fit together, and builds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from modise_lightning.configuration.assembly import categories_of
from modise_lightning.configuration.run_identity import sources_of
from modise_lightning.configuration.trained_model import TrainedModel, read_trained
from modise_lightning.errors import UserError
from modise_lightning.feature_store.memory import MemoryFeatureStore
from modise_lightning.inference.fusion import FusionSettings
from modise_lightning.inference.views import ViewSettings
from modise_lightning.reporting.results import Setting
from modise_lightning.structures import Category
from modise_lightning.training.ensemble_module import EnsembleModule
from modise_lightning.training.lightning_module import SegmentationModule
from modise_lightning.training.shared_weights import share_frozen

_BEST = "checkpoints/best.ckpt"
# What the members of an ensemble must have in common beside the classes, by its key in the configuration.
_SHARED = ("data.module.evaluation_transform", "data.module.size_multiple", "data.channels", "inference")
_NOT_THERE = "nothing"


def find_checkpoints(named: str | Sequence[str], setting: str = "checkpoint") -> list[Path]:
    """Find the checkpoints that a user names.

    Args:
        named: A checkpoint, a folder (each ``checkpoints/best.ckpt`` below it), or a list of these.
        setting: The setting that names them, for messages.

    Raises:
        UserError: A folder holds none, the list is empty, or a file is named twice.
    """
    found: list[Path] = []
    for text in [named] if isinstance(named, str) else named:
        path = Path(text)
        own = sorted(path.rglob(_BEST)) if path.is_dir() else [path]
        if not own:
            raise UserError(f"{setting}: the folder '{path}' holds no {_BEST}; give that of finished runs.")
        found += own
    if not found:
        raise UserError(f"{setting}: the list is empty; give a checkpoint, several, or a folder of runs.")
    places = [path.resolve() for path in found]
    twice = next((path for path, place in zip(found, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise UserError(f"{setting}: '{twice}' is named twice; each member counts once.")
    return found


@dataclass(frozen=True)
class TrainedEnsemble:
    """One or more checkpoints that were read and checked, and of which nothing was built yet.

    Attributes:
        paths: Of the checkpoints.
        members: What is in them.
    """

    paths: list[Path]
    members: list[TrainedModel]

    @property
    def config(self) -> DictConfig:
        """The first member's configuration."""
        return self.members[0].config

    @property
    def name(self) -> str:
        """The models' names, and how many there are."""
        names = " + ".join(dict.fromkeys(str(member.config.name) for member in self.members))
        return names if len(self.members) == 1 else f"{names} (ensemble of {len(self.members)})"

    @property
    def trained_on(self) -> str:
        """Names of the datasets of their training."""
        return " + ".join(dict.fromkeys(str(member.dataset["name"]) for member in self.members))

    @property
    def trained_on_sources(self) -> tuple[str, ...]:
        """Names of the datasets that joint training data were made of."""
        named = (name for member in self.members for name in sources_of(member.dataset))
        return tuple(dict.fromkeys(named))

    @property
    def is_synthetic(self) -> bool:
        """Whether a member knows only phantoms."""
        return any(bool(member.dataset["synthetic"]) for member in self.members)

    def unseen(self) -> tuple[str, ...]:
        """Name the classes of which no member's training had a text."""
        of_members = [set(member.unseen()) for member in self.members]
        return tuple(name for name in self.members[0].unseen() if all(name in own for own in of_members))

    def combination(self, views: ViewSettings, fusion: FusionSettings) -> dict[str, Setting]:
        """Say how members and views are combined, for results; nothing where there is nothing to combine."""
        if len(self.members) == 1 and views.is_plain:
            return {}
        return {
            "ensemble.members": len(self.members),
            "views.flips": "+".join(views.flips),
            "views.scales": "+".join(map(str, views.scales)),
            "fusion.iou_threshold": fusion.iou_threshold,
            "fusion.minimum_score": fusion.minimum_score,
            "fusion.weights": None if fusion.weights is None else "+".join(map(str, fusion.weights)),
        }

    def choose_views(self, named: ViewSettings) -> ViewSettings:
        """Give the views that the user named, or that came with the first model in its package."""
        return named if not named.is_plain else self.members[0].tuned.choose_views(named)

    def with_config(self, config: DictConfig) -> TrainedEnsemble:
        """Replace the first member's configuration."""
        return replace(self, members=[replace(self.members[0], config=config), *self.members[1:]])

    def name_classes(self, categories: Sequence[Category]) -> None:
        """Look for these classes instead of the checkpoints' own.

        Raises:
            UserError: The classes of a member are fixed.
        """
        for member in self.members:
            member.name_classes(categories)

    def use_dataset(self, data: DictConfig) -> None:
        """Read the images of another dataset than that of the training."""
        for member in self.members:
            member.use_dataset(data)

    def check(self) -> None:
        """Check that the members share classes, preprocessing and rules of inference.

        Raises:
            UserError: Names the first difference.
        """
        first, rest = self.members[0], self.members[1:]
        for path, member in zip(self.paths[1:], rest, strict=True):
            for key, own, other in _differences(first, member):
                raise UserError(
                    f"checkpoint: '{path}' and '{self.paths[0]}' differ in {key} ({other} and {own}); models "
                    "that are used together share classes, preprocessing and rules of inference "
                    "(+overrides.inference... sets those of all)."
                )

    def build(self, views: ViewSettings, fusion: FusionSettings) -> SegmentationModule | EnsembleModule:
        """Build all members; one of them alone and without views is itself.

        Frozen weights that are the same are held once, and what they compute of an image is shared.

        Raises:
            UserError: Members do not fit together, or one cannot be built; or there are not as many weights.
        """
        self.check()
        number = len(self.members)
        if fusion.weights is not None and len(fusion.weights) != number:
            raise UserError(
                f"fusion.weights: {len(fusion.weights)} values for {number} checkpoints; give one each."
            )
        store = None
        if number > 1:
            store = MemoryFeatureStore(max_gigabytes=fusion.shared_gigabytes, precision="float32")
        modules = []
        for member in self.members:
            modules.append(member.build(store))
            share_frozen(modules)  # after each one, so that at most one copy more is held
        if number == 1 and views.is_plain:
            return modules[0]
        return EnsembleModule(
            members=modules,
            views=views.views,
            fusion=fusion,
            size_multiple=self.config.data.module.size_multiple,
        ).eval()


def read_ensemble(
    named: str | Sequence[str],
    overrides: Mapping[str, Any],
    trusted_targets: Sequence[str] = (),
    setting: str = "checkpoint",
) -> TrainedEnsemble:
    """Read one or more checkpoints without building anything.

    Args:
        named: See ``find_checkpoints``.
        overrides: Nested changes to the configuration in each checkpoint.
        trusted_targets: Plug-ins that they may name.
        setting: The setting that names them, for messages.

    Raises:
        UserError: One is missing or damaged, names what it may not, or is of another version.
    """
    paths = find_checkpoints(named, setting)
    return TrainedEnsemble(paths, [read_trained(path, overrides, trusted_targets) for path in paths])


def _differences(one: TrainedModel, other: TrainedModel) -> Iterator[tuple[str, object, object]]:
    classes = [
        [f"{each.name}{'' if each.isthing else ' (stuff)'}" for each in categories_of(member.config)]
        for member in (one, other)
    ]
    if classes[0] != classes[1]:
        yield "data.categories", ", ".join(classes[0]), ", ".join(classes[1])
    for key in _SHARED:
        yield from _differing(key, *(_plain(member.config, key) for member in (one, other)))


def _plain(config: DictConfig, key: str) -> Any:  # noqa: ANN401 (any setting)
    node = OmegaConf.select(config, key)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _differing(key: str, one: object, other: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys([*one, *other]):
            yield from _differing(f"{key}.{name}", one.get(name, _NOT_THERE), other.get(name, _NOT_THERE))
    elif one != other:
        yield key, one, other
