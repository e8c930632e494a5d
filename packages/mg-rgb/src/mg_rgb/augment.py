"""Changes of a training video's colours and blanked boxes, one draw for all frames of a clip.

Random numbers come from the generator that is given. torch is imported by RandAugment alone, when it is used.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Weights of red, green and blue in brightness (ITU-R BT.601, as in torchvision).
_GREY = np.array([0.299, 0.587, 0.114])


def colour_matrix(
    brightness: float, contrast: float, saturation: float, hue: float, level: float
) -> NDArray[np.float64]:
    """Return the (3, 4) matrix of torchvision's colour jitter, in this order; 1, 1, 1, 0 changes nothing.

    All four are linear in the colour, so they make one matrix and one offset.

    Args:
        hue: a turn about the grey axis, as a share of the full circle. level: mean brightness, 0..255, that
            contrast turns about.
    """
    keep = np.outer(np.ones(3), _GREY)
    colours = saturation * np.eye(3) + (1 - saturation) * keep
    if hue:
        colours = _hue_turn(hue) @ colours
    linear = contrast * brightness * colours
    offset = (1 - contrast) * brightness * level
    return np.concatenate([linear, np.full((3, 1), offset)], axis=1)


def _hue_turn(hue: float) -> NDArray[np.float64]:
    """Turn colours about the grey axis and keep their brightness (the YIQ plane)."""
    to_yiq = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    cosine, sine = np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix: NDArray[np.float64] = np.linalg.inv(to_yiq) @ turn @ to_yiq
    return matrix


def colour_jitter_matrix(
    frame: NDArray[np.uint8], rng: np.random.Generator, *, strength: float, hue: float = 0.0
) -> NDArray[np.float32]:
    """Draw a colour jitter for a clip; ``cv2.transform`` applies the (3, 4) matrix to its frames.

    Brightness, contrast and saturation change by up to 1 +- strength each, hue by up to ``hue`` of the circle
    (0 to 0.5).

    Args:
        frame: (H, W, 3), whose mean brightness contrast turns about.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    turn = float(rng.uniform(-hue, hue)) if hue else 0.0
    level = float(np.dot(cv2.mean(frame)[:3], _GREY))
    return colour_matrix(brightness, contrast, saturation, turn, level).astype(np.float32)


def rand_augment(
    sample: NDArray[np.uint8], rng: np.random.Generator, *, operations: int, magnitude: int
) -> NDArray[np.uint8]:
    """Apply torchvision's RandAugment (Cubuk et al. 2020) to a (3, T, H, W) sample, every frame alike.

    Args:
        operations: how many are drawn, one after another. magnitude: 0 (none) to 30.
    """
    import torch
    from torchvision.transforms import v2

    frames = torch.from_numpy(sample).transpose(0, 1)  # (T, 3, H, W)
    # The library draws from torch's global generator: it is set from ours and put back as it was. Those of
    # GPUs, which torch.manual_seed would set too, are the model's: its dropout is not the loader's business.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(0, 2**63 - 1)))
        changed = v2.RandAugment(num_ops=operations, magnitude=magnitude)(frames)
    result: NDArray[np.uint8] = changed.transpose(0, 1).contiguous().numpy()
    return result


def erase_box(video: NDArray[Any], rng: np.random.Generator) -> None:
    """Set one random box (1/8 to 1/3 of the side) of a (T, H, W, ...) video to 0, in place."""
    height, width = video.shape[1:3]
    rows, columns = (int(rng.integers(max(1, n // 8), max(2, n // 3))) for n in (height, width))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    video[:, top : top + rows, left : left + columns] = 0
