"""The 24 SMPL joints: names, parents, left/right pairs and actuation groups, in SMPL's order."""

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
NUM_BODIES = len(JOINT_NAMES)
NUM_JOINTS = NUM_BODIES - 1
NUM_Q = 7 + 4 * NUM_JOINTS
NUM_V = 6 + 3 * NUM_JOINTS

# Position i holds the index of the joint on the other side of the body (itself on the midline).
MIRROR = tuple(
    JOINT_NAMES.index(name.replace("left_", "*").replace("right_", "left_").replace("*", "right_"))
    for name in JOINT_NAMES
)

# Actuation group of each joint: gains and effort limits are given per group (see humanoid.py).
GROUPS = (
    "root", "leg", "leg", "spine", "leg", "leg", "spine", "leg", "leg",
    "spine", "toe", "toe", "arm", "arm", "arm", "arm", "arm",
    "arm", "arm", "arm", "hand", "hand", "hand", "hand",
)  # fmt: skip

# Joint, what a positive value does, and the sign that makes the torque about the segment's x axis (to the left) the
# internal moment of gait analysis: extension and plantar flexion are positive (Winter 2009).
SAGITTAL = (("hip", "extension", 1.0), ("knee", "extension", -1.0), ("ankle", "plantar flexion", 1.0))

LEFT_FOOT = (JOINT_NAMES.index("left_ankle"), JOINT_NAMES.index("left_foot"))
RIGHT_FOOT = (JOINT_NAMES.index("right_ankle"), JOINT_NAMES.index("right_foot"))


def joint_index(name: str) -> int:
    """Index of a joint by name; an unknown name raises ValueError that lists the known ones."""
    try:
        return JOINT_NAMES.index(name)
    except ValueError:
        raise ValueError(f"unknown joint {name!r}; known joints: {', '.join(JOINT_NAMES)}") from None
