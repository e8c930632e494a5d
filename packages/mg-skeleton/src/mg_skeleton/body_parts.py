"""Groups of connected keypoints, worked out from a layout's bones alone, so that any layout has them."""

from __future__ import annotations

from mg_data.contract import LayoutSpec
from mg_data.keypoints.layouts import flip_permutation


def body_parts(layout: LayoutSpec, smallest: int = 2) -> tuple[tuple[int, ...], ...]:
    """Cut the tree of bones at its forks into limbs: each keypoint belongs to one part.

    A chain of keypoints without a fork is a part. One of fewer than ``smallest`` keypoints joins the part its
    bone starts at; if the centre is then left alone, it joins the chain in the plane of symmetry. As
    mirrored keypoints have mirrored parents, the flip maps parts to parts.

    Returns:
        Parts in order of their distance from the centre, then of their first keypoint; in each the keypoints
        from the centre outwards.
    """
    parents = layout.parents
    children: list[list[int]] = [[] for _ in parents]
    for point, parent in enumerate(parents):
        if point != parent:
            children[parent].append(point)

    order = [layout.centre]  # breadth first
    for point in order:
        order.extend(children[point])
    start: dict[int, int] = {}  # keypoint -> first keypoint of its chain
    for point in order:
        parent = parents[point]
        alone = point != parent and len(children[parent]) == 1
        start[point] = start[parent] if alone else point

    chains: dict[int, list[int]] = {}
    for point in order:
        chains.setdefault(start[point], []).append(point)
    for first in reversed(list(chains)):  # the outermost first
        if first != layout.centre and len(chains[first]) < smallest:
            chains[start[parents[first]]].extend(chains.pop(first))

    if len(chains[layout.centre]) < smallest:
        flip = flip_permutation(layout)
        middle = [first for first in chains if first != layout.centre and flip[first] == first]
        if middle:
            chains[middle[0]] = chains.pop(layout.centre) + chains[middle[0]]
    rank = {point: place for place, point in enumerate(order)}
    parts = [tuple(sorted(chain, key=rank.__getitem__)) for chain in chains.values()]
    return tuple(sorted(parts, key=lambda part: rank[part[0]]))
