"""Humanoid → MuJoCo model, and the only place that knows MuJoCo's own body order.

PD control lives inside the engine: the passive spring of a ball joint is kp·log(q⁻¹∘qpos_spring), so that writing the
target into `qpos_spring` makes the engine evaluate the spring at every substep. The damping is kept implicit and is
seen by the contact solver too (stable PD, Tan, Liu & Turk 2011): with D = kd + h·kp, dof_damping = D and
dof_armature = rotor + h·D under the explicit Euler integrator.
"""

from typing import NamedTuple

import jax
import mujoco
import numpy as np

from imdy_jax.humanoid import GRAVITY, SOLID_BODY, Humanoid
from imdy_jax.rotation import UPRIGHT
from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES, PARENTS
from imdy_jax.tree import build_tree

SOLVER_ITERATIONS = 30  # recorded torques are exact only where the constraint solver has converged
SOLVER_TOLERANCE = 1e-12
FRICTION = 1.0
# Critically damped, so that nothing bounces, and at 20 ms about as soft as a foot's own tissue; MuJoCo raises the time
# constant to two substeps where those are longer. The impedance rises from 0.95 to 0.99 within the first millimetre:
# a standing adult sinks in by less than a millimetre.
CONTACT_TIME_CONSTANT = 0.02  # s
CONTACT_IMPEDANCE = (0.95, 0.99, 0.001, 0.5, 2.0)

_LEFT, _RIGHT, _MIDLINE = (0.36, 0.55, 0.74, 1.0), (0.80, 0.49, 0.36, 1.0), (0.82, 0.80, 0.76, 1.0)


class JointOrder(NamedTuple):
    """Gather indices from one order of the humanoid's joints to another, along the last axis."""

    body_index: np.ndarray  # (24,) bodies, MuJoCo's world body not counted
    qpos_index: np.ndarray  # (99,)
    dof_index: np.ndarray  # (75,)


def _joint_order(body_index: np.ndarray) -> JointOrder:
    joints = body_index[1:] - 1
    qpos = (7 + 4 * joints[:, None] + np.arange(4)).ravel()
    dof = (6 + 3 * joints[:, None] + np.arange(3)).ravel()
    return JointOrder(body_index, np.concatenate([np.arange(7), qpos]), np.concatenate([np.arange(6), dof]))


def _depth_first(body: int = 0) -> list[int]:
    children = [child for child, parent in enumerate(PARENTS) if parent == body]
    return [body] + [descendant for child in children for descendant in _depth_first(child)]


TO_MUJOCO = _joint_order(np.array(_depth_first()))  # x_mujoco = x_smpl[..., TO_MUJOCO.qpos_index]
TO_SMPL = _joint_order(np.argsort(TO_MUJOCO.body_index))  # x_smpl = x_mujoco[..., TO_SMPL.qpos_index]


def build_model(humanoid: Humanoid, timestep: float, simulation: bool = True) -> mujoco.MjModel:
    """The MuJoCo model of one subject (unstacked leaves), bodies and joints named after SMPL's joints.

    Args:
      timestep: s, of one physics substep; the stable-PD terms depend on it.
      simulation: False leaves the bare rigid tree: no spring, damper, armature or contact, an oracle for dynamics.

    Raises ValueError where a leaf has a wrong shape or an inertia is not that of a solid.
    """
    humanoid = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), humanoid)
    _check(humanoid)
    spec = mujoco.MjSpec()
    _set_options(spec, timestep, simulation)
    _add_scenery(spec)
    bodies: list[mujoco.MjsBody] = []
    for k, parent in enumerate(PARENTS):
        bodies.append(_add_body(spec.worldbody if k == 0 else bodies[parent], humanoid, k))
    for g, k in enumerate(SOLID_BODY):
        _add_solid(bodies[k], humanoid, g)
    if simulation:
        # The engine computes body wrenches (cfrc_ext) only if some sensor needs them.
        site = bodies[0].add_site(name="pelvis")
        spec.add_sensor(name="wrench_trigger", type=mujoco.mjtSensor.mjSENS_ACCELEROMETER,
                        objtype=mujoco.mjtObj.mjOBJ_SITE, objname=site.name)  # fmt: skip
    model = spec.compile()
    if simulation:
        _set_stable_pd(model, humanoid)
    return model


def _check(humanoid: Humanoid) -> None:
    if humanoid.mass.shape != (NUM_BODIES,):
        raise ValueError(
            f"humanoid.mass has shape {humanoid.mass.shape}, expected ({NUM_BODIES},): a model is built of one "
            "subject; index the leaves of a stacked humanoid first"
        )
    moments = np.linalg.eigvalsh(humanoid.inertia)
    solid = (humanoid.mass > 0) & (moments[:, 0] > 0) & (moments[:, 0] + moments[:, 1] >= moments[:, 2] * (1 - 1e-9))
    for k in np.flatnonzero(~solid):
        raise ValueError(
            f"humanoid: segment {JOINT_NAMES[k]} has mass {humanoid.mass[k]:.3g} kg and principal moments of inertia "
            f"{moments[k]} kg·m², expected positive ones that obey the triangle inequality; check the body"
        )


