"""Pulls packages from the Hugging Face hub and pushes them there, with the hub's own client and cache."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from modise_lightning.errors import UserError
from modise_lightning.packages.archive import CARD, MAXIMUM_BYTES

PREFIX = "hf://"
FILE_NAME = "model.zip"
_REFERENCE = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_TIMEOUT_SECONDS = 5.0


def parse_reference(reference: str, setting: str) -> tuple[str, str | None]:
    """Read ``hf://owner/name`` or ``hf://owner/name@revision``.

    Args:
        reference: The text.
        setting: The setting that holds it, for messages.

    Returns:
        The repository, and the revision if there is one.

    Raises:
        UserError: It is something else.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UserError(f"{setting}: '{reference}' is not hf://owner/name or hf://owner/name@revision.")
    return match["repository"], match["revision"]


def pull(reference: str, *, setting: str = "model", endpoint: str | None = None) -> Path:
    """Give the file of a package on the hub; without a network that of the local cache.

    Args:
        reference: ``hf://owner/name``, at the latest revision, or ``hf://owner/name@revision``.
        setting: The setting that holds it, for messages.
        endpoint: Address of the hub; None for the client's own (``HF_ENDPOINT``).

    Raises:
        UserError: There is no such package, it is larger than any may be, or neither hub nor cache have it.
    """
    repository, revision = parse_reference(reference, setting)
    try:
        if not constants.HF_HUB_OFFLINE:
            _check_size(repository, revision, setting, endpoint)
        return Path(
            hf_hub_download(
                repository, FILE_NAME, revision=revision, endpoint=endpoint, etag_timeout=_TIMEOUT_SECONDS
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"{setting}: {FILE_NAME} of '{reference}' is neither in the local cache "
            f"({constants.HF_HUB_CACHE}) nor to be had from the Hugging Face hub ({reason}). A private one "
            "needs `hf auth login`; on a machine without a network give the file itself."
        ) from error


def _check_size(repository: str, revision: str | None, setting: str, endpoint: str | None) -> None:
    """Ask for the size before anything is downloaded; a hub that cannot be reached is left to the cache."""
    url = hf_hub_url(repository, FILE_NAME, revision=revision, endpoint=endpoint)
    try:
        size = get_hf_file_metadata(url, timeout=_TIMEOUT_SECONDS).size
    except (HfHubHTTPError, OSError):
        return  # hf_hub_download asks again, and says what is wrong or takes the cache
    most = sum(MAXIMUM_BYTES.values())
    if size is None or size > most:
        raise UserError(f"{setting}: {FILE_NAME} of '{repository}' has {size} bytes, more than {most}.")


def push(
    path: Path,
    card: str,
    reference: str,
    *,
    private: bool,
    setting: str = "push",
    endpoint: str | None = None,
) -> str:
    """Upload a package and its card in one commit; the repository is made if it is missing.

    Args:
        path: The package.
        card: Markdown, which the hub shows.
        reference: ``hf://owner/name``, or ``hf://owner/name@branch``.
        private: Whether a new repository is.
        setting: The setting that holds the reference, for messages.
        endpoint: Address of the hub; None for the client's own (``HF_ENDPOINT``).

    Returns:
        The reference of what was uploaded, with its commit.

    Raises:
        UserError: The hub cannot be reached, or refuses it.
    """
    repository, branch = parse_reference(reference, setting)
    client = HfApi(endpoint=endpoint)
    try:
        client.create_repo(repository, private=private, exist_ok=True)
        commit = client.create_commit(
            repository,
            operations=[
                CommitOperationAdd(FILE_NAME, str(path)),
                CommitOperationAdd(CARD, card.encode("utf-8", "backslashreplace")),
            ],
            commit_message="Upload a package of modise_lightning",
            revision=branch,
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"{setting}: '{reference}' was not uploaded ({reason}); the package is at '{path}'. "
            "`hf auth login` says who you are."
        ) from error
    return f"{PREFIX}{repository}@{commit.oid}"
