"""Playing motions for a recording: both halves of a control step are compiled, and between them runs the engine.

What is compiled takes people, motions and policy as arguments. One program serves all recordings of as many humanoids
and as long a reference table, and is kept between processes, which no program is that calls an engine on the host.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.physics import Outcome, Physics, PhysicsState, hold, settle
from envs.reference import body_state
from envs.select import select
from envs.tracker import Tracker
from imdy_jax.dataset.collect import Recorder
from imdy_jax.imitation.environment import Transition
from imdy_jax.imitation.policy import Trained

_CHUNK = 5  # control steps between two looks at who is done; a humanoid idles for half of them on average


@struct.dataclass
class Scene:
    """N humanoids under way. Past the end of its clip each goes on holding the last frame."""

    physics: PhysicsState
    clip: jax.Array  # (N,) index into the reference table
    frame: jax.Array  # (N,) frame of the clip that the humanoid is at
    observation: jax.Array  # (N, O)


def make_recorder(trained: Trained, tracker: Tracker, physics: Physics) -> Recorder:
    """A recording that can begin, with everything compiled; physics records wrenches, of the tracker's humanoids."""
    # Restored arrays are bound to a device, and what is computed from them; JAX would compile all for those once more.
    arrays = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), trained.arrays)
    kind, nowhere = trained.kind, jnp.zeros(physics.num_envs, int)

    def step(scene: Scene) -> tuple[Scene, Transition]:
        target, held = _aim(kind, arrays, tracker, scene)
        return _arrive(tracker, scene, target, physics.run(scene.physics, held))

    def chunk(scene: Scene) -> tuple[Scene, Transition]:
        played = []
        for _ in range(_CHUNK):
            scene, transition = step(scene)
            played.append(transition)
        return scene, jax.tree.map(lambda *steps: np.stack(steps), *played)

    start = _begin(tracker, nowhere, nowhere)
    scene, _ = step(start)
    _restart(tracker, scene, nowhere.astype(bool), nowhere, nowhere)
    people = jax.tree.map(np.asarray, tracker.humanoid)
    humanoids = [jax.tree.map(lambda x, i=i: x[i], people) for i in range(physics.num_envs)]
    return Recorder(chunk, partial(_restart, tracker), start, humanoids)


@partial(jax.jit, static_argnums=0)
def _aim(kind: Trained, arrays: tuple, tracker: Tracker, scene: Scene) -> tuple[jax.Array, jax.Array]:
    """PD target (N, 23, 4) of the next control step, as the policy wants it and as far as the joints' effort goes."""
    action = kind.with_arrays(arrays).act(scene.observation)
    target = tracker.target(scene.physics, scene.clip, scene.frame + 1, action)
    return target, hold(tracker.humanoid, scene.physics, target)


@jax.jit
def _arrive(tracker: Tracker, before: Scene, target: jax.Array, out: Outcome) -> tuple[Scene, Transition]:
    """What has become of a control step."""
    clip, frame, state = before.clip, before.frame + 1, before.physics
    after, substeps = settle(tracker.humanoid, out)
    bodies = jax.vmap(body_state)(tracker.humanoid, after.q, after.v)
    reference = tracker.table.at(clip, frame)
    scene = Scene(after, clip, frame, tracker.observe(bodies, clip, frame))
    positions = bodies.position, reference.position
    return scene, Transition(state.q, state.v, target, substeps, after.q, after.v, *positions)


@jax.jit
def _begin(tracker: Tracker, clip: jax.Array, frame: jax.Array) -> Scene:
    """Every humanoid in the pose and motion of its reference, the constraint solver cold."""
    row = tracker.table.row(clip, frame)
    q, v = tracker.table.q[row], tracker.table.v[row]
    observation = tracker.observe(tracker.table.at(clip, frame), clip, frame)
    return Scene(PhysicsState(q, v, jnp.zeros_like(v)), clip, frame, observation)


@jax.jit
def _restart(tracker: Tracker, scene: Scene, fresh: jax.Array, clip: jax.Array, frame: jax.Array) -> Scene:
    """The humanoids marked in fresh (N,) bool begin, the others go on."""
    return select(fresh, _begin(tracker, clip, frame), scene)
