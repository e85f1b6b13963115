"""Rotation matrices as Rodrigues vectors and angles, to the last digits.

``cv2.Rodrigues`` calls every turn below 1e-5 rad none at all (0.02 px of a 2,000 px lens), and loses
half the digits near 180 degrees.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def vector_of(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 3"]:
    """The Rodrigues vector of a rotation matrix, of length 0 to pi (Shepperd 1978, then the half angle)."""
    m = np.asarray(matrix, dtype=np.float64)
    squares = 1 + np.array([m.trace(), *(2 * m.diagonal() - m.trace())])
    largest = int(squares.argmax())
    # Four times the quaternion's largest part, times all its parts w, x, y, z.
    products = np.array(
        [
            [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], squares[1], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], squares[2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[3]],
        ]
    )[largest]
    q = products / np.linalg.norm(products)
    if q[0] < 0:
        q = -q
    sine = float(np.linalg.norm(q[1:]))
    if sine == 0:
        return np.zeros(3)
    return q[1:] / sine * (2 * np.arctan2(sine, q[0]))


def angle_deg(a: Float[np.ndarray, "*lead 3 3"], b: Float[np.ndarray, "*lead 3 3"]) -> Float[np.ndarray, "*lead"]:
    """The angle between rotations, in degrees; exact for small ones too, which an arc cosine is not."""
    turn = np.asarray(a) @ np.swapaxes(b, -1, -2)
    across = [turn[..., i, j] - turn[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))]
    cosine = (np.trace(turn, axis1=-2, axis2=-1) - 1) / 2
    return np.degrees(np.arctan2(np.linalg.norm(across, axis=0) / 2, cosine))
