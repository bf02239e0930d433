"""The exams that are open: uploads in a temporary folder, limited in every size, and removed in the end."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from modise_lightning.errors import UserError
from modise_lightning.serving.results import ExamResult
from modise_lightning.serving.settings import Limits
from modise_lightning.visible_text import visible

_LONGEST_PATH = 500  # characters
_LONGEST_PART = 200  # bytes of a folder's or file's name; file systems take 255


class TooLargeError(UserError):
    """More was uploaded than the limits allow."""


@dataclass
class Exam:
    """What was uploaded of an exam, and what was predicted.

    Attributes:
        folder: Everything of it.
        num_files: Uploaded ones.
        num_bytes: Of these.
        touched: When it was last asked for, in seconds of the monotonic clock.
        result: Of the last prediction; None before.
        number: Of predictions so far.
        lock: Held while it is predicted.
    """

    folder: Path
    num_files: int = 0
    num_bytes: int = 0
    touched: float = field(default_factory=time.monotonic)
    result: ExamResult | None = None
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def uploads(self) -> Path:
        """Where the uploaded files are."""
        return self.folder / "uploaded"


class OpenExams:
    """Exams by an identifier that nobody can guess."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Set where they are.

        Args:
            folder: A temporary one, which its owner removes.
            limits: Of sizes and numbers.
        """
        self._folder = folder
        self._limits = limits
        self._exams: dict[str, Exam] = {}

    def open(self) -> str:
        """Open an exam, and give its identifier.

        Raises:
            TooLargeError: Too many are open.
        """
        self.remove_old()
        if len(self._exams) >= self._limits.exams:
            raise TooLargeError(f"{len(self._exams)} exams are open, which is the most; close one.")
        identifier = secrets.token_urlsafe(16)
        exam = Exam(self._folder / identifier)
        exam.uploads.mkdir(parents=True, mode=0o700)
        self._exams[identifier] = exam
        return identifier

    def get(self, identifier: str) -> Exam | None:
        """Give an exam; None if there is none of this identifier."""
        exam = self._exams.get(identifier)
        if exam is not None:
            exam.touched = time.monotonic()
        return exam

    def close(self, identifier: str) -> None:
        """Remove an exam with everything of it."""
        exam = self._exams.pop(identifier, None)
        if exam is not None:
            with exam.lock:
                shutil.rmtree(exam.folder, ignore_errors=True)

    def close_all(self) -> None:
        """Remove all."""
        for identifier in list(self._exams):
            self.close(identifier)

    def remove_old(self) -> None:
        """Remove those that nobody has asked for in a long time."""
        last = time.monotonic() - 60 * self._limits.minutes
        for identifier, exam in list(self._exams.items()):
            if exam.touched < last:
                self.close(identifier)

    async def add_file(self, exam: Exam, name: str, content: AsyncIterator[bytes]) -> None:
        """Write an uploaded file piece by piece.

        Args:
            exam: One of these.
            name: The path that the browser gives: folders and a name.
            content: Its bytes.

        Raises:
            UserError: The name is none, or there already.
            TooLargeError: The file, the exam or the number of files is too large; nothing of the file stays.
        """
        path = exam.uploads / safe_path(name)
        shown = visible(name)[:_LONGEST_PATH]
        if exam.num_files >= self._limits.files:
            raise TooLargeError(f"'{shown}': an exam has {self._limits.files} files at most.")
        if path.exists():
            raise UserError(f"'{shown}' was uploaded twice.")
        exam.num_files += 1
        written = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                async for piece in content:
                    written += len(piece)
                    exam.num_bytes += len(piece)
                    if written > self._limits.file_bytes:
                        raise TooLargeError(f"'{shown}' has more than {self._limits.file_bytes} bytes.")
                    if exam.num_bytes > self._limits.exam_bytes:
                        raise TooLargeError(f"an exam has {self._limits.exam_bytes} bytes at most.")
                    file.write(piece)
        except BaseException as error:
            path.unlink(missing_ok=True)
            exam.num_bytes -= written
            exam.num_files -= 1
            if isinstance(error, OSError):
                raise UserError(f"'{shown}' cannot be kept ({error.strerror or error}).") from error
            raise


def safe_path(name: str) -> PurePosixPath:
    """Give the path below the exam's folder that a browser names.

    Args:
        name: Folders and a name, with slashes.

    Raises:
        UserError: It would lie elsewhere, or is none.
    """
    parts = PurePosixPath(name).parts
    is_bad = (
        not parts
        or name.startswith("/")
        or len(name) > _LONGEST_PATH
        or any(
            part in ("", ".", "..") or len(part.encode("utf-8", "surrogatepass")) > _LONGEST_PART
            for part in parts
        )
        or any(sign in "\\:\0" or not sign.isprintable() for sign in name)
    )
    if is_bad:
        raise UserError(f"'{visible(name)[:_LONGEST_PATH]}' is no name of a file that can be uploaded.")
    return PurePosixPath(*parts)
