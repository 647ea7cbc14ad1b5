"""The simulated world on the CPU: MuJoCo's own C engine, stepping the whole batch on a pool of threads."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np
from jax.sharding import Mesh

from envs.host_call import host_call
from envs.physics import CHEST_ROW, Outcome, PhysicsState, Substeps, hold, settle
from envs.subjects import distinct_models
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.sharding import on_own_rows, own_rows
from imdy_jax.mjcf import TO_MUJOCO, TO_SMPL
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS, NUM_Q, NUM_V

# The solver stops when the cost improves by less than the tolerance, and forces are then wrong by about its square
# root; what is recorded has to close to rounding error.
RECORD_TOLERANCE = 1e-20


class CPhysics:
    """Physics (see envs.physics) by `mujoco.batch.Batch`; the engine computes in float64 whatever the state's dtype.

    Args:
      humanoids: N subjects, leaves stacked (N, ...).
      substeps: physics substeps per control step.
      control_hz: control steps per second.
      record: also return the contact wrenches; costs a few per cent.
      threads: of the engine's pool, 0 for all CPUs.
      mesh: one device of each of several processes, where each process steps its share of the N.

    jit sees a pure function of what step is given; the same arguments give the same bits.
    """

    def __init__(self, humanoids: Humanoid, substeps: int = 2, control_hz: float = 30.0, record: bool = False,
                 threads: int = 0, mesh: Mesh | None = None):  # fmt: skip
        self.humanoid, self._mesh = humanoids, mesh
        self.devices = jax.local_devices()[:1] if mesh is None else list(mesh.devices.flat)
        self.num_envs = humanoids.mass.shape[0]
        self.substeps = substeps
        self.timestep = 1.0 / (control_hz * substeps)
        self.record = record
        own = np.arange(self.num_envs) if mesh is None else own_rows(mesh, self.num_envs)
        self._stepped = len(own)  # by the engine of this process
        models, subject = distinct_models(jax.tree.map(lambda x: np.asarray(x)[own], humanoids), self.timestep)
        for model in models:
            # A diverged simulation must show itself instead of being reset silently.
            model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
            if record:
                model.opt.tolerance = RECORD_TOLERANCE
            else:
                model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        self._batch = mujoco.batch.Batch(models[0], self._stepped, threads)
        _expand_differences(self._batch, models, subject)
        self._target = self._batch.expand("qpos_spring")
        self._push = self._batch.bind("xfrc_applied")[:, CHEST_ROW]
        self._state = {name: self._batch.bind(name) for name in ("qpos", "qvel", "qacc_warmstart", "time")}
        self._armature = np.stack([model.dof_armature for model in models])[subject][:, None]

    def reset(self, q: jax.Array, v: jax.Array) -> PhysicsState:
        """State at q (N, 99), v (N, 75) with a cold constraint solver."""
        return PhysicsState(q=q, v=v, warmstart=jnp.zeros_like(v))

    def step(
        self, state: PhysicsState, target: jax.Array, push: jax.Array | None = None
    ) -> tuple[PhysicsState, Substeps]:
        """Hold the PD target (N, 23, 4), child in parent, for one control step, and push the chest (N, 3), N."""
        pushed = () if push is None else (push,)
        held = hold(self.humanoid, state, target)
        engine = on_own_rows(self._mesh, partial(host_call, self._step, self._outcome_shapes(state.q.dtype)))
        return settle(self.humanoid, engine(state.q, state.v, state.warmstart, held, *pushed))

    def run(self, state: PhysicsState, held: jax.Array) -> Outcome:
        """What the engine makes of one control step towards a target (N, 23, 4) of `hold`, in NumPy; without a mesh."""
        out = self._step(*map(np.asarray, (state.q, state.v, state.warmstart, held)))
        return jax.tree.map(lambda x, shape: np.asarray(x, shape.dtype), out, self._outcome_shapes(state.q.dtype))

    def time_engine(self, state: PhysicsState, steps: int) -> float:
        """Seconds of wall clock that the engine alone takes for control steps from a state, holding its pose."""
        q, v = np.asarray(state.q), np.asarray(state.v)
        self._state["qpos"][:] = q[:, TO_MUJOCO.qpos_index]
        self._state["qvel"][:] = v[:, TO_MUJOCO.dof_index]
        self._target[:, 7:] = self._state["qpos"][:, 7:]
        begun = time.perf_counter()
        for _ in range(steps):
            self._batch.step(nstep=self.substeps)
        return time.perf_counter() - begun

    def _outcome_shapes(self, dtype: jnp.dtype) -> Outcome:
        def shape(*dims: int, dtype: jnp.dtype = dtype) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self._stepped, *dims), dtype)

        return Outcome(
            q=shape(NUM_Q),
            v=shape(self.substeps, NUM_V),
            warmstart=shape(NUM_V),
            torque=shape(self.substeps, NUM_JOINTS, 3),
            wrench=shape(self.substeps, NUM_BODIES, 6) if self.record else None,
            converged=shape(self.substeps, dtype=jnp.dtype(bool)),
        )

    def _step(
        self, q: np.ndarray, v: np.ndarray, warmstart: np.ndarray, target: np.ndarray, push: np.ndarray | float = 0.0
    ) -> Outcome:
        """One control step of the engine; arrays in SMPL's order go in and come out."""
        self._state["qpos"][:] = q[:, TO_MUJOCO.qpos_index]
        self._state["qvel"][:] = v[:, TO_MUJOCO.dof_index]
        self._state["qacc_warmstart"][:] = warmstart[:, TO_MUJOCO.dof_index]
        self._state["time"][:] = 0.0
        self._target[:, 7:] = target.reshape(len(q), -1)[:, TO_MUJOCO.qpos_index[7:] - 7]
        self._push[:, :3] = push
        v0 = self._state["qvel"].copy()
        fields = ["qvel", "qfrc_passive", "solver_niter", mujoco.mjtState.mjSTATE_TIME]
        fields += ["cfrc_ext", "xpos", "subtree_com"] if self.record else []
        log = self._batch.rollout(self.substeps, record=fields)
        v1 = log["qvel"]
        acceleration = np.diff(v1, axis=1, prepend=v0[:, None]) / self.timestep
        # The rotor's inertia and the stable-PD part of the spring are torques across the joint.
        force = (log["qfrc_passive"] - self._armature * acceleration)[..., TO_SMPL.dof_index]
        # A simulation that diverged stops stepping, and its clock with it.
        stepped = log[mujoco.mjtState.mjSTATE_TIME][..., 0] > (np.arange(self.substeps) + 0.5) * self.timestep
        return Outcome(
            q=self._state["qpos"][:, TO_SMPL.qpos_index],
            v=v1[..., TO_SMPL.dof_index],
            warmstart=self._state["qacc_warmstart"][:, TO_SMPL.dof_index],
            torque=force[..., 6:].reshape(*force.shape[:2], NUM_JOINTS, 3),
            wrench=_body_wrench(log["cfrc_ext"], log["xpos"], log["subtree_com"]) if self.record else None,
            converged=(log["solver_niter"][..., 0] < self._batch.model.opt.iterations) & stepped,
        )


def _expand_differences(batch: mujoco.batch.Batch, models: list[mujoco.MjModel], subject: np.ndarray) -> None:
    """Give each simulation its subject's values of every model field that is not the same for all subjects."""
    for name in sorted(mujoco.batch.MODEL_FIELDS):
        if name.startswith("opt."):
            continue
        values = [np.asarray(getattr(model, name)) for model in models]
        if any(not np.array_equal(values[0], value) for value in values[1:]):
            batch.expand(name)[:] = np.stack(values)[subject]


def _body_wrench(cfrc_ext: np.ndarray, xpos: np.ndarray, subtree_com: np.ndarray) -> np.ndarray:
    """Contact wrench (..., 24, 6) in SMPL's order, force and then moment about the segment's own joint.

    The engine gives moment and force about the centre of mass of the whole tree.
    """
    moment, force = cfrc_ext[..., 1:, :3], cfrc_ext[..., 1:, 3:]
    arm = xpos[..., 1:, :] - subtree_com[..., 1:2, :]
    return np.concatenate([force, moment - np.cross(arm, force)], axis=-1)[..., TO_SMPL.body_index, :]