def _set_options(spec: mujoco.MjSpec, timestep: float, simulation: bool) -> None:
    option = spec.option
    option.timestep = timestep
    option.gravity = (0.0, 0.0, -GRAVITY)
    option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    option.iterations = option.ls_iterations = SOLVER_ITERATIONS
    option.tolerance = SOLVER_TOLERANCE
    option.disableflags = mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    if not simulation:
        option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT


def _add_scenery(spec: mujoco.MjSpec) -> None:
    spec.modelname = "humanoid"
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1920, 1080
    spec.visual.headlight.ambient = (0.35, 0.35, 0.35)
    spec.visual.headlight.diffuse = (0.35, 0.35, 0.35)
    spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=64, height=384,
                     builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
                     rgb1=(0.93, 0.95, 0.97), rgb2=(0.72, 0.78, 0.84))  # fmt: skip
    spec.add_texture(name="grid", type=mujoco.mjtTexture.mjTEXTURE_2D, width=512, height=512,
                     builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER, mark=mujoco.mjtMark.mjMARK_EDGE,
                     rgb1=(0.85, 0.86, 0.87), rgb2=(0.80, 0.81, 0.83), markrgb=(0.62, 0.64, 0.67))  # fmt: skip
    floor = spec.add_material(name="floor", texrepeat=(1, 1), texuniform=True, reflectance=0.05)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "grid"
    spec.worldbody.add_light(name="sun", pos=(1.5, -3.0, 5.0), dir=(-0.25, 0.5, -0.83), diffuse=(0.55, 0.55, 0.55))
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 0.5), material="floor",
                            contype=0, conaffinity=1, **_CONTACT)  # fmt: skip
    spec.worldbody.add_camera(name="side", pos=(3.2, -1.6, 1.5), mode=mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODYCOM,
                              targetbody=JOINT_NAMES[0])  # fmt: skip


_CONTACT = {
    "condim": 3,
    "friction": (FRICTION, 0.005, 0.0001),
    "solref": (CONTACT_TIME_CONSTANT, 1.0),
    "solimp": CONTACT_IMPEDANCE,
}


def _add_body(parent: mujoco.MjsBody, humanoid: Humanoid, k: int) -> mujoco.MjsBody:
    moments, axes = np.linalg.eigh(humanoid.inertia[k])
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    iquat = np.empty(4)
    mujoco.mju_mat2Quat(iquat, axes.ravel())
    body = parent.add_body(name=JOINT_NAMES[k], pos=humanoid.offset[k], explicitinertial=True, mass=humanoid.mass[k],
                           ipos=humanoid.com[k], inertia=moments, iquat=iquat)  # fmt: skip
    if k == 0:
        body.quat = UPRIGHT
        body.pos = (0.0, 0.0, standing_height(humanoid))
        body.add_freejoint(name=JOINT_NAMES[k])
    else:
        body.add_joint(name=JOINT_NAMES[k], type=mujoco.mjtJoint.mjJNT_BALL)
    return body


def _add_solid(body: mujoco.MjsBody, humanoid: Humanoid, g: int) -> None:
    """A capsule to look at, and the spheres at its ends, which are all that a floor can touch of it.

    Spheres and not the capsule itself, because the two engines orient the friction pyramid of a steep capsule
    differently, whereas a sphere's pyramid lies along the world's axes in both.
    """
    ends, radius = humanoid.solid_ends[g], (humanoid.solid_radius[g], 0, 0)
    name = f"{body.name}_{g}"
    colour = _LEFT if name.startswith("left") else _RIGHT if name.startswith("right") else _MIDLINE
    body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=ends.ravel(), size=radius,
                  contype=0, conaffinity=0, rgba=colour)  # fmt: skip
    # Bodies touch the floor alone: contype of the one against conaffinity of the other. Group 3 is not drawn.
    for side, end in zip("ab", ends, strict=True):
        body.add_geom(name=f"{name}_{side}", type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=end, size=radius,
                      contype=1, conaffinity=0, group=3, **_CONTACT)  # fmt: skip


def standing_height(humanoid: Humanoid) -> float:
    """Height of the pelvis joint, m, at which the lowest solid of the upright rest pose touches the floor."""
    joints = build_tree().ancestors @ np.asarray(humanoid.offset)
    heights = joints[np.array(SOLID_BODY), None, 1] + np.asarray(humanoid.solid_ends)[:, :, 1]
    return float(np.max(np.asarray(humanoid.solid_radius)[:, None] - heights))


def _set_stable_pd(model: mujoco.MjModel, humanoid: Humanoid) -> None:
    joints = TO_MUJOCO.body_index[1:] - 1
    stiffness = humanoid.stiffness[joints]
    damping = humanoid.damping[joints] + model.opt.timestep * stiffness
    model.jnt_stiffness[1:] = stiffness
    model.dof_damping[6:] = np.repeat(damping, 3)
    model.dof_armature[6:] = np.repeat(humanoid.armature[joints] + model.opt.timestep * damping, 3)
    mujoco.mj_setConst(model, mujoco.MjData(model))
