"""Overrides that make a run as small as it can be."""

from pathlib import Path

# A few images, a step of training and of each evaluation.
ONE_STEP = [
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.num_sanity_val_steps=0",
    "trainer.accelerator=cpu",
    "callbacks.progress=null",
    "num_workers=0",
    "batch_size=2",
    "evaluation_batch_size=2",
    "pictures.num_images=2",
]


def phantom_overrides(root: Path) -> list[str]:
    """Configuration of the small phantom dataset."""
    return [
        f"data.root={root}",
        "data.preparer.num_patients=10",
        "data.preparer.image_size=128",
        "data.preparer.num_processes=1",
        "data.module.train_transform.crop_size=128",
        "data.module.evaluation_transform.image_size=128",
    ]
