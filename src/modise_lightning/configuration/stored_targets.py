"""What a configuration that comes out of a file may name to be built, and where in it."""

from __future__ import annotations

_OURS = "modise_lightning."
_LIGHTNING = "lightning.pytorch."

# Every place of a training configuration where something is built, with all that the shipped configuration
# has there. A test composes conf/ and compares.
STORED_TARGETS: dict[str, frozenset[str]] = {
    place: frozenset(targets)
    for place, targets in {
        "backbone": (
            f"{_OURS}backbones.stable_diffusion.load_diffusion_backbone",
            f"{_OURS}backbones.swin.load_swin_backbone",
        ),
        "captioner": (f"{_OURS}captioners.implicit.load_captioner",),
        "text.encoder": (f"{_OURS}text.encoder.load_text_encoder",),
        "text.classifier": (
            f"{_OURS}classifiers.learned.LearnedClassifier",
            f"{_OURS}classifiers.objectness.ObjectnessClassifier",
            f"{_OURS}classifiers.text_similarity.TextSimilarityClassifier",
        ),
        "mask_generator": (f"{_OURS}mask_generator.mask2former.Mask2FormerMaskGenerator",),
        "criterion": (f"{_OURS}losses.criterion.SetCriterion",),
        "inference": (f"{_OURS}inference.inference.Inference",),
        "metrics": (f"{_OURS}metrics.evaluation.SegmentationMetrics",),
        "metrics.clinical": (f"{_OURS}metrics.records.clinical_settings.ClinicalSettings",),
        "optimizer": (f"{_OURS}training.optimization.OptimizerFactory",),
        "data.preparer": (
            f"{_OURS}data.sources.cbis_ddsm.preparer.CbisDdsmPreparer",
            f"{_OURS}data.sources.cdd_cesm.preparer.CddCesmPreparer",
            f"{_OURS}data.sources.coco_panoptic.check.CocoPanopticCheck",
            f"{_OURS}data.sources.inbreast.preparer.InbreastPreparer",
            f"{_OURS}data.sources.phantom.preparer.PhantomPreparer",
            f"{_OURS}data.sources.tompei_cmmd.preparer.TompeiCmmdPreparer",
            f"{_OURS}data.sources.vindr_mammo.preparer.VinDrMammoPreparer",
        ),
        "data.preparer.box_to_mask": (f"{_OURS}data.preparation.box_to_mask.BoxToMask",),
        "data.preparer.dataset": (f"{_OURS}data.sources.coco_panoptic.reader.open_coco_panoptic",),
        "data.module": (f"{_OURS}data.loading.datamodule.PanopticDataModule",),
        "data.module.dataset": (
            f"{_OURS}data.sources.coco_panoptic.reader.open_coco_panoptic",
            f"{_OURS}data.prepared.dataset.open_prepared",
            f"{_OURS}data.prepared.joint.open_joint",
        ),
        "data.module.source_sampling": (f"{_OURS}data.loading.source_sampler.SourceSampling",),
        "data.module.train_transform": (f"{_OURS}data.loading.transforms.TrainTransform",),
        "data.module.train_transform.elastic": (f"{_OURS}data.loading.elastic.ElasticDeformation",),
        "data.module.train_transform.gamma": (f"{_OURS}data.loading.gamma.GammaChange",),
        "data.module.copy_paste": (f"{_OURS}data.loading.copy_paste.CopyPaste",),
        "data.module.evaluation_transform": (f"{_OURS}data.loading.transforms.EvaluationTransform",),
        "feature_store": (
            f"{_OURS}feature_store.disk.DiskFeatureStore",
            f"{_OURS}feature_store.memory.MemoryFeatureStore",
        ),
        "trainer": (f"{_LIGHTNING}Trainer",),
        "trainer.strategy": (
            f"{_LIGHTNING}strategies.DDPStrategy",
            f"{_OURS}training.sharding.FrozenShardingStrategy",
        ),
        "logger": (
            f"{_LIGHTNING}loggers.CSVLogger",
            f"{_LIGHTNING}loggers.TensorBoardLogger",
            f"{_LIGHTNING}loggers.WandbLogger",
        ),
    }.items()
}
# The callbacks have names of the user's choice: any of these may stand under any name.
STORED_CALLBACKS = frozenset(
    {
        f"{_LIGHTNING}callbacks.LearningRateMonitor",
        f"{_LIGHTNING}callbacks.ModelCheckpoint",  # of checkpoints written before there was our own
        f"{_OURS}callbacks.checkpoints.ResumableCheckpoint",
        f"{_OURS}callbacks.finite_loss.FiniteLoss",
        f"{_OURS}callbacks.progress.TrainingProgress",
        f"{_OURS}callbacks.random_state.RandomState",
        f"{_OURS}callbacks.wandb_checkpoints.WandbCheckpoints",
    }
)


def may_be_built(target: str, place: str) -> bool:
    """Tell whether a stored configuration may name a target at a place.

    Args:
        target: What ``_target_`` says.
        place: Key of the node that holds it, from the top.
    """
    section, _, name = place.partition(".")
    if section == "callbacks" and name and "." not in name:
        return target in STORED_CALLBACKS
    return target in STORED_TARGETS.get(place, frozenset())
