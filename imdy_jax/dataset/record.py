"""Record: one imitated sequence with everything that its check and its use need, and nothing that lives elsewhere."""

import dataclasses
import functools
import hashlib
import json
import re
from typing import Any

import jax
import numpy as np
from flax import struct

from imdy_jax.body.person import Body, skin_points
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dataset.schema import SEQUENCE_FIELDS, SUBJECT_FIELDS, check_arrays
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.rollout import Rollout
from imdy_jax.mjcf import FRICTION
from imdy_jax.motion.clip import Clip
from imdy_jax.run import provenance
from imdy_jax.tree import ancestor_sum, build_tree

SUCCESS_DISTANCE = 0.5  # m, the mean body distance that a successful imitation never exceeds (Luo et al. 2023)


@functools.cache
def _software() -> tuple[tuple[str, str], ...]:
    found = provenance()
    return (*found["versions"].items(), ("git_commit", str(found["git_commit"])))


@dataclasses.dataclass(frozen=True)
class Provenance:
    """How a sequence came about. Everything but the software is part of the sequence's identity."""

    policy: str  # digest of the policy's parameters
    seed: int
    repetition: int  # which pass over the motions
    start_frame: int  # of the clip
    engine: str  # "mujoco" or "mjx"
    timestep: float  # s, of one physics substep
    substeps: int  # per control step
    particles: int = 0  # humanoids that searched for a way to depart from the policy; 0: the policy alone
    guided: bool = False  # the policy's action was added to a way known beforehand
    in_mirror: bool = False  # the policy was shown the motion's reflection, and did that of what it would do
    friction: float = FRICTION
    software: tuple[tuple[str, str], ...] = dataclasses.field(default_factory=_software)

    @property
    def control_rate(self) -> float:
        """Control steps, and recorded frames, per second."""
        return 1.0 / (self.timestep * self.substeps)


@dataclasses.dataclass(frozen=True)
class Source:
    """The clip that was imitated."""

    name: str
    path: str
    digest: str  # sha256


@struct.dataclass
class Subject:
    """Who moved: the rigid bodies and the markers on them, so that no body model is needed again."""

    humanoid: Humanoid
    shape: jax.Array  # (B,) whole shape vector of the body model
    marker_rest: jax.Array  # (66, 3) m, markers in the rest pose, from the pelvis joint, rest axes
    marker_skin: jax.Array  # (66, 24)
    sex: str = struct.field(pytree_node=False)
    stature: float = struct.field(pytree_node=False)  # m, height of the surface in the rest pose
    model: str = struct.field(pytree_node=False)  # the body's source

    @property
    def digest(self) -> str:
        """Hash of every number of the subject: its name in a dataset."""
        values = {"sex": self.sex, "stature": self.stature, "model": self.model}
        return content_digest(subject_arrays(self), values)[:16]


@struct.dataclass
class Record:
    """One sequence of T control steps with S substeps; axes, units and frames of the arrays are in schema.py."""

    subject: Subject
    q: jax.Array  # (T+1, 99)
    v: jax.Array  # (T+1, 75)
    betas: jax.Array  # (T+1, NUM_BETAS)
    target: jax.Array  # (T, 23, 4)
    substep_v: jax.Array  # (T, S, 75)
    torque: jax.Array  # (T, S, 23, 3)
    wrench: jax.Array  # (T, S, 24, 6)
    clipped: jax.Array  # (T, S, 23)
    converged: jax.Array  # (T, S)
    angular_momentum: jax.Array  # (T, 23, 3)
    contact_force: jax.Array  # (T, 24, 3)
    markers: jax.Array  # (T+1, 66, 3)
    source: Source = struct.field(pytree_node=False)
    provenance: Provenance = struct.field(pytree_node=False)
    position_error: float = struct.field(pytree_node=False)  # mm, mean joint distance to the imitated motion (MPJPE)
    success: bool = struct.field(pytree_node=False)  # the mean body distance stayed below SUCCESS_DISTANCE

    @property
    def id(self) -> str:
        return sequence_id(self.source, self.subject, self.provenance)

    @property
    def duration(self) -> float:
        """Seconds of motion."""
        return len(self.target) / self.provenance.control_rate

    @property
    def precision(self) -> str:
        """Type of the simulator's numbers, "float64" or "float32"."""
        return str(np.asarray(self.q).dtype)

    @property
    def attributes(self) -> dict[str, Any]:
        """Everything that is not an array, as JSON values; the subject by its digest."""
        provenance = dataclasses.asdict(self.provenance)
        return {
            **provenance,
            "software": dict(provenance["software"]),
            "clip": dataclasses.asdict(self.source),
            "subject": self.subject.digest,
            "control_rate": self.provenance.control_rate,
            "frames": len(self.q),
            "duration": self.duration,
            "precision": self.precision,
            "position_error_mm": self.position_error,
            "success": self.success,
            "clipped_share": float(np.mean(self.clipped)),
            "unconverged_substeps": int(np.sum(~np.asarray(self.converged))),
        }

    @property
    def digest(self) -> str:
        """sha256 of the whole content."""
        return content_digest(sequence_arrays(self), self.attributes)


