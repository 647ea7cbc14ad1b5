"""From poses to torques in one differentiable call.

Poses are smoothed, differentiated on the rotation group and put through Newton–Euler; what the root lacks is shared
over the points that can touch the ground, and the joints carry the shares. Every step is JAX: any scalar of the result
can be differentiated by poses, translation, shape and masses, forward and in reverse.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from imdy_jax import rotation
from imdy_jax.body.person import Body
from imdy_jax.dynamics.contact_sequence import SoftContact, ground_forces
from imdy_jax.dynamics.differentiate import motion
from imdy_jax.dynamics.kinematics import relative_pose
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import Humanoid, from_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Butterworth, Filter, smooth_poses
from imdy_jax.tree import build_tree, subtree_sum


@struct.dataclass
class Estimate:
    """Dynamics of a motion of T frames."""

    q: jax.Array  # (T, 99) smooth coordinates, in the layout of Humanoid
    v: jax.Array  # (T, 75)
    a: jax.Array  # (T, 75) v̇
    torque: jax.Array  # (T, 23, 3) N·m, child axes
    power: jax.Array  # (T, 23) W, of each joint's torque
    wrench: jax.Array  # (T, 24, 6) N and N·m about each segment's joint, on the segment by the world, world axes
    # (T, 6) N in world axes and N·m about the pelvis joint in root axes that no wrench supplies: with contact the
    # motion's implausibility, with no external force at all the whole wrench that it needs.
    residual: jax.Array
    pressure_centre: jax.Array | None  # (T, 2, 3) m, under the left and the right foot; None without contact

    @property
    def force(self) -> jax.Array:
        """External force on each segment (T, 24, 3), N, world axes."""
        return self.wrench[..., :3]


def estimate(
    clip: Clip,
    body: Body,
    smoothing: Filter = Butterworth(),
    contact: SoftContact | None = SoftContact(),
    wrench: jax.Array | None = None,
) -> Estimate:
    """Joint torques of a clip made by a person, with the ground reactions that they rest on.

    Each length of clip compiles a program of its own. The precision is that of the clip's and the body's arrays.
    float32 costs 0.001 N·m in a walk at 30 fps and, filtered, 0.003 N·m at 480. Unfiltered it is 0.04 N·m at 120 fps
    and 0.6 N·m at 480, which is what rounding the poses themselves to float32 does.

    Args:
      clip: T ≥ 3 frames; the floor is z = 0.
      body: made inside the differentiated function, from betas or stature and mass, it passes their derivatives on.
      smoothing: of the poses; NoFilter() takes them as they are.
      contact: how the ground may push; None for a person in the air.
      wrench: (T, 24, 6) measured external forces in the layout of Estimate.wrench, which replace the estimated ones.

    Raises:
      ValueError: too few frames for the filter, or a cut-off that is not between zero and half the frame rate.
    """
    smoothing.check(clip.num_frames, clip.fps)
    position = jnp.asarray(clip.translation) + body.joints[0][None]
    contact = None if wrench is not None else contact
    return estimate_poses(from_body(body), position, jnp.asarray(clip.rotations), clip.fps, smoothing, contact, wrench)


@partial(jax.jit, static_argnames="fps")
def estimate_poses(
    humanoid: Humanoid,
    position: jax.Array,
    rotations: jax.Array,
    fps: float,
    smoothing: Filter = Butterworth(),
    contact: SoftContact | None = SoftContact(),
    wrench: jax.Array | None = None,
) -> Estimate:
    """As estimate, for a humanoid with its pelvis joint at position (T, 3), m, and joint quaternions (T, 24, 4)."""
    q, v, a = motion(smooth_poses(smoothing, position, rotations, fps), fps)
    torque, residual = jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0))(humanoid, q, v, a)
    centre = None
    if contact is not None:
        ground = ground_forces(humanoid, q, v, residual, fps, contact)
        wrench, centre = ground.wrench, ground.pressure_centre
    if wrench is None:
        wrench = jnp.zeros((len(q), *humanoid.mass.shape, 6), q.dtype)
    else:
        carried, supplied = jax.vmap(_carried, in_axes=(None, 0, 0))(humanoid, q, wrench)
        torque, residual = torque - carried, residual - supplied
    power = jnp.sum(torque * v[:, 6:].reshape(torque.shape), axis=-1)
    return Estimate(q, v, a, torque, power, wrench, residual, centre)


def _carried(humanoid: Humanoid, q: jax.Array, wrench: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Torques (23, 3) and root residual (6,) that wrenches (24, 6) take off inverse dynamics: Σ_b J_bᵀ W_b."""
    pose = relative_pose(humanoid, q)
    force = wrench[:, :3]
    moment = wrench[:, 3:] + jnp.cross(pose.position, force)
    total = subtree_sum(build_tree(), jnp.concatenate([force, moment], axis=-1))
    local = rotation.inverse_rotate(pose.rotation, total[:, 3:] - jnp.cross(pose.position, total[:, :3]))
    return local[1:], jnp.concatenate([total[0, :3], local[0]])
