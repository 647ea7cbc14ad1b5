"""A body of realistic form in the format of SMPL's model files, from MakeHuman's CC0 mesh, rig and shape targets."""

import gzip
import json
from pathlib import Path

import numpy as np

from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES, PARENTS

_DECIMETRE = 0.1
_BONES = {
    "pelvis": "pelvis", "hip": "thigh", "spine1": "spine_01", "knee": "calf", "spine2": "spine_02", "ankle": "foot",
    "spine3": "spine_03", "foot": "ball", "neck": "neck_01", "collar": "clavicle", "head": "head",
    "shoulder": "upperarm", "elbow": "lowerarm", "wrist": "hand", "hand": "middle_01",
}  # fmt: skip
_UNIVERSAL = "universal-male-young-{}muscle-{}weight"
_SHAPES = (
    ("african-male-young",), ("asian-male-young",), ("caucasian-male-young",),
    (_UNIVERSAL.format("average", "max"),), (_UNIVERSAL.format("average", "min"),),
    (_UNIVERSAL.format("max", "average"),), (_UNIVERSAL.format("min", "average"),),
    ("height/male-young-averagemuscle-averageweight-maxheight",),
    ("height/male-young-averagemuscle-averageweight-minheight",),
    ("male-young-averagemuscle-averageweight-idealproportions",),
)  # fmt: skip


def makehuman_fields(folder: Path, sex: str = "male", seed: int = 0) -> dict[str, np.ndarray]:
    """Fields of a model file: 13,380 vertices, 10 betas; pose directions are random, since MakeHuman has none."""
    mesh, quads = _read_obj(folder / "base.obj")
    rig = json.loads((folder / "rigs" / "rig.game_engine.json").read_text())
    groups = json.loads((folder / "basemesh_vertex_groups.json").read_text())
    weights = _read_weights(folder / "rigs" / "weights.game_engine.json", len(mesh))
    count = int(quads.max()) + 1
    races = [_read_target(folder, f"{race}-{sex}-young", len(mesh)) for race in ("african", "asian", "caucasian")]
    average = mesh + sum(races) / 3
    names = [shape.replace("male", sex) for (shape,) in _SHAPES]
    variants = [average] + [average + 0.3 * _read_target(folder, name, len(mesh)) for name in names]
    posed = [_t_pose(v * _DECIMETRE, _heads(rig, groups, v) * _DECIMETRE, weights) for v in variants]
    surfaces = np.stack([surface[:count] for surface, _ in posed])
    rng = np.random.default_rng(seed)
    return {
        "v_template": surfaces[0],
        "shapedirs": np.moveaxis(surfaces[1:] - surfaces[0], 0, -1),
        "posedirs": 0.001 * rng.standard_normal((count, 3, 207)),
        "J_regressor": _fit_regressor(surfaces, np.stack([joints for _, joints in posed])),
        "weights": weights[:count],
        "f": np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.uint32),
        "kintree_table": np.array([PARENTS, range(NUM_BODIES)]).astype(np.uint32),
    }


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All vertices, decimetres, and the quads of the group `body`, which uses the first of them."""
    vertices, quads, group = [], [], ""
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in rest])
        elif kind == "g":
            group = rest[0]
        elif kind == "f" and group == "body":
            quads.append([int(corner.split("/")[0]) - 1 for corner in rest])
    return np.array(vertices), np.array(quads)


def _read_target(folder: Path, name: str, count: int) -> np.ndarray:
    move = np.zeros((count, 3))
    with gzip.open(folder / "macrodetails" / f"{name}.target.gz", "rt") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    for index, *delta in rows:
        move[int(index)] = [float(x) for x in delta]
    return move


def _read_weights(path: Path, count: int) -> np.ndarray:
    """Skinning weights by SMPL's joints; fingers and thumbs belong to the hand."""
    weights = np.zeros((count, NUM_BODIES))
    for bone, rows in json.loads(path.read_text())["weights"].items():
        side = {"_l": "left_", "_r": "right_"}.get(bone[-2:], "")
        part = bone[:-2] if side else bone
        name = next((joint for joint, b in _BONES.items() if b == part), "hand")
        for index, weight in rows:
            weights[index, JOINT_NAMES.index(side + name)] += weight
    total = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def _heads(rig: dict, groups: dict, mesh: np.ndarray) -> np.ndarray:
    """Joints (24, 3): the bones' heads, each the middle of a small cube of helper vertices."""
    joints = []
    for name in JOINT_NAMES:
        side, _, part = name.rpartition("_")
        bone = _BONES[part] + {"left": "_l", "right": "_r", "": ""}[side]
        first, last = groups[rig[bone]["head"]["cube_name"]][0]
        joints.append(mesh[first : last + 1].mean(axis=0))
    return np.array(joints)


def _t_pose(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the A-pose: arms, forearms and hands turned to point along ±x."""
    turn = np.tile(np.eye(3), (NUM_BODIES, 1, 1))
    moved = joints.copy()
    for k in range(1, NUM_BODIES):
        parent = PARENTS[k]
        moved[k] = moved[parent] + turn[parent] @ (joints[k] - joints[parent])
        turn[k] = turn[parent]
        if JOINT_NAMES[k].endswith(("shoulder", "elbow", "wrist")):
            child = PARENTS.index(k)
            turn[k] = _align(joints[child] - joints[k], np.array([np.sign(joints[k, 0]), 0.0, 0.0]))
    local = np.einsum("kij,vkj->vki", turn, vertices[:, None] - joints) + moved
    return np.einsum("vk,vki->vi", weights, local), moved


def _align(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The shortest rotation that takes the direction of a to that of b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    x, y, z = np.cross(a, b)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + a @ b)


def _fit_regressor(surfaces: np.ndarray, joints: np.ndarray, nearest: int = 200) -> np.ndarray:
    """Even weights of the vertices around each joint, bent so far that they meet it in every shape; rows sum to 1."""
    regressor = np.zeros((NUM_BODIES, surfaces.shape[1]))
    for k in range(NUM_BODIES):
        at = np.argsort(np.linalg.norm(surfaces[0] - joints[0, k], axis=1))[:nearest]
        rows = np.moveaxis(surfaces[:, at], 1, -1).reshape(-1, nearest)
        rows -= joints[:, k].reshape(-1, 1)
        even = np.full(nearest, 1 / nearest)
        bend = rows.T @ np.linalg.solve(rows @ rows.T + 1e-4 * np.eye(len(rows)), -rows @ even)
        regressor[k, at] = (even + bend) / np.sum(even + bend)
    return regressor
