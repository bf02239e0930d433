"""The phantom's images: reproducible, anatomically sound, and neither trivial nor unlabelled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from modise_lightning.configuration.command_line import config_directory
from modise_lightning.data.sources.phantom.anatomy import draw_breasts, draw_view
from modise_lightning.data.sources.phantom.generator import PhantomImage, generate_patient
from modise_lightning.data.sources.phantom.lesions import (
    LESION_KINDS,
    Lesion,
    LesionKind,
    LesionStatistics,
    render_lesion,
)
from modise_lightning.data.sources.phantom.noise import power_law_noise

STATISTICS = LesionStatistics(
    count_probabilities=(0.15, 0.50, 0.25, 0.10),
    kind_probabilities=(0.34, 0.36, 0.30),
    mass_diameter=(0.06, 0.20),
    cluster_diameter=(0.08, 0.20),
    benign_contrast=(0.22, 0.36),
    malignant_contrast=(0.44, 0.72),
    calcification_contrast=(0.35, 0.80),
)


def patient(seed: int, size: int = 128, statistics: LesionStatistics = STATISTICS) -> list[PhantomImage]:
    return generate_patient(np.random.SeedSequence(seed), size, 0.67, statistics)


@pytest.fixture(scope="module")
def patients() -> list[list[PhantomImage]]:
    return [patient(seed, size=256) for seed in range(12)]


def test_equal_seeds_give_equal_images_and_other_seeds_others() -> None:
    first, second, other = patient(3), patient(3), patient(4)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))
    assert all(np.array_equal(a.segment_ids, b.segment_ids) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0].pixels, other[0].pixels)


def test_a_patient_has_both_views_of_one_or_two_breasts_with_the_same_lesions(
    patients: list[list[PhantomImage]],
) -> None:
    sides = Counter()
    for images in patients:
        views = [(image.laterality, image.view) for image in images]
        assert views in (
            [("L", "CC"), ("L", "MLO")],
            [("R", "CC"), ("R", "MLO")],
            [("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")],
        )
        for cc, mlo in zip(images[::2], images[1::2], strict=True):
            assert cc.kinds == mlo.kinds
            sides[cc.laterality] += 1
    assert sides["L"] > 0
    assert sides["R"] > 0
    assert {len(images) for images in patients} == {2, 4}


def test_all_kinds_and_lesion_free_images_occur(patients: list[list[PhantomImage]]) -> None:
    images = [image for images in patients for image in images]
    assert {kind for image in images for kind in image.kinds} == set(LESION_KINDS)
    assert {len(image.kinds) for image in images} >= {0, 1, 2}
    assert max(len(image.kinds) for image in images) <= 3


def test_segments_are_numbered_whole_and_inside_the_breast(patients: list[list[PhantomImage]]) -> None:
    for image in (image for images in patients for image in images):
        assert sorted(np.unique(image.segment_ids)) == list(range(len(image.kinds) + 1))
        # Air is black; the blur of the detector lightens one or two pixels around the breast.
        breast = ndimage.binary_fill_holes(ndimage.gaussian_filter(image.pixels / 65535, 1) > 0.03)
        assert (breast | (image.segment_ids == 0)).all()
        for number in range(1, len(image.kinds) + 1):
            mask = image.segment_ids == number
            assert ndimage.label(mask, structure=np.ones((3, 3)))[1] == 1
            diameter = 2 * np.sqrt(mask.sum() / np.pi) / 256
            assert 0.045 <= diameter <= 0.22


def test_the_chest_wall_is_on_the_side_of_a_standard_display(patients: list[list[PhantomImage]]) -> None:
    for image in (image for images in patients for image in images):
        left, right = image.pixels[:, :8].mean(), image.pixels[:, -8:].mean()
        assert (left > right) == (image.laterality == "L")


def test_mlo_shows_the_pectoral_muscle_and_cc_does_not() -> None:
    rng = np.random.default_rng(0)
    breast = draw_breasts(rng, 1)[0]
    assert draw_view(rng, breast, "CC", 64).pectoral.max() == 0
    pectoral = draw_view(rng, breast, "MLO", 64).pectoral
    assert pectoral[0, 0] == 1
    assert pectoral[-1].max() == 0


def test_no_threshold_segments_the_lesions() -> None:
    """The shipped phantom asks for more than brightness.

    The best of all global thresholds, chosen with the ground truth in hand, must stay under an IoU of a half
    with the lesions of all images (a Dice of 2 / 3): by the usual measure it does not even match them, and it
    tells neither touching lesions nor their classes apart. A phantom above it were solved by brightness.
    """
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        shipped = compose("prepare", overrides=["data=phantom"]).data.preparer
    statistics = LesionStatistics(
        count_probabilities=tuple(shipped.lesion_count_probabilities),
        kind_probabilities=tuple(shipped.lesion_kind_probabilities),
        mass_diameter=tuple(shipped.mass_diameter),
        cluster_diameter=tuple(shipped.cluster_diameter),
        benign_contrast=tuple(shipped.benign_contrast),
        malignant_contrast=tuple(shipped.malignant_contrast),
        calcification_contrast=tuple(shipped.calcification_contrast),
    )
    images = [
        image for seed in range(24) for image in patient(seed, shipped.image_size, statistics=statistics)
    ]
    assert len(images) > 48
    pixels = np.stack([image.pixels for image in images])
    lesion = np.stack([image.segment_ids > 0 for image in images])
    # Of every threshold, from the two cumulative histograms.
    inside = np.bincount(pixels[lesion] >> 4, minlength=4096)[::-1].cumsum()
    everywhere = np.bincount(pixels.ravel() >> 4, minlength=4096)[::-1].cumsum()
    dice = 2 * inside / (everywhere + lesion.sum())
    assert dice.max() < 2 / 3


def test_lesions_are_brighter_than_their_surroundings_on_average(patients: list[list[PhantomImage]]) -> None:
    differences = []
    for image in (image for images in patients for image in images):
        for number in range(1, len(image.kinds) + 1):
            mask = image.segment_ids == number
            ring = ndimage.binary_dilation(mask, iterations=8) & (image.segment_ids == 0)
            differences.append((image.pixels[mask].mean() - image.pixels[ring].mean()) / 65535)
    assert len(differences) > 20
    assert np.mean(differences) > 0.08  # visible
    assert min(differences) < 0.08  # but some are subtle


def test_the_breast_has_mammographic_texture(patients: list[list[PhantomImage]]) -> None:
    inner = patients[0][0]
    assert inner.pixels.dtype == np.uint16
    values = inner.pixels[inner.pixels > 0.05 * 65535] / 65535
    assert np.std(values) > 0.08
    assert 0.5 < np.percentile(values, 99.5) <= 1


def test_the_size_is_a_parameter_that_leaves_the_anatomy_alone() -> None:
    for seed in range(4):
        for small, large in zip(patient(seed, size=96), patient(seed, size=192), strict=True):
            assert small.pixels.shape == (96, 96)
            assert large.segment_ids.shape == (192, 192)
            assert small.kinds == large.kinds
            area = (small.segment_ids > 0).mean(), (large.segment_ids > 0).mean()
            assert area[0] == pytest.approx(area[1], rel=0.2, abs=1e-3)  # a small lesion has few pixels


def test_power_law_noise_has_the_spectrum_it_promises() -> None:
    noise = np.stack([power_law_noise(np.random.default_rng(seed), 128, 3.0) for seed in range(20)])
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(0)
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None]) * 128
    rings = np.arange(3, 40)
    mean_power = [power[np.round(radius) == ring].mean() for ring in rings]
    slope = np.polyfit(np.log(rings), np.log(mean_power), 1)[0]
    assert slope == pytest.approx(-3.0, abs=0.1)


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(LESION_KINDS),
    radius=st.floats(0.03, 0.10),
    aspect=st.floats(1.0, 1.5),
    centre=st.tuples(st.floats(0.25, 0.75), st.floats(0.25, 0.75)),
    rotation=st.floats(0, np.pi),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_rendered_lesion_has_its_place_and_size(
    kind: LesionKind,
    radius: float,
    aspect: float,
    centre: tuple[float, float],
    rotation: float,
    seed: int,
) -> None:
    lesion = Lesion(kind=kind, radius=radius, contrast=0.4, aspect=aspect, nipple_distance=0.5, seed=seed)
    rendered = render_lesion(lesion, centre, rotation, 256)
    rows, columns = np.nonzero(rendered.mask)
    assert np.hypot(columns.mean() / 256 - centre[0], rows.mean() / 256 - centre[1]) < 0.5 * radius
    assert 0.6 * radius < np.sqrt(rendered.mask.sum() / np.pi) / 256 < 1.35 * radius
    assert rendered.brightness[rendered.mask].max() > 0.1
    faint = replace(lesion, contrast=0.2)
    np.testing.assert_allclose(
        render_lesion(faint, centre, rotation, 256).brightness, rendered.brightness / 2, atol=1e-5
    )
