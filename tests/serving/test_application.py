"""The page's server: what it answers, what it refuses, and that nothing stays."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import torch
from pycocotools import mask as coco_mask
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)
from starlette.testclient import TestClient

from modise_lightning.errors import UserError
from modise_lightning.serving.application import make_application
from modise_lightning.serving.exams import safe_path
from modise_lightning.serving.models import ServedModel
from modise_lightning.serving.results import prominent, uncertainty_png
from modise_lightning.serving.server import choose_token, listen
from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation, Prediction
from serving.served import breast, composed_serve, exam_files, serve_model, settings_of

HERE = "http://127.0.0.1:8501"
PAGE = {"X-Modise-Page": "1"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def served(place: Path) -> ServedModel:
    return serve_model(composed_serve(place))


@pytest.fixture
def client(served: ServedModel, place: Path, tmp_path: Path) -> Iterator[TestClient]:
    limits = ["limits.files=6", "limits.file_bytes=100000", "limits.exam_bytes=150000", "limits.exams=2"]
    settings = settings_of(composed_serve(place, *limits))
    (tmp_path / "temporary").mkdir()
    application = make_application(served, settings, tmp_path / "temporary", None)
    with TestClient(application, base_url=HERE, headers=PAGE) as opened:
        yield opened


def upload(client: TestClient, files: dict[str, bytes]) -> str:
    exam: str = client.post("/api/exams").json()["exam"]
    for name, content in files.items():
        answer = client.post(f"/api/exams/{exam}/files", params={"path": name}, content=content)
        assert answer.status_code == 200, answer.text
    return exam


def predict(client: TestClient, exam: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/api/exams/{exam}/predict", json=body)
    assert answer.status_code == 200, answer.text
    described: dict[str, Any] = answer.json()
    return described


def mammogram() -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.77.1", "1.2.826.77.2"
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.StudyTime = dataset.StudyID = dataset.ReferringPhysicianName = ""
    dataset.PatientSex, dataset.ImageLaterality, dataset.ViewPosition = "F", "R", "MLO"
    dataset.PatientName, dataset.PatientID = "Quackenbush^Philomena", "MRN-774411"
    dataset.PatientBirthDate, dataset.StudyDate, dataset.AccessionNumber = "19520229", "20190817", "ACC-9"
    dataset.ImagerPixelSpacing = [0.1, 0.2]
    pixels = breast("R")
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes()
    data = io.BytesIO()
    dataset.save_as(data, enforce_file_format=True)
    return data.getvalue()


def test_an_exam_is_predicted_shown_and_downloaded(client: TestClient) -> None:
    files = exam_files()
    exam = upload(client, files)
    described = predict(client, exam)
    images = {image["name"]: image for image in described["images"]}
    assert images.keys() == files.keys()
    assert described["failures"] == []
    assert images["P1_R_CC.png"]["laterality"] == "right"
    assert images["P1_L_MLO.png"]["view"] == "MLO"
    assert len({image["exam"] for image in images.values()}) == 1
    for name, image in images.items():
        at = f"/api/exams/{exam}/images/{image['number']}"
        picture = client.get(f"{at}/picture.png")
        decoded = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(
            decoded, cv2.imdecode(np.frombuffer(files[name], np.uint8), cv2.IMREAD_UNCHANGED)
        )
        uncertain = client.get(f"{at}/uncertainty.png")
        shown = cv2.imdecode(np.frombuffer(uncertain.content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert shown.shape == (96, 64, 4)
    scores = [lesion["score"] for image in images.values() for lesion in image["lesions"]]
    assert scores
    middle = float(np.median(scores))
    expected = sum(score >= middle for score in scores)
    assert 0 < expected < len(scores)
    table = client.get(f"/api/exams/{exam}/downloads/lesions.csv", params={"score": middle})
    assert "attachment" in table.headers["content-disposition"]
    assert len(list(csv.DictReader(io.StringIO(table.text)))) == expected
    document = client.get(f"/api/exams/{exam}/downloads/lesions.json", params={"score": middle}).json()
    assert "not a medical device" in document["notice"]
    assert "synthetic phantom" in document["notice"]
    listed = [(image, lesion) for image in document["images"] for lesion in image["lesions"]]
    assert len(listed) == expected
    for _, lesion in listed:
        assert int(coco_mask.decode(lesion["segmentation"]).sum()) == lesion["area"]
    refused = client.get(f"/api/exams/{exam}/downloads/dicom_seg.zip", params={"score": 0})
    assert refused.status_code == 400
    assert "no image is DICOM" in refused.json()["error"]


def test_dicom_comes_back_as_dicom_and_names_nobody_on_the_page(client: TestClient) -> None:
    exam = upload(client, {"Quackenbush/IM1": mammogram()})
    described = predict(client, exam)
    (image,) = described["images"]
    assert image["spacing_mm"] == [0.1, 0.2]
    assert (image["laterality"], image["view"], image["is_dicom"]) == ("right", "MLO", True)
    assert image["lesions"][0]["longest_diameter_mm"] > 0
    table = client.get(f"/api/exams/{exam}/downloads/lesions.csv?score=0").text
    for text in (json.dumps(described), table):
        for secret in ("Quackenbush", "MRN-774411", "19520229", "1.2.826.77"):
            assert secret not in text
    for name, kind in (("dicom_seg.zip", "SEG"), ("dicom_sr.zip", "SR")):
        answer = client.get(f"/api/exams/{exam}/downloads/{name}?score=0")
        assert answer.status_code == 200, answer.text
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            (member,) = archive.namelist()
            dataset = pydicom.dcmread(io.BytesIO(archive.read(member)))
        assert dataset.Modality == kind
        assert dataset.PatientID == "MRN-774411"
        if kind == "SEG":
            assert len(dataset.SegmentSequence) == len(image["lesions"])


def test_other_classes_can_be_named_and_the_first_come_back(client: TestClient) -> None:
    exam = upload(client, {"a.png": exam_files()["P1_L_CC.png"]})
    first = predict(client, exam)
    other = predict(client, exam, vocabulary=["<b>cyst</b>", "lymph node"])
    assert [each["name"] for each in other["classes"]] == ["<b>cyst</b>", "lymph node"]
    assert other["prediction"] == 2
    again = predict(client, exam, vocabulary=None)
    assert again["images"] == first["images"]
    for wrong in (3, [3], ["x"] * 51, ["x" * 201], [], ["cyst", "cyst"], [""]):
        answer = client.post(f"/api/exams/{exam}/predict", json={"vocabulary": wrong})
        assert answer.status_code == 400, wrong
        assert "\n" not in answer.json()["error"]


def test_a_zip_is_read_and_what_is_broken_is_named(client: TestClient) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in exam_files().items():
            archive.writestr(f"exam/{name}", content)
        archive.writestr("exam/broken.png", b"no picture")
    described = predict(client, upload(client, {"exam.zip": data.getvalue()}))
    assert len(described["images"]) == 4
    (failure,) = described["failures"]
    assert "broken.png" in failure
    assert "modise" not in failure
    assert "/tmp" not in failure


@pytest.mark.parametrize("files", [{}, {"notes.txt": b"text"}, {"a.png": b"no picture"}])
def test_nothing_to_read_is_told(client: TestClient, files: dict[str, bytes], tmp_path: Path) -> None:
    exam = upload(client, files)
    answer = client.post(f"/api/exams/{exam}/predict", json={})
    assert answer.status_code == 400
    assert str(tmp_path) not in answer.json()["error"]


def test_a_closed_exam_leaves_nothing(client: TestClient, tmp_path: Path) -> None:
    exam = upload(client, {"a.png": exam_files()["P1_L_CC.png"]})
    predict(client, exam)
    assert [path for path in (tmp_path / "temporary").rglob("*") if path.is_file()]
    client.post(f"/api/exams/{exam}/close")
    assert list((tmp_path / "temporary").iterdir()) == []
    for path in (
        f"/api/exams/{exam}/images/0/picture.png",
        f"/api/exams/{exam}/downloads/lesions.csv?score=0",
    ):
        assert client.get(path).status_code == 404


def test_more_than_the_limits_is_refused_and_not_kept(client: TestClient, tmp_path: Path) -> None:
    exam = upload(client, {"a.png": bytes(90_000)})
    send = f"/api/exams/{exam}/files"

    def pieces() -> Iterator[bytes]:
        yield from [bytes(60_000)] * 5

    assert client.post(send, params={"path": "b.png"}, content=bytes(100_001)).status_code == 413
    assert client.post(send, params={"path": "c.png"}, content=pieces()).status_code == 413
    assert client.post(send, params={"path": "d.png"}, content=bytes(61_000)).status_code == 413
    kept = [path for path in (tmp_path / "temporary").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == ["a.png"]
    for number in range(5):
        assert client.post(send, params={"path": f"{number}.png"}, content=b"").status_code == 200
    assert client.post(send, params={"path": "more.png"}, content=b"").status_code == 413
    assert client.post(send, params={"path": "1.png"}, content=b"").status_code in (400, 413)
    client.post("/api/exams")
    assert client.post("/api/exams").status_code == 413
    assert client.post(f"/api/exams/{exam}/predict", content=b"[" * 70_000).status_code == 413
    assert client.post(f"/api/exams/{exam}/predict", content=b"[" * 60_000).status_code == 400


BAD_PATHS = ["../a.png", "/etc/passwd", "a/../../b", "", ".", "a\\b", "C:a", "a\x00b", "a\nb", "x" * 501]
BAD_PATHS += ["ä" * 150 + ".png", "a\u202eb"]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_names_that_lead_elsewhere_are_refused(client: TestClient, path: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        safe_path(path)
    exam = client.post("/api/exams").json()["exam"]
    assert client.post(f"/api/exams/{exam}/files", params={"path": path}, content=b"x").status_code == 400
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../serve.py",
        "/static/%2e%2e/settings.py",
        "/static/..%2f..%2fsettings.py",
        "/api/exams/../../etc/passwd",
        "/api/exams/x/images/0/..%2f..%2fpage.html",
        "/api/exams/x/downloads/x",
        "/api/exams/x/images/-1/picture.png",
        "/api/nothing",
    ],
)
def test_other_addresses_hold_nothing(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("score", ["", "x", "nan", "inf", "-1", "2"])
def test_a_wrong_score_is_told(client: TestClient, score: str) -> None:
    exam = upload(client, {"a.png": exam_files()["P1_L_CC.png"]})
    predict(client, exam)
    answer = client.get(f"/api/exams/{exam}/downloads/lesions.csv", params={"score": score})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("method", "headers", "code"),
    [
        ("GET", {}, 200),
        ("GET", {"Host": "localhost:8501"}, 200),
        ("GET", {"Host": "[::1]:8501"}, 200),
        ("GET", {"Host": "evil.example"}, 400),
        ("GET", {"Host": "127.0.0.1.evil.example"}, 400),
        ("GET", {"Host": "localhost.evil.example:8501"}, 400),
        ("GET", {"Host": "["}, 400),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", {}, 200),
        ("POST", {"Origin": HERE}, 200),
        ("POST", {"Origin": "http://evil.example"}, 403),
        ("POST", {"Origin": "http://127.0.0.1:9999"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"X-Modise-Page": ""}, 403),
        ("POST", {"Host": "evil.example", "Origin": "http://evil.example"}, 400),
    ],
)
def test_other_pages_are_refused(client: TestClient, method: str, headers: dict[str, str], code: int) -> None:
    if headers.get("X-Modise-Page") == "":
        del client.headers["X-Modise-Page"]
        headers = {}
    answer = client.request(method, "/api/model" if method == "GET" else "/api/exams", headers=headers)
    assert answer.status_code == code, answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_a_token_is_asked_for_where_there_is_one(served: ServedModel, place: Path, tmp_path: Path) -> None:
    settings = settings_of(composed_serve(place, "host=0.0.0.0"))
    token = choose_token(settings)
    assert token is not None
    assert len(token) >= 32
    application = make_application(served, settings, tmp_path, token)
    with TestClient(application, base_url="http://reading-room:8501", headers=PAGE) as client:
        for path in (
            "/",
            "/api/model",
            "/static/page.js",
            "/?token=wrong",
            "/?token=",
            "/api/model?token=" + token,
        ):
            assert client.get(path).status_code == 401, path
        assert client.post("/api/exams").status_code == 401
        assert client.get("/", headers={"Cookie": "modise_token=wrong"}).status_code == 401
        answer = client.get(f"/?token={token}", follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/api/model").status_code == 200
        assert client.post("/api/exams", headers={"Origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("host", "is_asked"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("::", True)],
)
def test_beyond_this_machine_there_is_always_a_token(host: str, is_asked: bool, place: Path) -> None:
    assert (choose_token(settings_of(composed_serve(place, f"host='{host}'"))) is not None) == is_asked


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("port=99999", "port"),
        ("lesions.score=2", "lesions.score"),
        ("limits.files=0", "limits.files"),
        ("token=short", "token"),
        ("exams.pattern='('", "exams.pattern"),
        ("white=black", "white"),
        ("archive.members=many", "archive"),
    ],
)
def test_a_wrong_setting_is_told(setting: str, message: str, place: Path) -> None:
    with pytest.raises(UserError, match=message):
        settings_of(composed_serve(place, setting))


def test_an_address_in_use_is_told_before_a_model_is_loaded(place: Path) -> None:
    settings = settings_of(composed_serve(place, "port=0"))
    with listen(settings) as opened:
        port = opened.address.rpartition(":")[2]
        with (
            pytest.raises(UserError, match="nobody can listen"),
            listen(settings_of(composed_serve(place, f"port={port}"))),
        ):
            pass


def test_the_map_of_the_uncertainty_is_the_entropy_in_bits() -> None:
    # Of two things: sums 0, 0.5, 0.11 and 1.2; the entropy of 0.11 is 0.4999 bits.
    semantic = torch.tensor([[[0.0, 0.25, 0.11, 0.6]], [[0.0, 0.25, 0.0, 0.6]]])
    nothing = torch.zeros((0,), dtype=torch.int64)
    prediction = Prediction(
        PanopticSegmentation(torch.zeros((1, 4), dtype=torch.int64), nothing),
        InstanceSegmentation(torch.zeros((0, 1, 4), dtype=torch.bool), nothing, torch.zeros(0)),
        semantic,
    )
    data = np.frombuffer(uncertainty_png(prediction), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_UNCHANGED)[..., 3].tolist() == [[0, 255, 127, 0]]


def test_of_masks_that_show_the_same_the_best_stays() -> None:
    def lesion(score: float, left: int) -> dict[str, Any]:
        mask = np.zeros((20, 40), np.uint8)
        mask[5:15, left : left + 10] = 1
        code = coco_mask.encode(np.asfortranarray(mask))
        return {"score": score, "segmentation": {"size": code["size"], "counts": code["counts"].decode()}}

    # IoU of boxes shifted by 2 of 10 columns: 8 / 12; by 4: 6 / 14; by 20: 0.
    lesions = [lesion(0.9, 0), lesion(0.8, 2), lesion(0.7, 4), lesion(0.6, 20)]
    assert [each["score"] for each in prominent(lesions, 0.5)] == [0.9, 0.7, 0.6]
    assert [each["score"] for each in prominent(lesions, 0.7)] == [0.9, 0.8, 0.7, 0.6]
    assert [each["score"] for each in prominent(lesions, 0.0)] == [0.9, 0.6]
    assert prominent([], 0.5) == []
