"""Tuned settings hold numbers of inference and views, and nothing else."""

from pathlib import Path

import pytest
import yaml

from modise_lightning.errors import UserError
from modise_lightning.inference.tuned_settings import TunedSettings, parse_tuned, read_tuned
from modise_lightning.inference.views import ViewSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inference: {score_threshold: 0.3}", {"inference": {"score_threshold": 0.3}}),
        (
            "views: {flips: [none, both], scales: [1.0]}",
            {"views": {"flips": ["none", "both"], "scales": [1.0]}},
        ),
        ("{}", {}),
        ("views: {flips: [none], scales: [1.0e9]}", "views.scales.0"),
        ("views: {flips: [], scales: [1.0]}", "views.flips"),
        ("views: {flips: [x], scales: [1.0]}", "views.flips.0"),
        ("a: &a [x]\nb: [*a, *a]", "aliases"),
        ("inference: {no_object_competes: true}", {"inference": {"no_object_competes": True}}),
        ("inference: {score_threshold: 1.5}", "less than 1"),
        ("inference: {score_threshold: .nan}", "score_threshold"),
        ("inference: {max_instances: 1.5}", "max_instances"),
        ("inference: {max_instances: 1e9}", "max_instances"),
        ("inference: {_target_: os.system}", "_target_"),
        ("inference: 3", "inference"),
        ("3", "the file"),
        ("", "the file"),
        ("[", "is no YAML"),
    ],
)
def test_tuned_settings_are_numbers_of_inference_and_views(text: str, expected: object) -> None:
    if isinstance(expected, dict):
        assert parse_tuned(text, "settings").plain() == expected
        return
    with pytest.raises(UserError, match=str(expected)):
        parse_tuned(text, "settings")


def read(path: Path | None) -> TunedSettings:
    return read_tuned(None if path is None else str(path))[0]


def test_settings_of_a_file_go_below_the_user_s_own(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "inference": {"score_threshold": 0.3, "mask_threshold": 0.4},
                "views": {"flips": ["none", "horizontal"], "scales": [1.0]},
            }
        )
    )
    tuned = read(path)
    merged = tuned.with_overrides({"inference": {"score_threshold": 0.6}, "data": {"root": "x"}})
    assert merged == {"inference": {"score_threshold": 0.6, "mask_threshold": 0.4}, "data": {"root": "x"}}
    assert tuned.choose_views(ViewSettings(["none"], [1.0])).flips == ["none", "horizontal"]
    with pytest.raises(UserError, match="views: the tuned settings name other ones"):
        tuned.choose_views(ViewSettings(["both"], [1.0]))
    plain = ViewSettings(["none"], [1.0])
    assert read(None).choose_views(plain) is plain
    assert read(None).with_overrides({}) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "the file"),
        ("inference: {score_threshold: 2}\n", r"inference\.score_threshold"),
        ("inference: {score_threshold: high}\n", r"inference\.score_threshold"),
        ("inference: {_target_: os.system}\n", r"inference\._target_"),
        ("data: {root: /}\n", "data"),
        ("views: {flips: [sideways], scales: [1.0]}\n", r"views\.flips"),
        ("a: &a [1]\nb: *a\n", "aliases"),
        ("a: [\n", "no YAML"),
        ("a: \x00\n", "no YAML"),
        ("#" * 70_000, "more than"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=rf"settings: .*{message}") as told:
        read(path)
    assert "\n" not in str(told.value)
