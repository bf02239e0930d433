"""Checks the settings of the command that makes packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from modise_lightning.errors import UserError
from modise_lightning.packages.tuned_settings import read_settings
from modise_lightning.regular_files import check_regular
from modise_lightning.reporting.cross_validation.settings import ComparisonSettings, RunSettings

_MOST_BYTES = 2**20


class PackageSettings(RunSettings):
    """What ``conf/package.yaml`` composes, and explains."""

    comparison: ComparisonSettings
    output: str
    test_fold: Annotated[int, Field(ge=0)] | None
    settings: str | None
    licence: Annotated[str, Field(max_length=100)] | None
    remarks: list[Annotated[str, Field(max_length=1000)]]
    push: str | None
    private: bool
    overrides: dict[str, Any]
    trusted_targets: list[str]

    def read_tuned(self) -> tuple[dict[str, Any], str | None]:
        """Read the tuned settings, if there are any; gives them, and the text that says them.

        Raises:
            UserError: They cannot be read, or are none.
        """
        if self.settings is None:
            return {}, None
        path = Path(self.settings)
        try:
            if check_regular(path).stat().st_size > _MOST_BYTES:
                raise UserError(f"settings: '{path}' has more than {_MOST_BYTES} bytes.")
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UserError(f"settings: '{path}' cannot be read ({error.strerror or error}).") from error
        except UnicodeDecodeError as error:
            raise UserError(f"settings: '{path}' is not UTF-8 ({error.reason}).") from error
        return read_settings(text, f"settings: '{path}'"), text
