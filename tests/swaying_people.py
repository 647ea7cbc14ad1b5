"""Small physical sequences without a simulator: people sway on both feet, and the forces follow by Newton–Euler.

Each foot carries half of the force that moves the whole body, and half of the moment, so that nothing is left over at
the root; joint torques are those of inverse dynamics under these contact wrenches.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.body.markers import MARKERS
from imdy_jax.body.person import skin_points
from imdy_jax.dynamics.kinematics import difference, forward_kinematics, join_q, split_q
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT
from imdy_jax.solver.pack import Sequence
from imdy_jax.solver.segments import as_channels
from imdy_jax.tree import ancestor_sum, build_tree

FPS = 30.0
DT = 1.0 / FPS


@functools.cache
def swaying_people(
    clips: int = 6, takes: int = 2, steps: int = 60, seed: int = 0, fps: float = FPS, representation: str = "markers"
) -> tuple[Sequence, ...]:
    """`takes` sequences of each of `clips` motions, by people of different mass who face different ways."""
    rng = np.random.default_rng(seed)
    people = [toy_humanoid(size=size, mass=mass) for size, mass in ((0.95, 58.0), (1.05, 85.0))]
    sequences = []
    for clip in range(clips):
        amplitude = rng.normal(0, 0.12, (3, 24, 3)) * np.array([1, 0.4, 0.4])
        frequency, phase = rng.uniform(0.3, 1.2, (3, 24, 3)), rng.uniform(0, 6.28, (3, 24, 3))
        for take in range(takes):
            with jax.enable_x64(True):
                humanoid = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), people[take % 2])
                yaw, place = rng.uniform(-3, 3), rng.uniform(-2, 2, 2)
                arrays = _sway(humanoid, amplitude, frequency, phase, yaw, place, jnp.arange(steps + 1) / fps, 1 / fps)
            motions, *dynamics = jax.tree.map(lambda x: np.asarray(x, np.float32), arrays)
            dynamics = [x[:-1] for x in dynamics]
            mass = float(np.sum(np.asarray(humanoid.mass)))
            who = f"clip{clip}-{take}", f"digest{clip}", f"person{take % 2}"
            sequences.append(Sequence(*who, mass, motions[representation], *dynamics))
    return tuple(sequences)


@jax.jit
def _sway(humanoid, amplitude, frequency, phase, yaw, place, times, dt):
    def pose(t):
        wave = jnp.sum(amplitude * jnp.sin(2 * jnp.pi * frequency * t + phase), axis=0)
        turn = rotation.exp(jnp.array([0.0, 0.0, 1.0]) * (yaw + wave[0, 1]))
        root = rotation.multiply(turn, rotation.multiply(jnp.array(rotation.UPRIGHT), rotation.exp(0.3 * wave[0])))
        height = jnp.array([*place, 0.95]) + 0.2 * wave[10] * jnp.array([1.0, 1.0, 0.3])
        return join_q(height, jnp.concatenate([root[None], rotation.exp(wave[1:])]))

    def velocity(t):
        return difference(pose(t), pose(t + 1e-6)) / 1e-6

    def motions(t):
        joints = ancestor_sum(build_tree(), humanoid.offset)
        body = forward_kinematics(humanoid, pose(t))
        markers = skin_points(*_rest_markers(joints), joints, body.rotation, body.position)
        smpl = jnp.concatenate([body.position, split_q(pose(t))[1]], axis=-1)
        segments = jnp.concatenate([smpl, as_channels(humanoid)], axis=-1)
        return {"markers": markers, "joints": body.position, "smpl": smpl, "segments": segments}

    def dynamics(t):
        q, v = pose(t), velocity(t)
        a = (velocity(t + 1e-5) - v) / 1e-5
        _, residual = inverse_dynamics(humanoid, q, v, a)
        body = forward_kinematics(humanoid, q)
        moment = rotation.rotate(body.rotation[0], residual[3:])
        wrench = jnp.zeros((24, 6))
        for foot in (*LEFT_FOOT, *RIGHT_FOOT):
            about_foot = moment / 4 - jnp.cross(body.position[foot] - q[:3], residual[:3] / 4)
            wrench = wrench.at[foot].set(jnp.concatenate([residual[:3] / 4, about_foot]))
        torque, left_over = inverse_dynamics(humanoid, q, v, a, wrench)
        return torque, wrench[:, :3], left_over

    def step(t):
        torque, force, _ = jax.vmap(dynamics)(t + dt * jnp.array([0.25, 0.75]))
        return jnp.sum(torque, axis=0) * dt / 2, jnp.mean(force, axis=0)

    return jax.vmap(motions)(times), *jax.vmap(step)(times)


def _rest_markers(joints):
    """Markers about 5 cm off the bones, each fixed to its segment: (66, 3) from the pelvis, (66, 24)."""
    places = []
    for m in MARKERS:
        bone = joints[m.b] - joints[m.a]
        out = np.array(m.direction) / np.linalg.norm(m.direction)
        places.append(joints[m.a] + m.along * bone + jnp.linalg.norm(bone) * np.array(m.offset) + 0.05 * out)
    return jnp.stack(places), jnp.eye(24)[np.array([m.segment for m in MARKERS])]
