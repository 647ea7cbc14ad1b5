"""What a simulator recorded passes; whatever is altered by a per cent, forged or disordered does not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recorded_falls
import zarr
from toy_humanoid import toy_humanoid

from imdy_jax import mjcf
from imdy_jax.dataset.certify import certified_ids, certify, certify_dataset, read_certificate
from imdy_jax.dataset.checks import CHECKS
from imdy_jax.dataset.record import make_subject, record_rollout
from imdy_jax.dataset.report import residual_table, summarize
from imdy_jax.dataset.schema import SEQUENCE_FIELDS, DatasetError
from imdy_jax.dataset.store import create_dataset, write_record
from imdy_jax.dynamics.kinematics import forward_kinematics, integrate
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.skeleton import GROUPS, JOINT_NAMES, LEFT_FOOT

LAWS = ("root_force", "root_moment", "joint_torque")
FRAMES = 70


@pytest.fixture(scope="module")
def falls():
    return recorded_falls.records(FRAMES)[1]


@pytest.fixture(scope="module")
def single():
    return recorded_falls.records(FRAMES, double=False)[1]


def failed(record):
    """Names of the checks and flags that a record fails."""
    return {fault.split()[0] for fault in certify(record).faults}


def altered(record, name, index, factor=1.01):
    values = np.array(getattr(record, name))
    assert values[index] != 0, "altering nothing"
    values[index] *= factor
    return record.replace(**{name: values})


def entries(values, shares=(0.02, 0.5, 1.0)):
    """Indices of a small, a middling and the largest of the entries that are not zero."""
    flat = np.abs(values).ravel()
    order = np.argsort(flat)[np.count_nonzero(flat == 0) :]
    return [np.unravel_index(order[round(share * (len(order) - 1))], values.shape) for share in shares]


def test_falls_with_contacts_of_many_bodies_pass(falls):
    for record in falls:
        certificate = certify(record)
        assert certificate.passed, certificate.faults
        assert certificate.precision == "float64"
        assert certificate.weight == pytest.approx(9.81 * record.subject.humanoid.mass.sum())
        assert set(certificate.figures) == set(CHECKS)
        for name in LAWS:
            figure = certificate.figures[name]
            assert 0 < figure.median <= figure.p99 <= figure.worst < figure.limit == 1e-9
            assert len(figure.worst_frames) == 5
        touching = np.any(np.abs(record.wrench[..., :3]) > 0, axis=(0, 1, 3))
        assert np.sum(touching) >= 8, "a fall must reach the floor with more than the feet"
        assert np.max(np.abs(record.wrench)) > 2 * certificate.weight


def test_single_precision_is_named_and_held_to_its_own_limit(single):
    for record in single:
        certificate = certify(record)
        assert certificate.passed, certificate.faults
        assert certificate.precision == "float32"
        assert [certificate.figures[name].limit for name in LAWS] == [1e-3] * 3
        assert certificate.figures["joint_torque"].worst > 1e-9


@pytest.mark.parametrize("precision", ["falls", "single"])
def test_one_torque_altered_by_a_per_cent(precision, request):
    record = request.getfixturevalue(precision)[0]
    for index in entries(record.torque):
        assert failed(altered(record, "torque", index)) >= {"angular_momentum"}
    if precision == "falls":
        for index in entries(record.torque):
            assert failed(altered(record, "torque", index)) >= {"joint_torque", "actuation", "replay_moment"}


@pytest.mark.parametrize("precision", ["falls", "single"])
def test_one_contact_force_altered_by_a_per_cent(precision, request):
    record = request.getfixturevalue(precision)[0]
    forces = np.where(np.arange(6) < 3, record.wrench, 0)
    for index in entries(forces):
        assert failed(altered(record, "wrench", index)) >= {"contact_force"}
    if precision == "falls":
        for index in entries(record.wrench):
            assert failed(altered(record, "wrench", index)) & {"joint_torque", "root_moment", "root_force"}
    assert "contact_force" in failed(altered(record, "contact_force", entries(record.contact_force)[1]))


def test_every_mass_altered_by_a_per_cent(falls):
    record = falls[1]
    for k in range(24):
        mass = np.array(record.subject.humanoid.mass)
        mass[k] *= 1.01
        humanoid = record.subject.humanoid.replace(mass=mass)
        forged = record.replace(subject=record.subject.replace(humanoid=humanoid))
        assert failed(forged) >= {"root_force", "root_moment"}, JOINT_NAMES[k]
        assert forged.subject.digest != record.subject.digest


@pytest.mark.parametrize(
    ("name", "index", "check"),
    [
        ("com", (4, 1), "joint_torque"),
        ("inertia", (22, 0, 0), "joint_torque"),
        ("offset", (18, 0), "joint_torque"),
        ("stiffness", 3, "actuation"),
        ("damping", 3, "actuation"),
        ("armature", 3, "actuation"),
        ("solid_radius", 12, "contact_"),
    ],
)
def test_other_parameters_of_the_subject_altered_by_a_per_cent(falls, name, index, check):
    record = falls[0]
    values = np.array(getattr(record.subject.humanoid, name))
    values[index] *= 1.01
    humanoid = record.subject.humanoid.replace(**{name: values})
    forged = record.replace(subject=record.subject.replace(humanoid=humanoid))
    assert any(fault.startswith(check) for fault in certify(forged).faults)


def reordered(record, steps, frames):
    """Control steps and frames in another order."""
    timed = {name: field.axes[0] for name, field in SEQUENCE_FIELDS.items()}
    order = {"step": steps, "frame": frames}
    return record.replace(**{name: getattr(record, name)[order[axis]] for name, axis in timed.items()})


@pytest.mark.parametrize("frame", [15, 50])
@pytest.mark.parametrize("precision", ["falls", "single"])
def test_frames_out_of_order(precision, frame, request):
    record = request.getfixturevalue(precision)[0]
    steps, frames = np.arange(FRAMES), np.arange(FRAMES + 1)
    swapped = [np.where(x == frame, frame + 1, np.where(x == frame + 1, frame, x)) for x in (steps, frames)]
    assert failed(reordered(record, *swapped)) >= {"continuity_rotation", "continuity_spin"}
    doubled = [np.sort(np.append(x, frame)) for x in (steps, frames)]
    assert failed(reordered(record, *doubled)) >= {"continuity_rotation", "continuity_spin"}
    missing = [np.delete(x, frame) for x in (steps, frames)]
    assert failed(reordered(record, *missing)) >= {"continuity_rotation", "continuity_spin"}


@pytest.mark.parametrize(
    ("name", "index", "checks"),
    [
        ("q", (30, 2), {"continuity_position", "markers"}),
        ("q", (30, 40), {"continuity_rotation", "markers"}),
        ("q", (FRAMES, 2), {"continuity_position", "replay_position"}),
        ("v", (30, 2), {"continuity_speed", "joint_torque"}),
        ("v", (30, 40), {"continuity_spin", "joint_torque"}),
        ("substep_v", (30, 1, 40), {"joint_torque", "continuity_rotation"}),
        ("target", (30, 5, 1), {"actuation"}),
        ("angular_momentum", (30, 5, 1), {"angular_momentum"}),
        ("markers", (30, 5, 1), {"markers"}),
    ],
)
def test_other_values_altered_by_a_per_cent(falls, name, index, checks):
    assert failed(altered(falls[0], name, index)) >= checks


def test_flags_and_betas_that_contradict_the_rest(falls):
    record = falls[0]
    clipped = np.array(record.clipped)
    clipped[30, 2, 7] ^= True
    assert failed(record.replace(clipped=clipped)) == {"clipped"}
    betas = np.array(record.betas)
    betas[30, 1] += 0.01
    assert failed(record.replace(betas=betas)) == {"betas"}


def test_nan_is_named_with_its_place(falls):
    values = np.array(falls[0].wrench)
    values[3, 1, 7, 2] = np.nan
    (fault,) = certify(falls[0].replace(wrench=values)).faults
    assert "field wrench holds 1 values that are not finite, the first at step 3, substep 1, segment 7" in fault


@pytest.fixture(scope="module")
def states(falls):
    """Pose, velocity and acceleration before each substep of the first fall."""
    record, h = falls[0], falls[0].provenance.timestep
    with jax.enable_x64(True):
        inner = jax.vmap(lambda q, v: jax.lax.scan(lambda q, v: (integrate(q, v, h), q), q, v)[1])
        q = np.asarray(jax.jit(inner)(record.q[:-1], record.substep_v)).reshape(-1, 99)
    v = np.concatenate([record.v[:1], record.substep_v.reshape(-1, 75)])
    return q, v[:-1], np.diff(v, axis=0) / h


def forge(record, states, wrench):
    """The record with other contact wrenches, and with the torques that balance them."""
    with jax.enable_x64(True):
        explain = jax.jit(jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0, 0)))
        torque, _ = explain(record.subject.humanoid, *states, jnp.asarray(wrench.reshape(-1, 24, 6)))
    torque = np.asarray(torque).reshape(record.torque.shape)
    momentum, force = torque.sum(axis=1) / 120, wrench[..., :3].mean(axis=1)
    size = np.linalg.norm(torque, axis=-1)
    return record.replace(
        wrench=wrench,
        torque=torque,
        clipped=size > record.subject.humanoid.effort,
        angular_momentum=momentum.astype(np.float32),
        contact_force=force.astype(np.float32),
    )


def moved(record, states, share, to):
    """Wrenches in which a share of what bears on the left foot bears on another segment instead."""
    with jax.enable_x64(True):
        pose = jax.jit(jax.vmap(forward_kinematics, in_axes=(None, 0)))(record.subject.humanoid, states[0])
    position = np.asarray(pose.position).reshape(*record.wrench.shape[:2], 24, 3)
    wrench, foot = np.array(record.wrench), LEFT_FOOT[0]
    taken = share * wrench[:, :, foot]
    arm = position[:, :, foot] - position[:, :, to]
    wrench[:, :, foot] -= taken
    wrench[:, :, to] += taken
    wrench[:, :, to, 3:] += np.cross(arm, taken[..., :3])
    return wrench


def test_a_balanced_forgery_breaks_the_laws_of_contact_and_of_the_controller(falls, states):
    record = falls[0]
    assert certify(forge(record, states, np.array(record.wrench))).passed
    forged = forge(record, states, moved(record, states, 0.01, JOINT_NAMES.index("left_hand")))
    found = failed(forged)
    assert found == {"actuation", "contact_lift", "contact_centre"}, "the motion itself is still explained"


def test_a_balanced_forgery_between_touching_feet_breaks_the_law_of_the_controller(falls, states):
    record = falls[0]
    assert "actuation" in failed(forge(record, states, moved(record, states, 0.01, LEFT_FOOT[1])))


def test_a_solver_that_does_not_converge_is_named(monkeypatch):
    monkeypatch.setattr(mjcf, "SOLVER_ITERATIONS", 2)
    with jax.enable_x64(True):
        person = toy_humanoid()
        (rollout,) = recorded_falls.simulate([person], 45, threads=1)
        subject = make_subject(person, recorded_falls.toy_body(person))
    record = record_rollout(rollout, subject, recorded_falls.toy_clip(), recorded_falls.provenance())
    certificate = certify(record)
    first = np.argwhere(~record.converged)[0][0]
    named = [f"first at frame {first}: the constraint solver did not meet" in fault for fault in certificate.faults]
    assert any(named), certificate.faults


@pytest.fixture(scope="module")
def dataset(falls, tmp_path_factory):
    """A good sequence, one with flags that are wrong, one altered on disk and one that cannot be read."""
    dataset = create_dataset(tmp_path_factory.mktemp("certify") / "dataset.zarr")
    made = [falls[0].replace(provenance=dataclasses.replace(falls[0].provenance, seed=seed)) for seed in range(4)]
    converged = np.array(made[1].converged)
    converged[20, 3] = False
    clipped = np.array(made[1].clipped)
    clipped[20, :, JOINT_NAMES.index("left_knee") - 1] = True
    made[1] = made[1].replace(converged=converged, clipped=clipped)
    for record in made:
        write_record(dataset, record)
    zarr.open_array(dataset.sequence(made[2].id) / "torque", mode="r+")[3, 1, 2, 0] *= 1.01
    (dataset.sequence(made[3].id) / "zarr.json").write_text("damaged")
    return dataset, [record.id for record in made]


def test_failing_sequences_are_named_and_left_out(dataset):
    dataset, (good, unconverged, changed, unreadable) = dataset
    assert certified_ids(dataset) == []
    done = []
    certificates = {c.sequence: c for c in certify_dataset(dataset, on_done=done.append)}
    assert len(done) == 4
    assert certified_ids(dataset) == [good]
    assert certificates[unconverged].faults[0].startswith("converged is false in 1 of 280 substeps, first at frame 20")
    assert "does not match the digest" in certificates[changed].faults[0]
    assert "not the metadata of a Zarr v3 group" in certificates[unreadable].faults[0]

    table = {row[0]: row[1] for row in summarize(dataset).rows}
    assert (table["sequences"], table["failed"], table["certified"]) == (4, 3, 25.0)
    legs = sum(group == "leg" for group in GROUPS)
    assert table["– leg"] == pytest.approx(100 / (2 * legs * FRAMES))  # of the two sequences that could be read
    assert table["– arm"] == 0
    assert table["size per hour"] == pytest.approx(table["size"] * 3600 / table["motion"])
    assert f"failed: {unconverged}: converged is false" in str(summarize(dataset))
    residuals = residual_table(list(certificates.values()))
    row = next(row for row in residuals.rows if row[1] == "joint_torque")
    figure = certificates[good].figures["joint_torque"]
    assert row[:6] == ("float64", "joint_torque", figure.median, figure.worst, 1e-9, "body weight × height")


def test_an_unknown_sequence_is_named(dataset):
    with pytest.raises(DatasetError, match="no sequence 'walk' among 4"):
        certify_dataset(dataset[0], ["walk"])


def test_certificates_are_kept_and_hold_only_for_the_content_they_saw(dataset):
    dataset, (good, *_) = dataset
    (first,) = certify_dataset(dataset, [good])
    file = dataset.certificate(good) / "zarr.json"
    written = file.stat().st_mtime_ns
    assert certify_dataset(dataset, [good]) == [first] == [read_certificate(dataset, good)]
    assert file.stat().st_mtime_ns == written
    assert zarr.open_group(dataset.path, mode="r")["certificates"][good].attrs["passed"]
    certify_dataset(dataset, [good], renew=True)
    assert file.stat().st_mtime_ns > written

    sequence = dataset.sequence(good) / "zarr.json"
    content = sequence.read_text()
    sequence.write_text(content.replace(first.digest, "0" * 64))
    assert read_certificate(dataset, good) is None
    assert good not in certified_ids(dataset)
    sequence.write_text(content)
    file.write_text("half a certif")
    assert read_certificate(dataset, good) is None
    assert certify_dataset(dataset, [good]) == [first]
