"""SMPL model files: reading, shaping and posing them, and the Body of a shaped one.

Loper et al. 2015, "SMPL: a skinned multi-person linear model". The files are licensed and come from
https://smpl.is.tue.mpg.de; versions 1.0 (10 betas) and 1.1 (300 betas) are read, as .pkl or .npz.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax import rotation
from imdy_jax.body.inertia import segment_inertia
from imdy_jax.body.markers import marker_vertices
from imdy_jax.body.person import Body, array_module, skin_points
from imdy_jax.body.smpl_file import find_model, read_model
from imdy_jax.skeleton import PARENTS
from imdy_jax.tree import ancestor_sum, build_tree, descend

_HIGHEST = jax.lax.Precision.HIGHEST


@struct.dataclass
class SmplModel:
    """An SMPL model in rest axes (x left, y up, z forward), metres; V vertices, B betas."""

    template: jax.Array  # (V, 3)
    shape_dirs: jax.Array  # (V, 3, B) displacement per unit of beta
    pose_dirs: jax.Array  # (V, 3, 207) displacement per entry of R - 1, joints 1 to 23, row by row
    joint_regressor: jax.Array  # (24, V)
    weights: jax.Array  # (V, 24) skinning weights, rows sum to 1
    faces: jax.Array  # (F, 3) int, counter-clockwise seen from outside
    sex: str = struct.field(pytree_node=False)
    source: str = struct.field(pytree_node=False)  # name of the file


def load_model(path: str | os.PathLike | None = None, sex: str = "neutral") -> SmplModel:
    """The model in a file, or of that sex in a folder or $SMPL_MODEL_DIR, in JAX's default precision.

    Raises SmplFileError (smpl_file.py) where the file is missing or not an SMPL model.
    """
    file = find_model(path, sex)
    fields = read_model(file, sex)
    real = lambda name: jnp.asarray(fields[name], float)  # noqa: E731
    return SmplModel(
        template=real("v_template"),
        shape_dirs=real("shapedirs"),
        pose_dirs=real("posedirs"),
        joint_regressor=real("J_regressor"),
        weights=real("weights"),
        faces=jnp.asarray(fields["f"], jnp.int32),
        sex=sex,
        source=file.name,
    )


def shaped(model: SmplModel, betas: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rest surface (V, 3) and rest joints (24, 3), m, of a shape vector (b,), b up to the model's B."""
    directions = model.shape_dirs[..., : betas.shape[0]]
    if directions.shape[-1] < betas.shape[0]:
        raise ValueError(f"{model.source}: has {directions.shape[-1]} shape directions, found {betas.shape[0]} betas")
    vertices = model.template + jnp.einsum("vxb,b->vx", directions, betas, precision=_HIGHEST)
    return vertices, jnp.einsum("jv,vx->jx", model.joint_regressor, vertices, precision=_HIGHEST)


def posed(
    model: SmplModel, betas: jax.Array, rotations: jax.Array, translation: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Surface (V, 3) and joints (24, 3), m, in the world.

    betas (b,); rotations: of each joint relative to its parent, the root's relative to the world, as quaternions
    (24, 4) or rotation vectors (24, 3); translation (3,) moves the whole, which turns about its pelvis joint.
    """
    local = rotation.exp(rotations) if rotations.shape[-1] == 3 else rotations
    vertices, joints = shaped(model, betas)
    feature = (rotation.to_matrix(local[1:]) - jnp.eye(3, dtype=local.dtype)[None]).ravel()
    vertices = vertices + jnp.einsum("vxp,p->vx", model.pose_dirs, feature, precision=_HIGHEST)
    tree, parents = build_tree(), np.array(PARENTS[1:])
    R_world = descend(tree, rotation.multiply, local)
    bones = jnp.concatenate([joints[:1], rotation.rotate(R_world[parents], joints[1:] - joints[parents])])
    p_world = ancestor_sum(tree, bones) + translation[None]
    return skin_points(vertices, model.weights, joints, R_world, p_world), p_world


@jax.default_matmul_precision("highest")  # on GPUs the default would round to TF32
def smpl_body(
    model: SmplModel | str | os.PathLike | None = None,
    sex: str = "neutral",
    betas: np.ndarray | jax.Array | None = None,
    mass: float | jax.Array | None = None,
) -> Body:
    """The Body of an SMPL shape: joints and surface of the model, segment inertias from the surface (inertia.py).

    model: a loaded model, or a path for load_model. betas (b,), zeros by default; more than the model has must be
    zero. mass: the subject's, kg; by default density times volume. Under jit and grad the body of a loaded model is a
    differentiable function of betas and mass. Raises SmplFileError for a wrong file, ValueError for betas that the
    model cannot take.
    """
    model = model if isinstance(model, SmplModel) else load_model(model, sex)
    if model.sex != sex:
        raise ValueError(f"{model.source}: is the {model.sex} model, asked for {sex}")
    if mass is not None and not isinstance(mass, jax.core.Tracer) and not mass > 0.0:
        raise ValueError(f"mass: found {mass} kg, expected a positive number")
    shape = jnp.asarray(_fit_betas(model, np.zeros(0) if betas is None else betas), model.template.dtype)
    vertices, joints = jax.jit(shaped)(model, shape)
    skin, xp = np.asarray(model.weights), array_module(shape, mass)
    inertia = segment_inertia(xp.asarray(vertices), np.asarray(model.faces), skin, xp.asarray(joints), mass)
    # On the template, so that a marker is the same vertex whatever the shape.
    template = np.asarray(model.template)
    at = marker_vertices(np.asarray(model.joint_regressor) @ template, template, skin)
    return Body(
        joints=joints,
        mass=jnp.asarray(inertia.mass, joints.dtype),
        com=jnp.asarray(inertia.com, joints.dtype),
        inertia=jnp.asarray(inertia.inertia, joints.dtype),
        vertices=vertices,
        faces=model.faces,
        skin=model.weights,
        markers=vertices[at],
        marker_skin=model.weights[at],
        betas=shape,
        sex=model.sex,
        source=model.source,
    )


def _fit_betas(model: SmplModel, betas: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    count = model.shape_dirs.shape[-1]
    if isinstance(betas, jax.core.Tracer) and len(betas) <= count:
        return jnp.pad(betas, (0, count - len(betas)))
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or not np.isfinite(betas).all():
        raise ValueError(f"betas: found shape {betas.shape}, expected one vector of finite numbers")
    if np.any(betas[count:] != 0.0):
        raise ValueError(
            f"{model.source}: has {count} shape directions, found {len(betas)} betas that are not zero; "
            "use the model of version 1.1, which has 300, or cut the betas"
        )
    return np.pad(betas[:count], (0, max(0, count - len(betas))))
