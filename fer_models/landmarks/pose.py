"""Head pose from landmarks in three dimensions, by rotating a mean face onto them."""

import numpy as np

# Points that hardly move with expressions: temples, nose and corners of the eyes.
RIGID_POINTS = (0, 1, 15, 16, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45)
# The symmetric mean face of 294 images of FER-2013, by Procrustes analysis of the labels of the teacher. x points
# to the right in the image, y down, z away from the camera; the outer eye corners are 1 apart. It faces the camera: the
# median face of these images has pitch 0.
MEAN_FACE_XYZ = np.array(
    (
        (-0.772, -0.199, 0.567),
        (-0.765, -0.048, 0.621),
        (0.765, -0.048, 0.621),
        (0.772, -0.199, 0.567),
        (0.0, -0.241, -0.21),
        (0.0, -0.07, -0.308),
        (0.0, 0.004, -0.364),
        (0.0, 0.174, -0.447),
        (-0.193, 0.272, -0.164),
        (-0.089, 0.297, -0.233),
        (0.0, 0.301, -0.252),
        (0.089, 0.297, -0.233),
        (0.193, 0.272, -0.164),
        (-0.5, -0.212, 0.031),
        (-0.201, -0.194, -0.03),
        (0.201, -0.194, -0.03),
        (0.5, -0.212, 0.031),
    )
)


def head_pose_deg(points_xyz: np.ndarray) -> np.ndarray:
    """Compute yaw, pitch and roll (m, 3) float64 in degrees from landmarks (m, 70, 3), in any unit.

    Yaw is positive if the face turns toward the image's right, pitch if it looks up, roll if it is turned clockwise in
    the image. The rotation is the least-squares fit of the mean face (Kabsch 1976). The head rolls last, so that
    rotating the image changes only the roll.
    """
    points = points_xyz[:, RIGID_POINTS].astype(np.float64)
    points -= points.mean(axis=1, keepdims=True)
    mean_face = MEAN_FACE_XYZ - MEAN_FACE_XYZ.mean(axis=0)
    u, _, vt = np.linalg.svd(np.einsum("ki,mkj->mij", mean_face, points))
    signs = np.ones((len(points), 3))
    signs[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))  # prevents the rotation from being a reflection
    rotation = np.einsum("mji,mj,mkj->mik", vt, signs, u)
    yaw = np.arcsin(np.clip(rotation[:, 2, 0], -1, 1))
    pitch = -np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    pose: np.ndarray = np.degrees(np.stack([yaw, pitch, roll], axis=1))
    return pose
