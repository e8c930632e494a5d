"""The 468-point face mesh of MediaPipe: its flip, its edges, and where its points lie in a neutral face.

Facts about the model that two packages of the mesh's publisher carry (both under the Apache 2.0 licence),
here brought into a compact form:

- Edges: ``FACEMESH_TESSELATION`` in ``mediapipe/python/solutions/face_mesh_connections.py`` of the PyPI wheel
  mediapipe 0.10.21, each edge once and without direction (1322).
- Positions: the vertex buffer (468 times x, y, z, u, v) of the canonical face mesh in
  ``face_mesh_solution_packed_assets.data`` of the npm package @mediapipe/face_mesh 0.4.1657299874; the wheel
  itself has no mesh. Kept are x and y in hundredths of a centimetre, y turned downwards.

The flip is the permutation that takes x to -x in the canonical mesh, where it is exact. The numbering makes
it short: points 0 to 247 are the person's right half and the line in the middle; points 248 to 467 are the
left half, in the order of their mirror images. So half of each table is enough. In six places the published
edges are not symmetric (the two halves cut one four-sided patch along different diagonals): there the left
half follows the right one.

Plain Python, no numpy: it is read whenever plugins are listed.
"""

from __future__ import annotations

from mg_data.keypoints._graph import Edge, chain

SIZE = 468
_HALF = 248
# The middle of the face from the forehead down to the chin. Each step is an edge of the mesh except 13-14:
# the lips are open, and a bone closes the gap.
MIDLINE = (
    *(10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 164, 0, 11, 12, 13),
    *(14, 15, 16, 17, 18, 200, 199, 175, 152),
)
NOSE_TIP = 4

# x y of points 0 to 247; x grows to the viewer's right, so the person's right half is negative.
_XY = """
0 341 0 113 0 209 -46 -96 0 46 0 -37 0 -247 -425 -258 0 -402 0 -489 0 -826 0 371 0 392 0 399 0 454 0 475 0
502 0 537 0 615 0 150 -42 147 -709 -543 -263 -204 -320 -199 -378 -204 -447 -242 -216 -219 -321 -322 -267
-321 -375 -317 -416 -306 -506 -193 -227 743 -445 -266 -721 -226 -580 -235 -284 72 -71 333 -61 392 -143 350
-191 380 -113 397 -156 408 -265 500 -43 109 -50 48 -525 -388 -172 -97 -161 94 -165 61 -477 70 -48 -30 -373
-451 -459 -430 -628 -662 -122 -414 -219 -310 -310 435 -672 479 -119 131 -73 159 -246 434 -220 430 -499
-480 -159 126 -264 -452 -276 -510 -352 -801 -560 -572 -306 -657 -572 -425 -637 -479 -67 369 -126 379 -173
395 -104 146 -232 433 -206 448 -215 428 -95 104 -147 404 -102 399 -53 399 -77 610 -70 529 -67 495 -63 470
-58 452 -154 442 -162 448 -173 462 -184 483 -237 311 -754 105 0 172 -183 440 -193 441 -60 201 -141 171 -66
182 -234 -57 -333 -10 -173 92 -513 -749 -454 -632 -399 -511 -217 544 -140 -501 -162 -660 -189 -824 -420
-224 -573 -141 -186 -236 -499 -307 -130 -142 -131 67 -647 -94 -526 -95 -443 -72 -330 -86 -243 -113 -182
-147 -56 -231 -634 53 -559 -321 -24 146 -161 -34 -774 -236 -139 -185 -179 98 -467 -266 -133 28 -727 289
-186 -259 -92 -7 -500 614 -509 718 -716 81 -584 525 -685 -366 -241 826 -18 169 -210 16 -641 -224 -367 -236
-318 -229 -220 460 -623 194 -129 930 -321 853 -407 799 0 -655 0 940 -272 -232 -229 -240 -200 -250 -613
-340 -229 -289 -272 -296 -318 -296 -367 -293 -402 -286 -756 -411 -402 -248 0 252 -178 268 -122 118 -73 254
0 -327 -414 700 -331 766 -131 864 -594 622 -200 -274 -90 -124 0 877 -231 897 -695 244 -110 446 -118 458
-126 479 -133 511 -155 582 -195 418 -212 414 -229 405 -285 367 -528 224 -95 -191 -131 -310 -178 -286 -185
410 -544 403 -77 -318 -194 661 0 -106 -52 -158 0 -173 -125 -23 0 794 0 699 -100 693 -329 538 -231 157 -268
611 -383 154 -296 227 -439 268 -122 783 -154 14 -388 604 -308 681 -375 450 -609 321 -459 473 -658 394 -349
320 -126 -80 -113 93 -144 114 -92 53 -176 -353 -263 -371 -339 -372 -408 -368 -462 -347 -517 -254 -730 -76
-471 -165 -407 -148 -327 -147 -253 -162 -197 -186 -158 -210 -766 -67 -140 134 -88 -66 -77 97 -46 133 -75
107 -124 159 -39 141 -32 161 -164 -256 -126 -247 -103 -238 -425 -277 -453 -291
"""

