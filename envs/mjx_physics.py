"""The simulated world on a GPU or TPU: MuJoCo in JAX (MJX), or MuJoCo Warp behind the same interface."""

import importlib.util
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from mujoco import mjx

from envs.physics import CHEST_ROW, Outcome, PhysicsState, Substeps, hold, settle
from envs.subjects import distinct_models
from imdy_jax.humanoid import Humanoid
from imdy_jax.mjcf import SOLVER_ITERATIONS, TO_MUJOCO, TO_SMPL
from imdy_jax.skeleton import NUM_JOINTS

IMPLEMENTATIONS = ("jax", "warp")
_ROWS_PER_CONTACT = 4  # edges of the friction pyramid


class _Log(NamedTuple):
    """One physics substep of one humanoid, in SMPL's order."""

    v: jax.Array  # (75,)
    torque: jax.Array  # (23, 3)
    wrench: jax.Array | None  # (24, 6)
    converged: jax.Array  # () bool


class MjxPhysics:
    """Physics (see envs.physics) by MJX; float64 where JAX's x64 flag is set (impl="jax" only), else float32.

    Args:
      humanoids: N subjects, leaves stacked (N, ...).
      substeps: physics substeps per control step.
      control_hz: control steps per second.
      record: also return the contact wrenches.
      impl: "jax", or "warp" (needs warp-lang and an NVIDIA GPU; several times faster there).

    Raises ValueError for an unknown impl or where Warp or its GPU is missing.
    """

    def __init__(self, humanoids: Humanoid, substeps: int = 2, control_hz: float = 30.0, record: bool = False,
                 impl: str = "jax"):  # fmt: skip
        _check_implementation(impl)
        self.humanoid = humanoids
        self.num_envs = humanoids.mass.shape[0]
        self.substeps = substeps
        self.timestep = 1.0 / (control_hz * substeps)
        self.record = record
        self.devices = jax.devices() if impl == "jax" else jax.local_devices()[:1]  # Warp's step is one opaque call
        self._impl = impl
        models, subject = distinct_models(humanoids, self.timestep)
        for model in models:
            if impl == "jax":
                model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE  # what accelerators are good at
            if impl == "jax" or not record:
                model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        here = jax.local_devices()[0]  # by default MJX takes the first of all, which may be another process's
        put = [mjx.put_model(model, device=here, impl=impl) for model in models]
        model, axes = _stack_models(put, subject)
        data = mjx.make_data(models[0], device=here, impl=impl, **_capacity(models[0], self.num_envs, impl))
        self._engine = _Engine(model, data, axes, substeps, self.timestep, record, impl)

    def reset(self, q: jax.Array, v: jax.Array) -> PhysicsState:
        """State at q (N, 99), v (N, 75) with a cold constraint solver; Warp refuses float64 with a ValueError."""
        if self._impl == "warp" and q.dtype != jnp.float32:
            raise ValueError(
                f'physics engine "warp" computes in float32, found {q.dtype}; use "c" or "mjx" for float64'
            )
        return PhysicsState(q=q, v=v, warmstart=jnp.zeros_like(v))

    def step(
        self, state: PhysicsState, target: jax.Array, push: jax.Array | None = None
    ) -> tuple[PhysicsState, Substeps]:
        """Hold the PD target (N, 23, 4), child in parent, for one control step, and push the chest (N, 3), N."""
        out = self._engine.advance(state, hold(self.humanoid, state, target), push)
        return settle(self.humanoid, out)

    def run(self, state: PhysicsState, held: jax.Array) -> Outcome:
        """What the engine makes of one control step towards a target (N, 23, 4) of `hold`.

        Compiled for these people: MJX keeps static a part of its models that is not the same for all.
        """
        return _advance(self._engine, state, held)


