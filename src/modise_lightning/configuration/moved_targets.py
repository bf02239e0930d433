"""Where the parts are now that configurations in older checkpoints name."""

from __future__ import annotations

from typing import Any

_OURS = "modise_lightning."
# Before the modules got rooms of their own, and since.
MOVED_TARGETS: dict[str, str] = {
    f"{_OURS}{before}": f"{_OURS}{since}"
    for before, since in {
        "data.box_to_mask.BoxToMask": "data.preparation.box_to_mask.BoxToMask",
        "data.cdd_cesm.CddCesmPreparer": "data.sources.cdd_cesm.preparer.CddCesmPreparer",
        "data.coco_panoptic.open_coco_panoptic": "data.sources.coco_panoptic.reader.open_coco_panoptic",
        "data.coco_panoptic_check.CocoPanopticCheck": "data.sources.coco_panoptic.check.CocoPanopticCheck",
        "data.datamodule.PanopticDataModule": "data.loading.datamodule.PanopticDataModule",
        "data.phantom.preparer.PhantomPreparer": "data.sources.phantom.preparer.PhantomPreparer",
        "data.prepared_dataset.open_prepared": "data.prepared.dataset.open_prepared",
        "data.transforms.EvaluationTransform": "data.loading.transforms.EvaluationTransform",
        "data.transforms.TrainTransform": "data.loading.transforms.TrainTransform",
        "data.vindr_mammo.VinDrMammoPreparer": "data.sources.vindr_mammo.preparer.VinDrMammoPreparer",
        "metrics.clinical_settings.ClinicalSettings": "metrics.records.clinical_settings.ClinicalSettings",
        "optimization.OptimizerFactory": "training.optimization.OptimizerFactory",
        "sharding.FrozenShardingStrategy": "training.sharding.FrozenShardingStrategy",
    }.items()
}


def with_present_targets(node: Any) -> Any:  # noqa: ANN401 (a tree of plain values)
    """Copy a plain tree with every ``_target_`` that was moved under its present name; nothing is built."""
    if isinstance(node, list):
        return [with_present_targets(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {
        key: MOVED_TARGETS.get(value, value)
        if key == "_target_" and isinstance(value, str)
        else with_present_targets(value)
        for key, value in node.items()
    }
