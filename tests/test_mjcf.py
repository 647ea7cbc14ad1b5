"""The MuJoCo model says what the humanoid says, in MuJoCo's own order."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from toy_humanoid import toy_humanoid

from imdy_jax.humanoid import SOLID_BODY, stack
from imdy_jax.mjcf import TO_MUJOCO, TO_SMPL, build_model, standing_height
from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES, PARENTS

TIMESTEP = 1 / 60


@pytest.fixture(scope="module")
def person():
    return toy_humanoid(0.9, 60.0, skew=0.4)


@pytest.fixture(scope="module")
def model(person):
    return build_model(person, TIMESTEP)


def test_index_maps_follow_the_names(model):
    names = [model.body(i + 1).name for i in range(NUM_BODIES)]
    assert names == [JOINT_NAMES[k] for k in TO_MUJOCO.body_index]
    assert list(JOINT_NAMES) == [names[i] for i in TO_SMPL.body_index]
    for there, back in zip(TO_MUJOCO, TO_SMPL, strict=True):
        np.testing.assert_array_equal(there[back], np.arange(len(there)))
    for k, name in enumerate(JOINT_NAMES[1:], start=1):
        joint = model.joint(name)
        np.testing.assert_array_equal(TO_SMPL.qpos_index[3 + 4 * k : 7 + 4 * k], joint.qposadr[0] + np.arange(4))
        np.testing.assert_array_equal(TO_SMPL.dof_index[3 + 3 * k : 6 + 3 * k], joint.dofadr[0] + np.arange(3))


def test_tree_and_inertial_parameters(model, person):
    for k, name in enumerate(JOINT_NAMES):
        body = model.body(name)
        assert model.body(body.parentid[0]).name == ("world" if k == 0 else JOINT_NAMES[PARENTS[k]])
        axes = np.empty(9)
        mujoco.mju_quat2Mat(axes, body.iquat)
        axes = axes.reshape(3, 3)
        np.testing.assert_allclose(axes @ np.diag(body.inertia) @ axes.T, person.inertia[k], rtol=2e-6, atol=1e-9)
        np.testing.assert_allclose(body.mass[0], person.mass[k], rtol=1e-6)
        np.testing.assert_allclose(body.ipos, person.com[k], atol=1e-7)
        if k:
            np.testing.assert_allclose(body.pos, person.offset[k], atol=1e-7)


def test_solids_touch_the_floor_alone(model, person):
    data = mujoco.MjData(model)
    data.qpos[2] -= 0.01
    mujoco.mj_forward(model, data)
    floor = model.geom("floor").id
    assert data.ncon >= 4
    assert all(floor in pair for pair in data.contact.geom)
    # The default pose stands with its lowest solid on the floor.
    np.testing.assert_allclose(data.contact.dist.min(), -0.01, atol=1e-6)
    np.testing.assert_allclose(model.qpos0[2], standing_height(person), atol=1e-7)
    for g, k in enumerate(SOLID_BODY):
        body = data.body(JOINT_NAMES[k])
        expected = body.xpos + np.asarray(person.solid_ends[g]) @ body.xmat.reshape(3, 3).T
        for side, end in zip("ab", expected, strict=True):
            sphere = model.geom(f"{JOINT_NAMES[k]}_{g}_{side}")
            np.testing.assert_allclose(data.geom(sphere.id).xpos, end, atol=1e-6)
            np.testing.assert_allclose(sphere.size[0], person.solid_radius[g], rtol=1e-6)
        # The capsule that is drawn spans the two spheres that touch.
        capsule = model.geom(f"{JOINT_NAMES[k]}_{g}")
        half = capsule.size[1] * data.geom(capsule.id).xmat.reshape(3, 3)[:, 2]
        np.testing.assert_allclose(data.geom(capsule.id).xpos + np.outer([1, -1], half), expected, atol=1e-6)
        assert capsule.contype[0] == capsule.conaffinity[0] == 0


def test_stable_pd_terms(model, person):
    damping = np.asarray(person.damping) + TIMESTEP * np.asarray(person.stiffness)
    np.testing.assert_allclose(model.jnt_stiffness[TO_SMPL.body_index][1:], person.stiffness, rtol=1e-6)
    np.testing.assert_allclose(model.dof_damping[TO_SMPL.dof_index][6:], np.repeat(damping, 3), rtol=1e-6)
    armature = np.asarray(person.armature) + TIMESTEP * damping
    np.testing.assert_allclose(model.dof_armature[TO_SMPL.dof_index][6:], np.repeat(armature, 3), rtol=1e-6)
    assert not np.any(model.dof_damping[:6])
    assert not np.any(model.dof_armature[:6])


def test_bare_tree_has_neither_drive_nor_contact(person):
    bare = build_model(person, TIMESTEP, simulation=False)
    data = mujoco.MjData(bare)
    data.qpos[2] -= 0.1
    mujoco.mj_forward(bare, data)
    assert data.ncon == 0
    for drive in (bare.jnt_stiffness, bare.dof_damping, bare.dof_armature):
        assert not np.any(drive)
    # The torque-free body falls freely.
    np.testing.assert_allclose(data.qacc, [0, 0, -9.81] + [0] * 72, atol=1e-9)


def test_errors_name_what_is_wrong(person):
    with pytest.raises(ValueError, match="one subject"):
        build_model(stack([person, person]), TIMESTEP)
    flat = replace(person, inertia=person.inertia.at[7].set(np.diag([1e-3, 1e-3, 9e-3])))
    with pytest.raises(ValueError, match=r"left_ankle.*triangle"):
        build_model(flat, TIMESTEP)
