"""Two toy persons who stand under PD control, let their targets wander, and fall: contacts of many bodies."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.c_physics import CPhysics
from imdy_jax import rotation
from imdy_jax.body.person import Body
from imdy_jax.dataset.record import Provenance, Record, Subject, make_subject, record_rollout
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import Humanoid, stack
from imdy_jax.imitation.rollout import Rollout
from imdy_jax.mjcf import standing_height
from imdy_jax.motion.clip import Clip
from imdy_jax.tree import build_tree
from toy_humanoid import toy_humanoid

SUBSTEPS = 4


def toy_body(humanoid: Humanoid, markers: int = 66) -> Body:
    """A body whose surface is its markers, scattered around the joints."""
    rng = np.random.default_rng(0)
    joints = build_tree().ancestors @ np.asarray(humanoid.offset)
    owner = np.arange(markers) % 24
    points = joints[owner] + rng.normal(scale=0.05, size=(markers, 3))
    skin = np.zeros((markers, 24))
    skin[np.arange(markers), owner] = 0.7
    skin[np.arange(markers), np.maximum(owner - 1, 0)] += 0.3
    return Body(joints, humanoid.mass, humanoid.com, humanoid.inertia, points, np.zeros((0, 3), int), skin, points, skin,
                np.array([0.3, -1.2, 0.7]), "neutral", "toy")  # fmt: skip


def toy_clip(frames: int = 40) -> Clip:
    still = np.zeros((frames, 24, 4))
    still[..., 0] = 1.0
    return Clip(still, np.zeros((frames, 3)), 30.0, "stand and fall", "procedural", "c0ffee" * 10)


def simulate(humanoids: list[Humanoid], frames: int, physics_type=CPhysics, seed: int = 0, **options) -> list[Rollout]:
    """A rollout of each person: a second of standing, then limp wandering targets."""
    world = physics_type(stack(humanoids), substeps=SUBSTEPS, **options)
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
    rollouts = []
    for i, humanoid in enumerate(humanoids):
        q, v, target, sub = jax.tree.map(lambda x, i=i: x[i], per_person)
        reference = jax.vmap(lambda q, h=humanoid: forward_kinematics(h, q).position)(q) + 0.03
        rollouts.append(Rollout(q, v, target, sub.v, sub.torque, sub.wrench, sub.clipped, sub.converged, reference))
    return rollouts


def provenance(**changes) -> Provenance:
    values = dict(policy="none", seed=0, repetition=0, start_frame=0, engine="mujoco", timestep=1 / (30 * SUBSTEPS),
                  substeps=SUBSTEPS)  # fmt: skip
    return Provenance(**(values | changes))


def records(frames: int = 70) -> tuple[list[Subject], list[Record]]:
    people = [toy_humanoid(), toy_humanoid(size=1.1, mass=90.0, skew=0.3)]
    subjects = [make_subject(h, toy_body(h)) for h in people]
    made = [
        record_rollout(rollout, subject, toy_clip(), provenance())
        for rollout, subject in zip(simulate(people, frames, record=True, threads=1), subjects, strict=True)
    ]
    return subjects, made
