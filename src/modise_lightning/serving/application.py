"""The web application: the page's files, uploads, predictions, pictures and downloads."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from modise_lightning.configuration.vocabulary import vocabulary_from
from modise_lightning.errors import UserError
from modise_lightning.reporting.export import SYNTHETIC_NOTICE
from modise_lightning.serving.exams import Exam, OpenExams, TooLargeError
from modise_lightning.serving.models import ServedModel
from modise_lightning.serving.predicting import predict_exam
from modise_lightning.serving.protection import Protection
from modise_lightning.serving.results import ExamResult
from modise_lightning.serving.settings import ServeSettings
from modise_lightning.structures import Category

STATIC = Path(__file__).parent / "static"
_MOST_JSON_BYTES = 64 * 1024
_MOST_CLASSES = 50  # that a reader names; more are for the command line
_PICTURES = {"picture.png": ".png", "uncertainty.png": "_uncertainty.png"}
_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json", "zip": "application/zip"}
Answer = Callable[[Request], Awaitable[Response]]


def make_application(
    served: ServedModel, settings: ServeSettings, folder: Path, token: str | None
) -> Starlette:
    """Make it.

    Args:
        served: The model.
        settings: Of the page.
        folder: A temporary one for uploads, which its owner removes.
        token: That is asked for; None for none.
    """
    pages = _Pages(served, settings, OpenExams(folder, settings.limits))
    routes = [
        Route("/", pages.page),
        Route("/api/model", _told(pages.model)),
        Route("/api/exams", _told(pages.open), methods=["POST"]),
        Route("/api/exams/{exam}/files", _told(pages.upload), methods=["POST"]),
        Route("/api/exams/{exam}/predict", _told(pages.predict), methods=["POST"]),
        Route("/api/exams/{exam}/close", _told(pages.close), methods=["POST"]),
        Route("/api/exams/{exam}/images/{number:int}/{name}", _told(pages.picture)),
        Route("/api/exams/{exam}/downloads/{name}", _told(pages.download)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    protection = Middleware(
        Protection, is_local=settings.is_local, allowed_hosts=settings.allowed_hosts, token=token
    )
    return Starlette(routes=routes, middleware=[protection])


def _told(answer: Answer) -> Answer:
    """Tell a user's mistake in a line."""

    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except TooLargeError as error:
            return JSONResponse({"error": str(error)}, 413)
        except _NotFoundError:
            return JSONResponse({"error": "no such exam is open; it may have been removed."}, 404)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=400)

    return told


class _NotFoundError(Exception):
    """There is nothing of this name."""


class _Pages:
    """Answers requests."""

    def __init__(self, served: ServedModel, settings: ServeSettings, exams: OpenExams) -> None:
        self._served = served
        self._settings = settings
        self._exams = exams

    async def page(self, request: Request) -> Response:
        return FileResponse(STATIC / "page.html")

    async def model(self, request: Request) -> Response:
        model, settings = self._served.first.model, self._settings
        return JSONResponse(
            {
                "name": self._served.name,
                "trained_on": model.metadata["trained_on"],
                "notice": SYNTHETIC_NOTICE if model.is_synthetic else None,
                "has_vocabulary": self._served.has_vocabulary,
                "classes": [each.name for each in model.categories if each.isthing],
                "minimum_score": settings.lesions.minimum_score,
                "score": settings.lesions.score,
                "limits": settings.limits.model_dump(),
            }
        )

    async def open(self, request: Request) -> Response:
        return JSONResponse({"exam": await run_in_threadpool(self._exams.open)})

    async def close(self, request: Request) -> Response:
        await run_in_threadpool(self._exams.close, request.path_params["exam"])
        return JSONResponse({})

    async def upload(self, request: Request) -> Response:
        exam = self._exam(request)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._settings.limits.file_bytes:
            raise TooLargeError(f"a file has {self._settings.limits.file_bytes} bytes at most.")
        await self._exams.add_file(exam, request.query_params.get("path", ""), request.stream())
        return JSONResponse({"files": exam.num_files})

    async def predict(self, request: Request) -> Response:
        exam = self._exam(request)
        vocabulary = self._vocabulary((await _body(request)).get("vocabulary"))
        result = await run_in_threadpool(predict_exam, exam, self._served, self._settings, vocabulary)
        described = await run_in_threadpool(result.describe)
        return JSONResponse({**described, "prediction": exam.number})

    def _vocabulary(self, names: object) -> tuple[Category, ...] | None:
        if names is None:
            return None
        if not self._served.has_vocabulary:
            raise UserError("vocabulary: the classes of this model are fixed.")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError("vocabulary: a list of names is expected.")
        if len(names) > _MOST_CLASSES or any(len(name) > 200 for name in names):
            raise UserError(f"vocabulary: at most {_MOST_CLASSES} names of 200 characters.")
        return vocabulary_from(names, "vocabulary")

    async def picture(self, request: Request) -> Response:
        result = self._result(request)
        ending = _PICTURES.get(request.path_params["name"])
        number = request.path_params["number"]
        if ending is None or number >= len(result.images):
            raise _NotFoundError
        return FileResponse(result.folder / f"shown-{number}{ending}", media_type="image/png")

    async def download(self, request: Request) -> Response:
        result, name = self._result(request), request.path_params["name"]
        score = _score(request.query_params.get("score", ""))
        settings = self._settings
        codes, limits = settings.reading["class_codes"], settings.run_settings("", "").archive
        makers: dict[str, Callable[[], str | bytes]] = {
            "lesions.csv": lambda: result.table(score),
            "lesions.json": lambda: result.document(score),
            "dicom_seg.zip": lambda: result.dicom("dicom_seg", score, codes, limits),
            "dicom_sr.zip": lambda: result.dicom("dicom_sr", score, codes, limits),
        }
        if name not in makers:
            raise _NotFoundError
        content = await run_in_threadpool(makers[name])
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)

    def _exam(self, request: Request) -> Exam:
        exam = self._exams.get(request.path_params["exam"])
        if exam is None:
            raise _NotFoundError
        return exam

    def _result(self, request: Request) -> ExamResult:
        result = self._exam(request).result
        if result is None:
            raise _NotFoundError
        return result


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError as error:
        raise UserError("score: a number from 0 to 1 is expected.") from error
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise UserError("score: a number from 0 to 1 is expected.")
    return score


async def _body(request: Request) -> dict[str, Any]:
    """Read a small JSON object."""
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > _MOST_JSON_BYTES:
            raise TooLargeError(f"a request has {_MOST_JSON_BYTES} bytes at most.")
    try:
        content = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise UserError("the request is no JSON.") from error
    if not isinstance(content, dict):
        raise UserError("the request is no JSON object.")
    return content
