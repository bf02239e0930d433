"""Makes a vocabulary of a shipped one and of the texts that ODISE's authors publish with their code.

Their file ``*_with_prompt_eng.txt`` has a line a class, ``number:text,text,...``, in the order of the
dataset's classes; lines of ``invalid_class_id`` stand for none. It has its own licence and is not shipped.

``python scripts/odise_vocabulary.py coco coco_panoptic_with_prompt_eng.txt coco_odise.yaml``
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from modise_lightning.atomic_files import write_text_atomically
from modise_lightning.configuration.vocabulary import read_vocabulary, vocabulary_from
from modise_lightning.errors import UserError

_NO_CLASS = "invalid_class_id"


def read_texts(path: Path) -> list[list[str]]:
    """Read the texts of each class, in their order.

    Raises:
        UserError: A line has no number, or no text.
    """
    texts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        identity, separator, listed = line.partition(":")
        found = list(dict.fromkeys(text.strip() for text in listed.split(",") if text.strip()))
        if not separator or not identity.strip().isdigit() or not found:
            raise UserError(f"{path}: line {number}: expected number:text,text; found {line[:80]!r}.")
        if found != [_NO_CLASS]:
            texts.append(found)
    return texts


def main(arguments: list[str]) -> None:
    """Write the vocabulary."""
    if len(arguments) != 3:
        raise UserError("usage: odise_vocabulary.py coco|ade20k TEXTS.txt OUTPUT.yaml")
    name, source, output = arguments
    classes = read_vocabulary(name) or ()
    texts = read_texts(Path(source))
    if len(texts) != len(classes):
        raise UserError(f"{source}: {len(texts)} classes, {name} has {len(classes)}.")
    taken: set[str] = set()
    nodes = []
    for category, own in zip(classes, texts, strict=True):
        # A text of two classes cannot tell them apart; the first class keeps it.
        prompts = [text for text in own if text.lower() not in taken]
        if not prompts:
            raise UserError(f"{source}: all texts of '{category.name}' are those of classes before it.")
        taken |= {text.lower() for text in prompts}
        nodes.append({"name": category.name, "prompts": prompts, "isthing": category.isthing})
    vocabulary_from(nodes, output)
    write_text_atomically(Path(output), yaml.safe_dump({"categories": nodes}, sort_keys=False))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
