"""Two toy persons who stand under PD control, let their targets wander, and fall: contacts of many bodies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from toy_humanoid import toy_humanoid

from envs.c_physics import CPhysics
from imdy_jax import rotation
from imdy_jax.body.person import Body
from imdy_jax.dataset.certify import certify_dataset
from imdy_jax.dataset.record import Provenance, Record, Subject, make_subject, record_rollout
from imdy_jax.dataset.store import create_dataset, write_record
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import Humanoid, stack
from imdy_jax.imitation.rollout import Rollout
from imdy_jax.mjcf import standing_height
from imdy_jax.motion.clip import Clip
from imdy_jax.tree import build_tree

SUBSTEPS = 4
OFF = 0.03  # m, along each axis: how far the reference is from what was simulated


def toy_body(humanoid: Humanoid, markers: int = 66) -> Body:
    """A body whose surface is its markers, scattered around the joints."""
    rng = np.random.default_rng(0)
    joints = build_tree().ancestors @ np.asarray(humanoid.offset)
    owner = np.arange(markers) % 24
    points = joints[owner] + rng.normal(scale=0.05, size=(markers, 3))
    skin = np.zeros((markers, 24))
    skin[np.arange(markers), owner] = 0.7
    skin[np.arange(markers), np.maximum(owner - 1, 0)] += 0.3
    return Body(
        joints=joints, mass=humanoid.mass, com=humanoid.com, inertia=humanoid.inertia, vertices=points,
        faces=np.zeros((0, 3), int), skin=skin, markers=points, marker_skin=skin, betas=np.array([0.3, -1.2, 0.7]),
        sex="neutral", source="toy",
    )  # fmt: skip


def toy_clip(name: str = "stand and fall", digest: str = "c0ffee" * 10) -> Clip:
    still = np.tile([1.0, 0.0, 0.0, 0.0], (40, 24, 1))
    return Clip(still, np.zeros((40, 3)), 30.0, name, "procedural", digest)


def provenance(**changes) -> Provenance:
    values = {"policy": "none", "seed": 0, "repetition": 0, "start_frame": 0, "engine": "mujoco",
              "timestep": 1 / (30 * SUBSTEPS), "substeps": SUBSTEPS}  # fmt: skip
    return Provenance(**(values | changes))


def simulate(humanoids: list[Humanoid], frames: int, physics_type=CPhysics, seed: int = 0, **options) -> list[Rollout]:
    """A rollout of each person: first standing, then targets that wander more and more."""
    world = physics_type(stack(humanoids), substeps=SUBSTEPS, record=True, **options)
    count, dtype = len(humanoids), humanoids[0].mass.dtype
    q = np.zeros((count, 99))
    q[:, 2] = [standing_height(h) + 0.002 for h in humanoids]
    q[:, 3:7] = rotation.UPRIGHT
    q[:, 7::4] = 1.0
    wander = np.cumsum(np.random.default_rng(seed).normal(scale=0.08, size=(frames, count, 23, 3)), axis=0)
    wander[: frames // 3] *= 0.1
    targets = rotation.exp(jnp.asarray(wander, dtype))

    def advance(state, target):
        after, substeps = world.step(state, target)
        return after, (state.q, state.v, substeps)

    start = world.reset(jnp.asarray(q, dtype), jnp.zeros((count, 75), dtype))
    last, (q, v, substeps) = jax.jit(lambda s, t: jax.lax.scan(advance, s, t))(start, targets)
    q, v = jnp.concatenate([q, last.q[None]]), jnp.concatenate([v, last.v[None]])
    per_person = jax.tree.map(lambda x: np.moveaxis(np.asarray(x), 1, 0), (q, v, targets, substeps))
    pose = jax.jit(jax.vmap(forward_kinematics, in_axes=(None, 0)))
    rollouts = []
    for i, humanoid in enumerate(humanoids):
        q, v, target, sub = jax.tree.map(lambda x, i=i: x[i], per_person)
        reference = np.asarray(pose(humanoid, q).position) + OFF
        rollouts.append(Rollout(q, v, target, sub.v, sub.torque, sub.wrench, sub.clipped, sub.converged, reference))
    return rollouts


@functools.cache
def records(frames: int = 70, double: bool = True) -> tuple[list[Subject], list[Record]]:
    """What the C engine makes of the two, in float64 or float32."""
    with jax.enable_x64(double):
        people = [toy_humanoid(), toy_humanoid(size=1.1, mass=90.0, skew=0.3)]
        subjects = [make_subject(h, toy_body(h)) for h in people]
        rollouts = simulate(people, frames, threads=1)
    made = [record_rollout(r, s, toy_clip(), provenance()) for r, s in zip(rollouts, subjects, strict=True)]
    return subjects, made


def half_certified(path):
    """Path and records of a store with two simulated sequences, of which the first alone is certified."""
    with jax.enable_x64(True):
        made = records(frames=30)[1]
        dataset = create_dataset(path)
        for record in made:
            write_record(dataset, record)
        assert all(c.passed for c in certify_dataset(dataset, [made[0].id]))
    return dataset.path, made
