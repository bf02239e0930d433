"""Leaves the images without findings out of the splits in which they are not wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.prepared.writing import Normals
from modise_lightning.errors import UserError


def place_normals(
    dataset: PreparedDataset, indices: Mapping[str, Sequence[int]], normals: Normals
) -> dict[str, list[int]]:
    """Choose which of the normal images take part.

    Args:
        dataset: Its index marks them.
        indices: Images of each split.
        normals: In which splits they are.

    Returns:
        Images of each split; in training the normal ones come last, for the sampler.

    Raises:
        UserError: There is none where one is needed, or a split has nothing else.
    """
    is_normal = [entry.is_normal for entry in dataset.entries]
    if normals != "none" and not any(is_normal):
        raise UserError(
            f"data.normals: '{normals}', but '{dataset.root}' has no image that is marked as normal. "
            f"Prepare it with data.normals={normals}, or set data.normals=none."
        )
    takes_part = {split: normals != "none" and split != "train" for split in indices}
    chosen = {
        split: [index for index in own if takes_part[split] or not is_normal[index]]
        for split, own in indices.items()
    }
    if normals == "all":
        trained = [index for index in indices["train"] if is_normal[index]]
        if not trained:
            raise UserError(
                f"data.normals: 'all', but no training image of '{dataset.root}' is normal. Set "
                "data.normals=evaluation."
            )
        chosen["train"] += trained
    for split, own in chosen.items():
        if not own:
            raise UserError(
                f"data: the {split} images of '{dataset.root}' are all normal, and data.normals={normals} "
                "leaves them out."
            )
    return chosen
