"""Drawings: what is seen is drawn where it lies, in the colour of its side; arguments stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mg_data.contract import DataError
from mg_data.drawing.clip import ClipView, Look, draw_frame
from mg_data.drawing.layout_plot import plot_layout
from mg_data.drawing.sheet import Tile, contact_sheet, printable, write_video
from mg_data.drawing.skeleton import (
    LEFT,
    RIGHT,
    depth_range,
    depth_to_rgb,
    draw_box,
    draw_skeleton,
    heatmap_projection,
)
from mg_data.keypoints.layouts import LAYOUTS, find_layout

cv2 = pytest.importorskip("cv2")
BODY = find_layout("body-25")


def _black(height: int = 240, width: int = 320) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def _points(**at: tuple[float, float, float]) -> np.ndarray:
    points = np.zeros((25, 3), np.float32)
    for name, place in at.items():
        points[BODY.names.index(name)] = place
    return points


def test_sides_have_their_colours_and_the_image_is_not_drawn_on() -> None:
    image = _black()
    points = _points(left_elbow=(100, 50, 1), left_wrist=(100, 90, 1), right_elbow=(200, 50, 1))
    out = draw_skeleton(image, points, BODY)
    assert (image == 0).all()
    assert np.allclose(out[50, 100], LEFT, atol=25)  # the rim of a thin line shows through a little
    assert np.allclose(out[70, 100], LEFT, atol=25)
    assert np.allclose(out[50, 200], RIGHT, atol=25)


def test_missing_points_and_their_edges_are_not_drawn() -> None:
    unseen = _points(left_elbow=(100, 50, 0.05), left_wrist=(100, 90, 0), neck=(np.nan, 3, 1))
    assert (draw_skeleton(_black(), unseen, BODY) == 0).all()
    one = draw_skeleton(_black(), _points(left_elbow=(100, 50, 1), left_wrist=(100, 200, 0)), BODY)
    assert (one[60:] == 0).all()


def test_points_far_outside_the_image_do_no_harm() -> None:
    points = _points(left_elbow=(1e30, -1e30, 1), left_wrist=(100, 90, 1), neck=(-5000, 40, 1))
    assert draw_skeleton(_black(), points, BODY)[90, 100].any()


def test_lines_are_wider_in_larger_images() -> None:
    def drawn(size: int) -> float:
        points = _points(left_elbow=(0.5 * size, 0.2 * size, 1), left_wrist=(0.5 * size, 0.8 * size, 1))
        row = draw_skeleton(_black(size, size), points, BODY)[size // 2]
        return float((row.sum(axis=1) > 200).sum())

    assert drawn(2000) >= 3 * drawn(200)


def test_metres_are_projected_by_the_camera() -> None:
    layout = find_layout("kinect-20")
    points = np.zeros((20, 3), np.float32)
    points[layout.names.index("left_hand")] = (0.5, 0.25, 2.0)
    out = draw_skeleton(_black(), points, layout, camera=(200.0, 200.0, 160.0, 120.0))
    assert np.allclose(out[95, 210], LEFT, atol=25)  # 160 + 200 * 0.5 / 2, 120 - 200 * 0.25 / 2
    with pytest.raises(DataError, match="'kinect-20' are in metres and there is no camera"):
        draw_skeleton(_black(), points, layout)


def test_a_box_is_drawn_on_its_outermost_pixels() -> None:
    image = _black()
    out = draw_box(image, np.array([40.0, 30.0, 140.0, 130.0]), thickness=1)
    assert (image == 0).all()
    assert out[30, 90].any()
    assert out[129, 90].any()
    assert out[80, 40].any()
    assert out[80, 139].any()
    assert not out[80, 90].any()
    assert np.array_equal(draw_box(image, np.array([np.nan, 0.0, 9.0, 9.0])), image)


def test_near_is_bright_and_unmeasured_pixels_are_blue() -> None:
    depth = np.array([[0, 1000, 2000, 3000]], np.uint16)
    near, far = depth_range([depth])
    image = depth_to_rgb(depth, near, far)
    assert tuple(image[0, 0]) == (0, 0, 60)
    assert image[0, 1, 0] > image[0, 2, 0] > image[0, 3, 0]
    assert depth_range([np.zeros((2, 2), np.uint16)]) == (0.0, 1.0)


def test_the_heatmap_peaks_at_the_keypoints_with_their_confidence() -> None:
    pixels, confidence = np.array([[10.5, 20.5], [40.5, 5.5], [30.0, 30.0]]), np.array([1.0, 0.5, 0.0])
    cells = heatmap_projection(pixels, confidence, np.array([0, 0, 56, 56]))
    assert cells.shape == (56, 56)
    assert cells[20, 10] == pytest.approx(1.0)
    assert cells[5, 40] == pytest.approx(0.5)
    assert cells[30, 30] == pytest.approx(0.0, abs=1e-6)
    assert not heatmap_projection(pixels, confidence * 0, np.array([0, 0, 56, 56])).any()


def test_a_sheet_has_a_row_for_each_clip_whatever_its_tiles() -> None:
    tiles = [Tile(image=np.full((60, 80, 3), 9, np.uint8), label="7") for _ in range(3)]
    odd = [Tile(image=np.full((30, 50, 3), 9, np.uint8))]
    sheet = contact_sheet([("first", tiles), ("Zoë \n 名", odd)])
    assert sheet.dtype == np.uint8
    assert (sheet.shape[1], sheet.shape[0] > 60 + 30) == (3 * 86, True)
    assert printable("Zoë\n") == "Zo\\xeb?"


def test_a_video_holds_every_frame_and_takes_frames_of_another_shape(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    tiles = [Tile(image=np.full((61, 81, 3), 40 * number, np.uint8)) for number in range(5)]
    wide = [Tile(image=np.full((300, 500, 3), 200, np.uint8))]
    size = write_video(tmp_path / "v.mp4", [("a", tiles), ("b", wide)], 12.5)
    assert size == (82, 96)
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == 12.5
    assert [round(float(frame[45, 40].mean()) / 40) for frame in frames] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_can_be_plotted(layout: object, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_layout(layout, tmp_path / "out.png")  # type: ignore[arg-type]
    image = cv2.imread(str(tmp_path / "out.png"))
    assert min(image.shape[:2]) >= 360
    assert max(image.shape[:2]) <= 4000
    assert 0.005 < float((image < 200).any(axis=-1).mean()) < 0.5


def test_a_layout_without_a_figure_is_plotted_from_its_graph(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_layout(replace(BODY, figure=()), tmp_path / "out.png")
    assert cv2.imread(str(tmp_path / "out.png")) is not None


def test_without_an_image_size_the_heatmap_is_that_of_the_frame() -> None:
    joints = _points(right_wrist=(48, 12, 1))[None, None]
    clip = ClipView(
        clip_id="c",
        video_id="v",
        start=0,
        stop=1,
        numbers=np.zeros(1, np.int64),
        joints=joints,
        boxes=np.array([[0.0, 0.0, 64.0, 64.0]]),
        boxes_of_frames=True,
    )
    drawn = [
        draw_frame(_black(64, 64), clip, 0, Look(layout=BODY, image_size=size, size=64, heatmap=True))
        for size in ((0, 0), (64, 64))
    ]
    np.testing.assert_array_equal(*drawn)
    row, column = np.unravel_index(drawn[0][:, 64:].sum(axis=2).argmax(), (64, 64))
    assert abs(row - 12) <= 1
    assert abs(column - 48) <= 1
