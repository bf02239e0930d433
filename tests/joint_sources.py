"""Overrides that train on the small phantom as two sources, which annotate different classes of it."""

from pathlib import Path

from tiny_runs import ONE_STEP

FINDING = {"benign mass": "mass", "malignant mass": "mass", "calcification cluster": "calcification"}
PATHOLOGY = {"benign mass": "benign", "malignant mass": "malignant", "calcification cluster": None}


def joint_overrides(root: Path) -> list[str]:
    """Configuration of both, in a step."""
    return [
        "data=joint",
        "data.sources=[phantom,other:pathology]",
        "+data.label_space.sources.other={pathology: ${data.label_space.sources.phantom.pathology}}",
        f"+data.roots.phantom={root}",
        f"+data.roots.other={root}",
        "data.module.train_transform.crop_size=128",
        "data.module.evaluation_transform.image_size=128",
        *ONE_STEP,
    ]
