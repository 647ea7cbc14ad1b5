"""The humanoid with three hinges for each ball joint, for programs that know no ball joints, and states for both.

A joint turns about its x, then its new y, then its new z axis: R = R_x R_y R_z. The torque about the hinges is Gᵀ τ,
where the joint's angular velocity in the child's axes is G times the rates of the three angles.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS

HINGES = tuple(f"{name}_{axis}" for name in JOINT_NAMES[1:] for axis in "xyz")


class States(NamedTuple):
    """N states of the humanoid, in ball joints (q, v, a) and in hinges; float64. The root rests, and accelerates."""

    q: np.ndarray  # (N, 99)
    v: np.ndarray  # (N, 75)
    a: np.ndarray  # (N, 75)
    angle: np.ndarray  # (N, 69) rad, in the order of HINGES
    rate: np.ndarray  # (N, 69) rad/s
    rise: np.ndarray  # (N, 69) rad/s²

    def hinge_torque(self, torque: np.ndarray) -> np.ndarray:
        """Torques about the hinges (n, 69) from torques (n, 23, 3) in child axes, of the first n states."""
        angle = jnp.asarray(self.angle[: len(torque)]).reshape(-1, 3)
        jacobian = jax.vmap(jax.jacobian(_spin, argnums=1))(angle, jnp.zeros_like(angle))
        return np.einsum("nij,ni->nj", jacobian, torque.reshape(-1, 3)).reshape(len(torque), -1)


def random_states(count: int, seed: int = 0) -> States:
    """Any pose that the three angles describe well, moving fast; call with float64 enabled."""
    draw = np.random.default_rng(seed)
    angle, rate, rise = draw.uniform(-1, 1, (3, count, 3 * NUM_JOINTS)) * np.array([1.0, 4.0, 30.0])[:, None, None]
    quaternion, spin, growth = jax.jit(jax.vmap(_ball))(*(x.reshape(-1, 3) for x in (angle, rate, rise)))
    root = draw.normal(size=(count, 4))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    q = np.concatenate([draw.normal(size=(count, 3)), root, np.reshape(quaternion, (count, -1))], axis=1)
    v = np.concatenate([np.zeros((count, 6)), np.reshape(spin, (count, -1))], axis=1)
    a = np.concatenate([draw.normal(size=(count, 6)) * 3.0, np.reshape(growth, (count, -1))], axis=1)
    return States(q, v, a, angle, rate, rise)


def describe(humanoid: Humanoid, form: str = "urdf") -> str:
    """The humanoid of one subject as a text in the form urdf or sdf, links next to massless between hinges."""
    link, joint, frame = _FORMS[form]
    parts = [_link(link, JOINT_NAMES[0], humanoid, 0)]
    for k, name in list(enumerate(JOINT_NAMES))[1:]:
        links = [JOINT_NAMES[PARENTS[k]], f"{name}_after_x", f"{name}_after_y", name]
        for n, axis in enumerate("xyz"):
            place = _numbers(humanoid.offset[k] if n == 0 else np.zeros(3))
            named = {"name": f"{name}_{axis}", "parent": links[n], "child": links[n + 1]}
            parts.append(joint.format(**named, place=place, axis=_numbers(np.eye(3)[n])))
            parts.append(_link(link, links[n + 1], humanoid, k if n == 2 else None, f"{name}_{axis}"))
    return frame.format("\n".join(parts))


_URDF_LINK = (
    '<link name="{name}"><inertial><origin xyz="{com}" rpy="0 0 0"/><mass value="{mass}"/><inertia ixx="{ixx}" '
    'ixy="{ixy}" ixz="{ixz}" iyy="{iyy}" iyz="{iyz}" izz="{izz}"/></inertial></link>'
)
_URDF_JOINT = (
    '<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/><origin xyz="{place}" '
    'rpy="0 0 0"/><axis xyz="{axis}"/><limit lower="-9" upper="9" effort="1e9" velocity="1e9"/></joint>'
)
_SDF_LINK = (
    '<link name="{name}"><pose{at}>0 0 0 0 0 0</pose><inertial><pose>{com} 0 0 0</pose><mass>{mass}</mass><inertia>'
    "<ixx>{ixx}</ixx><ixy>{ixy}</ixy><ixz>{ixz}</ixz><iyy>{iyy}</iyy><iyz>{iyz}</iyz><izz>{izz}</izz></inertia>"
    "</inertial></link>"
)
_SDF_JOINT = (
    '<joint name="{name}" type="revolute"><pose relative_to="{parent}">{place} 0 0 0</pose><parent>{parent}</parent>'
    "<child>{child}</child><axis><xyz>{axis}</xyz><limit><lower>-9</lower><upper>9</upper></limit></axis></joint>"
)
_FORMS = {
    "urdf": (_URDF_LINK, _URDF_JOINT, '<robot name="humanoid">{}</robot>'),
    "sdf": (_SDF_LINK, _SDF_JOINT, '<sdf version="1.10"><model name="humanoid">{}</model></sdf>'),
}


def _link(form: str, name: str, humanoid: Humanoid, k: int | None, joint: str | None = None) -> str:
    """Segment k as a link, or one next to massless: jaxsim leaves out what weighs nothing."""
    scale = 1e-12 if k is None else 1.0
    mass, com, inertia = (scale * np.asarray(x[k or 0]) for x in (humanoid.mass, humanoid.com, humanoid.inertia))
    terms = {f"i{'xyz'[i]}{'xyz'[j]}": repr(float(inertia[i, j])) for i in range(3) for j in range(i, 3)}
    at = f' relative_to="{joint}"' if joint else ""
    return form.format(name=name, at=at, com=_numbers(com), mass=repr(float(mass)), **terms)


def _numbers(values: np.ndarray) -> str:
    return " ".join(repr(float(x)) for x in values)


def _quaternion(angle: jax.Array) -> jax.Array:
    x, y, z = (rotation.exp(axis * angle) for axis in np.eye(3))
    return rotation.multiply(x, rotation.multiply(y, z))


def _spin(angle: jax.Array, rate: jax.Array) -> jax.Array:
    """Angular velocity in the child's axes (3,)."""
    quaternion, change = jax.jvp(_quaternion, (angle,), (rate,))
    return 2.0 * rotation.multiply(rotation.conjugate(quaternion), change)[1:]


def _ball(angle: jax.Array, rate: jax.Array, rise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    spin, growth = jax.jvp(_spin, (angle, rate), (rate, rise))
    return _quaternion(angle), spin, growth