def make_subject(humanoid: Humanoid, body: Body) -> Subject:
    """Subject of a humanoid (one person, unstacked leaves) and the body that it was made from."""
    height = np.asarray(body.vertices)[:, 1]
    dtype = np.asarray(humanoid.mass).dtype
    return Subject(
        humanoid=jax.tree.map(np.asarray, humanoid),
        shape=np.asarray(body.betas, dtype),
        marker_rest=np.asarray(body.markers - body.joints[0], dtype),
        marker_skin=np.asarray(body.marker_skin, dtype),
        sex=body.sex,
        stature=float(np.max(height) - np.min(height)),
        model=body.source,
    )


def sequence_id(source: Clip | Source, subject: Subject, provenance: Provenance) -> str:
    """Name of a sequence, known before it is simulated: the clip's name and a hash of all that determines it."""
    identity = dataclasses.asdict(provenance) | {"clip": (source.name, source.digest), "subject": subject.digest}
    del identity["software"]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{re.sub('[^A-Za-z0-9_-]+', '_', source.name)[:64]}-{digest[:16]}"


def record_rollout(
    rollout: Rollout, subject: Subject, clip: Clip, provenance: Provenance, completed: bool = True
) -> Record:
    """The record of an imitated sequence, with its 30 Hz view, markers and imitation error.

    completed: the clip was followed to its end; a rollout that was cut where it failed is no success.

    Raises DatasetError where the rollout holds NaN or arrays of the wrong shape or type.
    """
    real = np.asarray(rollout.q).dtype
    arrays = {name: np.asarray(getattr(rollout, name)) for name in SEQUENCE_FIELDS if hasattr(rollout, name)}
    arrays["target"] = arrays["target"].astype(real)
    arrays["betas"] = np.tile(np.asarray(subject.humanoid.betas, real), (len(arrays["q"]), 1))
    simulated = {name: field for name, field in SEQUENCE_FIELDS.items() if field.kind != "view"}
    check_arrays(arrays, simulated, f"rollout of clip {clip.name!r}")
    views = thirty_hertz_view(arrays["torque"], arrays["wrench"], provenance.timestep)
    joints, markers = body_points(subject, arrays["q"])
    distance = np.linalg.norm(joints - np.asarray(rollout.reference), axis=-1)
    return Record(
        subject=subject,
        **arrays,
        angular_momentum=views[0].astype(np.float32),
        contact_force=views[1].astype(np.float32),
        markers=markers.astype(np.float32),
        source=Source(clip.name, clip.source, clip.digest),
        provenance=provenance,
        position_error=float(1000.0 * np.mean(distance)),
        success=completed and bool(np.max(np.mean(distance, axis=-1)) <= SUCCESS_DISTANCE),
    )


def thirty_hertz_view(torque: np.ndarray, wrench: np.ndarray, timestep: float) -> tuple[np.ndarray, np.ndarray]:
    """Angular momentum (T, 23, 3), N·m·s, that the torques impose, and mean contact forces (T, 24, 3), N, float64."""
    return np.sum(torque, axis=1, dtype=np.float64) * timestep, np.mean(wrench[..., :3], axis=1, dtype=np.float64)


def body_points(subject: Subject, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World positions of the joints (T, 24, 3) and of the markers (T, 66, 3) for poses q (T, 99), m, float64."""
    return map_frames(_posed_points, (subject.humanoid, subject.marker_rest, subject.marker_skin), q)


@jax.jit
def _posed_points(constants: tuple, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    humanoid, rest, skin = constants
    joints = ancestor_sum(build_tree(), humanoid.offset)  # from the pelvis, as the markers are

    def one(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        pose = forward_kinematics(humanoid, q)
        return pose.position, skin_points(rest, skin, joints, pose.rotation, pose.position)

    return jax.vmap(one)(q)


def sequence_arrays(record: Record) -> dict[str, np.ndarray]:
    """The arrays of a record by the names of schema.SEQUENCE_FIELDS."""
    return {name: np.asarray(getattr(record, name)) for name in SEQUENCE_FIELDS}


def subject_arrays(subject: Subject) -> dict[str, np.ndarray]:
    """The arrays of a subject by the names of schema.SUBJECT_FIELDS."""
    owner = lambda name: subject if hasattr(subject, name) else subject.humanoid  # noqa: E731
    return {name: np.asarray(getattr(owner(name), name)) for name in SUBJECT_FIELDS}


def content_digest(arrays: dict[str, np.ndarray], values: dict[str, Any]) -> str:
    """sha256 over arrays and plain values."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