# Walks along the edges of the right half and the middle; together they use each edge once.
_WALKS = """
0 37 39 72 38 41 42 74 40 92 165 97 98 129 64 48 131 220 44 237 79 166 20 99 240 235 219 218 115 131 49
129 126 100 101 120 230 22 23 229 117 123 187 214 135 138 215 177 123 111 143 34 139 71 63 46 53 52 63 104
69 107 55 193 122 196 236 51 134 45 4 44 19 141 241 242 97 167 2 141 125 237 220 134 198 217 47 128 232
112 26 22 231 120 100 36 205 50 118 101 205 187 147 213 192 214 169 211 32 201 83 181 91 43 57 61 76 62 96
77 90 180 85 86 179 85 17 84 83 182 194 204 202 212 186 185 184 183 42 81 38 12 72 73 39 165 203 206 216
207 187 50 117 228 25 226 247 30 225 113 247 33 25 110 24 144 23 230 118 119 101 36 142 126 209 217 114
188 245 244 189 221 28 27 222 65 52 223 29 160 27 159 28 56 190 133 112 233 128 121 232 26 154 155 112 243
189 55 9 108 67 104 68 21 54 68 63 70 156 46 124 35 111 31 226 113 35 143 227 137 116 123 137 93 132 58
172 136 150 170 140 171 148 140 211 210 169 135 150 149 170 176 148 175 171 208 201 18 200 199 208 32 194
106 43 146 91 77 62 78 96 88 89 90 181 180 179 178 86 15 14 87 86 14, 1 4 51 3 196 174 236 3 195 197 6 122
168 193 8 9 107 66 105 69 108 109 151 10 109 67 103 104 105 52 222 221 65 55 221 190 173 157 28 158 157 56
173 133 243 244 193 245 128 188 174 114 47 100 121 120 232 231 230 229 228 110 7 25 130 247 161 30 224 53
223 224 225 46 70 71 162 127 34 156 139 127 234 227 116 111 117 31 228 24 23 145 22 153 145 144 163 7 33
246 161 160 30 29 27 223 222 28, 2 164 37 11 72 41 74 184 61 185 40 186 57 202 214 212 216 92 206 165 98
64 49 48 219 166 60 75 59 235 64 240 60 20 238 79 218 166 75 235 48 115 220 45 44 125 241 239 237 218 220,
3 197 196 6 168 8 55, 4 5 51 195 5, 9 151 108 107 65 66 69 67, 13 82 81 80 183 76 146 61 43 204 106 182 91
90 96 89 179 88 95 78 191 62 183 191 80 42 184 76 77 146, 16 17 18 83 17, 19 94 141 242 99 97 2 94, 22 154
153, 24 229 118 117, 25 31, 29 224, 33 130 226 35, 39 167 37 72, 43 202 210 204 211 170 169 150, 44 1 19
125, 45 51, 46 113 124 143 156 124, 52 66, 56 221, 60 99 98 203 129 209 131 198 236 217 126 47 121, 64 102
49 209 198, 68 71 21 162 139 70, 73 40 39 92 186 216 205 207 212 57 185 74 73 41 81, 75 240 98, 82 38 13
12 11 0 164 167 165, 84 85 15 16 85, 87 178 88, 89 180 84 181 182 201 194 211, 91 106, 95 96, 97 141, 100
142 129 102, 101 50 123 147 177 58 215 213 138 192 135 136 138 172 215 147, 103 54 104, 105 63 53 225 247
246, 111 226, 112 244 233 245 122 188 196, 114 128, 115 219 59 166, 116 143, 120 119 230, 131 134 236, 133
155 26 231, 142 203 36 206 205, 144 110 163, 148 152 175 199 171 32 140 176 149, 158 159 160, 174 217, 192
187 213, 193 189 190 243, 201 200 208, 207 214 210, 232 233, 237 241 238 239 79 20 242 238, 34 227 93 234
34, 132 137 177 132
"""

# The point of the mesh at each of the 68 landmarks of the face, by the index lists that are in common use.
# All lie on the contour of their name in the wheel's tables (oval, brows, nose, eyes, lips), and mirrored
# landmarks have mirrored points. Where lists differ, geometry decides: the jaw begins at the height of the
# eyes and its points are spread evenly; the lower line of the nose ends at its wings (98, 327). The mesh has
# no pupils.
LANDMARKS_68 = (
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)


def _flip() -> tuple[int, ...]:
    flip = list(range(SIZE))
    right = (point for point in range(_HALF) if point not in MIDLINE)
    for left, point in enumerate(right, start=_HALF):
        flip[point], flip[left] = left, point
    return tuple(flip)


FLIP = _flip()
PAIRS: tuple[Edge, ...] = tuple((FLIP[point], point) for point in range(_HALF) if FLIP[point] != point)


def _both_halves(edges: list[Edge]) -> tuple[Edge, ...]:
    mirrored = [(FLIP[a], FLIP[b]) for a, b in edges if FLIP[a] != a or FLIP[b] != b]
    return (*edges, *mirrored)


def _bones_and_closing() -> tuple[tuple[Edge, ...], tuple[Edge, ...]]:
    """Divide the edges into a tree that mirrors onto itself and the rest.

    The tree is the middle line, from which each half is reached on the fewest edges, neighbours in the order
    in which the walks meet them.
    """
    edges = [edge for walk in _WALKS.split(",") for edge in chain(*map(int, walk.split()))]
    near: list[list[int]] = [[] for _ in range(_HALF)]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    bones = list(chain(*MIDLINE))
    front, reached = list(MIDLINE), set(MIDLINE)
    for point in front:
        for other in near[point]:
            if other not in reached:
                reached.add(other)
                front.append(other)
                bones.append((point, other))
    used = {*bones, *((b, a) for a, b in bones)}
    return _both_halves(bones), _both_halves([edge for edge in edges if edge not in used])


BONES, CLOSING = _bones_and_closing()


def _positions() -> tuple[tuple[float, float], ...]:
    numbers = [int(number) / 100 for number in _XY.split()]
    half = list(zip(numbers[::2], numbers[1::2], strict=True))
    return (*half, *((-half[FLIP[point]][0], half[FLIP[point]][1]) for point in range(_HALF, SIZE)))


# (468) x, y in centimetres, x to the viewer's right, y downwards, about the middle of the face.
POSITIONS = _positions()
