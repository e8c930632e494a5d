"""The modality ``imu``: a clip's inertial signal in physical units, stretched to a fixed number of samples.

Channels are accelerations x, y, z and then rotations x, y, z of one sensor or of several (three and three).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import InputSpec, StoreError, UsageError
from mg_data.store import read_features, write_features

Array = NDArray[np.float32]
# What a unit is divided by, so that everyday movement is about 1.
UNITS: Mapping[str, float] = {"g": 1.0, "m/s2": 9.80665, "deg/s": 150.0, "rad/s": 2.617994}


class Imu:
    """(C, samples) float32 of one signal in a features store.

    Args:
        path: features store; the signal carries ``rate_hz`` and ``units``.
        signal: its name.
        samples: T, to which a clip is stretched by linear interpolation.
        seconds: look at so much of the clip's middle, silence around shorter ones; 0 is all of it.
        crop: smallest share of the clip that a training sample shows.
        rotate_degrees: how far a training sample turns the sensor on the limb, about a random axis.
        scale: by how much a training sample is stronger or weaker. warp: by how much its speed varies.
        noise: standard deviation added to training samples, in scaled units.

    Raises:
        UsageError: an option out of range. StoreError: no such signal, or units that are not known.
    """

    def __init__(
        self,
        path: Path,
        *,
        signal: str = "inertial",
        samples: int = 128,
        seconds: float = 0.0,
        crop: float = 0.8,
        rotate_degrees: float = 15.0,
        scale: float = 0.15,
        warp: float = 0.2,
        noise: float = 0.05,
    ) -> None:
        if samples < 2 or seconds < 0 or not 0 < crop <= 1 or not 0 <= warp < 1:
            raise UsageError(
                f"modality imu: samples {samples}, seconds {seconds}, crop {crop}, warp {warp}: wanted "
                "samples from 2 on, seconds from 0 on, crop in (0, 1], warp in [0, 1)"
            )
        self._store = read_features(path)
        self._signal = signal
        facts = self._store.signal_attributes(signal)
        channels = int(facts["channels"])
        self._divisor = _divisor(path, signal, channels, str(facts.get("units", "")))
        self._rate_hz = float(facts.get("rate_hz", 0.0))
        if seconds and self._rate_hz <= 0:
            raise StoreError(path, f"signal '{signal}' has no rate_hz, which the option seconds needs")
        self._seconds, self._crop, self._turn = seconds, crop, np.deg2rad(rotate_degrees)
        self._scale, self._warp, self._noise = scale, warp, noise
        self.clip_ids = self._store.clip_ids
        self._row = {str(clip_id): row for row, clip_id in enumerate(self.clip_ids)}
        self.input = InputSpec(
            kind="signal", shape=(channels, samples), extra={"signal": signal, "rate_hz": self._rate_hz}
        )

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> Array:
        """Return a training sample with a generator, else the one test sample.

        Raises:
            StoreError: no such clip.
        """
        if clip_id not in self._row:
            raise StoreError(self._store.path, f"holds no clip '{clip_id}'", "import its signal too")
        values = self._store.signal(self._signal, self._row[clip_id]) / self._divisor  # (T', C)
        values = self._window(values)
        samples = self.input.shape[1]
        if not len(values):
            return np.zeros(self.input.shape, np.float32)
        times = np.linspace(0, 1, samples) if rng is None else self._times(samples, rng)
        known = np.linspace(0, 1, len(values))
        sample = np.stack([np.interp(times, known, column) for column in values.T])  # (C, T)
        if rng is not None:
            sample = self._augment(sample, rng)
        return np.ascontiguousarray(sample, np.float32)

    def views(self, clip_id: str) -> list[Array]:
        """Return the test sample."""
        return [self.sample(clip_id, None)]

    def flip(self, sample: Array) -> Array:
        """Return the sample as it is.

        A movement's mirror image is the same movement of the other arm, which wears no sensor; and how the
        sensor's axes lie on the limb is not recorded. So this modality is trained with ``flip = false``.
        """
        return sample.copy()

    def _window(self, values: Array) -> Array:
        """Return the middle ``seconds``, with zeros around a shorter clip."""
        if not self._seconds:
            return values
        length = max(2, round(self._seconds * self._rate_hz))
        if len(values) >= length:
            begin = (len(values) - length) // 2
            return values[begin : begin + length]
        before = (length - len(values)) // 2
        return np.pad(values, ((before, length - len(values) - before), (0, 0)))

    def _times(self, samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return ascending times in [0, 1] of a random part of the clip, at a speed that varies."""
        length = rng.uniform(self._crop, 1.0)
        begin = rng.uniform(0, 1 - length)
        knots = rng.uniform(1 - self._warp, 1 + self._warp, 5)
        speed = np.interp(np.linspace(0, 1, samples), np.linspace(0, 1, 5), knots)
        passed = np.concatenate([[0.0], np.cumsum(speed[1:])])
        return np.asarray(begin + length * passed / passed[-1])

    def _augment(self, sample: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        channels, samples = sample.shape
        if channels % 3 == 0:  # one rotation for all triplets: they are axes of one sensor
            matrix = _rotation(rng, self._turn)
            sample = np.einsum("ij,sjt->sit", matrix, sample.reshape(-1, 3, samples)).reshape(
                channels, samples
            )
        sample = sample * rng.uniform(1 - self._scale, 1 + self._scale)
        return np.asarray(sample + self._noise * rng.standard_normal(sample.shape))


def _divisor(path: Path, signal: str, channels: int, units: str) -> NDArray[np.float32]:
    """Return (C,) what the channels are divided by; the units are those of the first and the second half."""
    names = [part.strip() for part in units.split(",") if part.strip()]
    unknown = [name for name in names if name not in UNITS]
    if unknown or not names or channels % len(names):
        raise StoreError(
            path,
            f"signal '{signal}' of {channels} channels has the units '{units}'",
            f"wanted one of {', '.join(UNITS)} for each equal part of the channels, such as 'g, deg/s'",
        )
    return np.repeat([UNITS[name] for name in names], channels // len(names)).astype(np.float32)


def _rotation(rng: np.random.Generator, largest: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation by up to ``largest`` radians about a random axis (Rodrigues)."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = rng.uniform(-largest, largest)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def write_example(folder: Path) -> Path:
    """Write a features store of four clips; ``mg plugins check`` reads it."""
    rng = np.random.default_rng(0)
    times = [np.linspace(0, seconds, int(50 * seconds))[:, None] for seconds in (2.0, 1.3, 3.1, 0.8)]
    signals = [
        np.sin(2 * np.pi * (1 + number) * time + rng.uniform(0, 6, 6)) * np.array([1, 1, 1, 90, 90, 90])
        for number, time in enumerate(times)
    ]
    write_features(
        folder / "imu.h5",
        clip_ids=["c1", "c0", "c3", "c2"],
        signals={"inertial": signals},
        attributes={"inertial": {"rate_hz": 50.0, "units": "g, deg/s"}},
        dataset="example",
    )
    return folder / "imu.h5"
