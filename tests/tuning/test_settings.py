"""The order of the candidates, which decides between equally good ones."""

from __future__ import annotations

from modise_lightning.tuning.settings import Bootstrap, Candidate, Grid, TuneSettings

DEFAULT = Candidate(("none",), 0.5, 0.8, 0.5)


def test_the_default_comes_first_then_what_departs_least_from_it() -> None:
    """So ``choose``, which takes the first of the best, changes nothing that makes no difference."""
    settings = TuneSettings(
        runs=["run"],
        output_dir="out",
        metric="PQ",
        iou_threshold=0.1,
        grid=Grid(
            score_threshold=[0.1, 0.4],
            overlap_threshold=[0.8, 0.0],
            mask_threshold=[0.5],
            flips=[["horizontal"], ["none"]],
        ),
        bootstrap=Bootstrap(samples=1, confidence=0.9, seed=0),
        device="cpu",
        num_threads=1,
    )
    candidates = settings.candidates(DEFAULT)
    assert candidates[:4] == [
        DEFAULT,
        Candidate(("none",), 0.4, 0.8, 0.5),
        Candidate(("none",), 0.1, 0.8, 0.5),
        Candidate(("horizontal",), 0.4, 0.8, 0.5),
    ]
    assert len(candidates) == len(set(candidates)) == 9
    assert candidates[-1] == Candidate(("horizontal",), 0.1, 0.0, 0.5)
    assert settings.candidates(candidates[5])[0] == candidates[5]
