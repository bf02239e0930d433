"""Random fields that the phantom's tissue is made of."""

from __future__ import annotations

import cv2
import numpy as np

from modise_lightning.data.sources.phantom.anatomy import Field


def power_law_noise(rng: np.random.Generator, size: int, exponent: float) -> Field:
    """Noise with a power spectrum that falls as frequency ** -exponent, of mean 0 and variance 1.

    Mammographic backgrounds have exponents near 3 (Burgess, Jacobson and Judy 2001, Medical Physics 28:419).

    Args:
        rng: Source of randomness.
        size: Image side in pixels.
        exponent: Exponent of the power spectrum.

    Returns:
        (S, S) noise.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * size
    amplitude = np.zeros_like(frequency)
    amplitude[frequency > 0] = frequency[frequency > 0] ** (-exponent / 2)
    noise = np.fft.irfft2(spectrum * amplitude, s=(size, size))
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)


def band_noise(rng: np.random.Generator, size: int, scale: float) -> Field:
    """Noise of one scale, of mean 0 and variance 1.

    Args:
        rng: Source of randomness.
        size: Image side in pixels.
        scale: Its correlation length.

    Returns:
        (S, S) noise.
    """
    return unit_variance(blur(rng.standard_normal((size, size), dtype=np.float32), scale * size))


def unit_variance(field: Field) -> Field:
    """Scale to mean 0 and variance 1.

    Args:
        field: Any values.

    Returns:
        The scaled values.
    """
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def blur(field: Field, sigma: float) -> Field:
    """Blur with a Gaussian.

    Args:
        field: (H, W) values.
        sigma: Standard deviation in pixels.

    Returns:
        (H, W) blurred values.
    """
    # OpenCV is an order of magnitude faster here than SciPy.
    blurred = cv2.GaussianBlur(
        np.asarray(field, dtype=np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT
    )
    return np.asarray(blurred, dtype=np.float32)
