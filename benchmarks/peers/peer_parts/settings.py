"""What the comparison is: its models, and the settings of the library that all of them share."""

from __future__ import annotations

from pathlib import Path

# What chooses each of this library's models, as the documentation tells; all else is the command's default.
OURS = {
    "ours_sd_tiny": ["backbone=sd_tiny", "augmentation=none", "feature_store=none"],
    "ours_swin_tiny": ["backbone=swin_tiny", "text=learned", "optimizer.learning_rate=3e-4"],
}
# Module that trains and predicts each peer, in an environment of its own.
PEERS = {
    "nnunet": "peer_parts.nnunet",
    "nnunet_narrow": "peer_parts.nnunet",
    "mask2former": "peer_parts.mask2former",
}
CLOCK = "peer_parts.training_clock.TrainingClock"  # a plug-in of the library, which checkpoints name
MODELS = (*OURS, *PEERS)
FOLDS = 5
REPOSITORY = Path(__file__).resolve().parents[3]
KEPT = REPOSITORY / "benchmarks" / "peers" / "results"  # small enough for the repository
ENVIRONMENT = REPOSITORY / ".venv-peers"  # ignored by git, beside the library's own


def library_overrides(data: Path, size: int, fold: int, model: str) -> list[str]:
    """Give the overrides of ``conf/train.yaml`` that say what is evaluated, and how."""
    return [
        "data=cdd_cesm",
        f"data.root={data.resolve()}",
        "metrics=clinical",
        f"image_size={size}",
        f"fold={fold}",
        f"name={model}",
    ]