@struct.dataclass
class _Engine:
    """MJX's model of N humanoids: a pytree, which a compiled program can take as an argument."""

    model: mjx.Model
    data: mjx.Data
    axes: tuple[int | None, ...] = struct.field(pytree_node=False)  # of the model's leaves for vmap
    substeps: int = struct.field(pytree_node=False)
    timestep: float = struct.field(pytree_node=False)
    record: bool = struct.field(pytree_node=False)
    impl: str = struct.field(pytree_node=False)

    def advance(self, state: PhysicsState, held: jax.Array, push: jax.Array | None = None) -> Outcome:
        """One control step of everybody towards held (N, 23, 4), the chest pushed by (N, 3) N."""
        push = jnp.zeros_like(state.q[:, :3]) if push is None else push.astype(state.q.dtype)
        axes = jax.tree.unflatten(jax.tree.structure(self.model), self.axes)
        after, log = jax.vmap(self._step, in_axes=(axes, 0, 0, 0))(self.model, state, held, push)
        return Outcome(after.q, log.v, after.warmstart, log.torque, log.wrench, log.converged)

    def _step(
        self, model: mjx.Model, state: PhysicsState, target: jax.Array, push: jax.Array
    ) -> tuple[PhysicsState, _Log]:
        target = target.reshape(-1)[TO_MUJOCO.qpos_index[7:] - 7]
        model = model.replace(qpos_spring=model.qpos_spring.at[7:].set(target))
        data = self.data.replace(
            qpos=state.q[TO_MUJOCO.qpos_index],
            qvel=state.v[TO_MUJOCO.dof_index],
            qacc_warmstart=state.warmstart[TO_MUJOCO.dof_index],
            xfrc_applied=self.data.xfrc_applied.at[CHEST_ROW, :3].set(push),
        )
        data, log = jax.lax.scan(lambda data, _: self._substep(model, data), data, length=self.substeps)
        after = PhysicsState(
            q=data.qpos[TO_SMPL.qpos_index],
            v=data.qvel[TO_SMPL.dof_index],
            warmstart=data.qacc_warmstart[TO_SMPL.dof_index],
        )
        return after, log

    @jax.default_matmul_precision("highest")  # by default a GPU would round products to TF32
    def _substep(self, model: mjx.Model, before: mjx.Data) -> tuple[mjx.Data, _Log]:
        after = mjx.step(model, before)
        acceleration = (after.qvel - before.qvel) / self.timestep
        # The rotor's inertia and the stable-PD part of the spring are torques across the joint.
        force = (after.qfrc_passive - model.dof_armature * acceleration)[TO_SMPL.dof_index]
        log = _Log(
            v=after.qvel[TO_SMPL.dof_index],
            torque=force[6:].reshape(NUM_JOINTS, 3),
            wrench=_body_wrench(model, after, self.impl) if self.record else None,
            converged=_converged(after),
        )
        return after, log


@jax.jit
def _advance(engine: _Engine, state: PhysicsState, held: jax.Array) -> Outcome:
    return engine.advance(state, held)


def _check_implementation(impl: str) -> None:
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"unknown MJX implementation {impl!r}; known: {', '.join(IMPLEMENTATIONS)}")
    if impl == "warp":
        if importlib.util.find_spec("warp") is None:
            raise ValueError('physics engine "warp" needs the package warp-lang; run pip install "mujoco-mjx[warp]"')
        if jax.default_backend() != "gpu":
            raise ValueError(
                f'physics engine "warp" needs an NVIDIA GPU, found JAX on {jax.default_backend()}; use "c" or "mjx"'
            )


def _capacity(model: mujoco.MjModel, num_envs: int, impl: str) -> dict[str, int]:
    """Warp's buffers hold every contact that can exist; MJX in JAX sizes its own."""
    if impl == "jax":
        return {}
    contacts = int(np.sum(model.geom_contype > 0))  # a sphere touches the floor once
    return {"naconmax": contacts * num_envs, "njmax": _ROWS_PER_CONTACT * contacts}


def _stack_models(models: list[mjx.Model], subject: np.ndarray) -> tuple[mjx.Model, tuple[int | None, ...]]:
    """One model whose leaves have a leading axis (N, ...) where subjects differ, and each leaf's axis for vmap.

    Leaves alone are compared: what MJX keeps static is the same for all subjects of one topology.
    """
    leaves = [jax.tree.leaves(model) for model in models]
    structure = jax.tree.structure(models[0])
    stacked, axes = [], []
    for values in zip(*leaves, strict=True):
        same = all(np.array_equal(values[0], value, equal_nan=False) for value in values[1:])
        stacked.append(values[0] if same else jnp.stack(values)[subject])
        axes.append(None if same else 0)
    return jax.tree.unflatten(structure, stacked), tuple(axes)


def _converged(data: mjx.Data) -> jax.Array:
    return (data._impl.solver_niter < SOLVER_ITERATIONS) & jnp.all(jnp.isfinite(data.qvel))


def _body_wrench(model: mjx.Model, data: mjx.Data, impl: str) -> jax.Array:
    """Contact wrench (24, 6) in SMPL's order, force and then moment about the segment's own joint.

    After a step the contacts, positions and forces in data still belong to the state before it. The engine gives
    moment and force about the centre of mass of the whole tree; Warp's own sensor stage has computed them.
    """
    if impl == "jax":
        data = mjx.rne_postconstraint(model, data)
    spatial = data._impl.cfrc_ext[1:]
    moment, force = spatial[:, :3], spatial[:, 3:]
    arm = data.xpos[1:] - data.subtree_com[1]
    return jnp.concatenate([force, moment - jnp.cross(arm, force)], axis=-1)[TO_SMPL.body_index]
