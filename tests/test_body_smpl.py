"""SMPL model files: reading them safely, and shaping and posing against the smplx package and against laws."""

import os
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from makehuman import makehuman_fields
from smpl_format import small_fields, write_npz, write_pkl, write_python2_pkl

from imdy_jax import rotation
from imdy_jax.body.markers import MARKER_SEGMENT
from imdy_jax.body.smpl import SmplModel, load_model, posed, shaped, smpl_body
from imdy_jax.body.smpl_file import SmplFileError, find_model
from imdy_jax.humanoid import from_body
from imdy_jax.skeleton import PARENTS
from imdy_jax.tree import build_tree

pytestmark = pytest.mark.usefixtures("strict")

FIELDS = small_fields()
POSED = jax.jit(posed)


@pytest.fixture(scope="module")
def model(strict: None, tmp_path_factory: pytest.TempPathFactory) -> SmplModel:
    return load_model(write_npz(tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz", FIELDS))


def _random_poses(count: int, num_betas: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    poses = rng.uniform(-1.2, 1.2, (count, 24, 3))
    poses[0] = 0.0
    poses[:, 0] *= 2.0
    return rng.uniform(-2, 2, (count, num_betas)), poses, rng.uniform(-3, 3, (count, 3))


# Against the smplx package


def _largest_difference(file: Path, sex: str, count: int) -> float:
    """Largest distance, m, between our vertices and joints and those of smplx, on random shapes and poses."""
    smplx = pytest.importorskip("smplx", reason="the reference implementation is not installed (extra `smpl`)")
    import torch
    from smplx.vertex_ids import vertex_ids

    ours = load_model(file, sex)
    # smplx also returns landmarks by vertex number; the meshes here have no such vertices.
    landmarks = dict.fromkeys(vertex_ids["smplh"], 0)
    theirs = smplx.SMPL(str(file), gender=sex, vertex_ids=landmarks, dtype=torch.float64)
    worst = 0.0
    for betas, pose, translation in zip(*_random_poses(count, ours.shape_dirs.shape[-1]), strict=True):
        as_tensor = lambda x: torch.tensor(x.reshape(1, -1), dtype=torch.float64)  # noqa: E731
        output = theirs(
            betas=as_tensor(betas),
            global_orient=as_tensor(pose[0]),
            body_pose=as_tensor(pose[1:]),
            transl=as_tensor(translation),
        )
        vertices, joints = POSED(ours, jnp.asarray(betas), jnp.asarray(pose), jnp.asarray(translation))
        reference = output.vertices[0].detach().numpy(), output.joints[0, :24].detach().numpy()
        for found, expected in zip((vertices, joints), reference, strict=True):
            worst = max(worst, float(np.linalg.norm(np.asarray(found) - expected, axis=1).max()))
    return worst


def test_against_smplx_on_a_small_model(tmp_path: Path) -> None:
    assert _largest_difference(write_pkl(tmp_path / "SMPL_MALE.pkl", FIELDS), "male", 20) < 1e-5


def test_against_smplx_on_a_realistic_model(shared_data: Path, tmp_path: Path) -> None:
    fields = makehuman_fields(shared_data / "bodies" / "makehuman_cc0", "female")
    assert _largest_difference(write_pkl(tmp_path / "SMPL_FEMALE.pkl", fields), "female", 5) < 1e-5


# Laws of the pose function


def test_shape_is_linear_and_the_zero_pose_is_the_shaped_rest(model: SmplModel) -> None:
    betas = jnp.linspace(-1.0, 2.0, 10)
    vertices, joints = shaped(model, betas)
    np.testing.assert_allclose(vertices, FIELDS["v_template"] + FIELDS["shapedirs"] @ np.asarray(betas), atol=1e-12)
    np.testing.assert_allclose(joints, FIELDS["J_regressor"] @ np.asarray(vertices), atol=1e-12)
    shift = jnp.array([1.0, 2.0, 3.0])
    at_rest = POSED(model, betas, jnp.zeros((24, 3)), shift)
    for found, rest in zip(at_rest, (vertices, joints), strict=True):
        np.testing.assert_allclose(found, rest + shift[None], atol=1e-12)
    fewer = shaped(model, betas[:4])[0]
    np.testing.assert_allclose(fewer, shaped(model, betas.at[4:].set(0.0))[0], atol=1e-12)


def test_root_rotation_turns_the_whole_about_the_pelvis(model: SmplModel) -> None:
    betas, poses, _ = map(jnp.asarray, _random_poses(2, 10))
    turned = poses[1].at[0].set(jnp.array([0.5, -2.0, 0.3]))
    still = poses[1].at[0].set(0.0)
    before, joints = POSED(model, betas[1], still, jnp.zeros(3))
    after, _ = POSED(model, betas[1], turned, jnp.zeros(3))
    R = np.asarray(rotation.to_matrix(rotation.exp(turned[0])))
    pelvis = np.asarray(joints[0])
    np.testing.assert_allclose(after, (np.asarray(before) - pelvis) @ R.T + pelvis, atol=1e-12)


def test_a_joint_turns_what_lies_beyond_it_and_nothing_else(model: SmplModel) -> None:
    rigid = model.replace(pose_dirs=jnp.zeros_like(model.pose_dirs))
    elbow, angle = 18, 0.9
    rest, joints = map(np.asarray, shaped(model, jnp.zeros(10)))
    pose = jnp.zeros((24, 3)).at[elbow].set(jnp.array([0.0, angle, 0.0]))
    vertices, _ = map(np.asarray, POSED(rigid, jnp.zeros(10), pose, jnp.zeros(3)))
    beyond = FIELDS["weights"] @ build_tree().ancestors[:, elbow]
    np.testing.assert_allclose(vertices[beyond == 0], rest[beyond == 0], atol=1e-12)
    moved, before = vertices[beyond == 1] - joints[elbow], rest[beyond == 1] - joints[elbow]
    c, s = np.cos(angle), np.sin(angle)
    np.testing.assert_allclose(moved, before @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T, atol=1e-12)
    assert np.sum(beyond == 1) > 50


def test_quaternions_and_rotation_vectors_agree_under_vmap(model: SmplModel) -> None:
    betas, poses, shifts = map(jnp.asarray, _random_poses(3, 10))
    batched = jax.jit(jax.vmap(posed, in_axes=(None, 0, 0, 0)))
    by_vector = batched(model, betas, poses, shifts)
    by_quaternion = batched(model, betas, rotation.exp(poses), shifts)
    for a, b in zip(by_vector, by_quaternion, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    lengths = lambda joints: np.linalg.norm(joints[:, 1:] - joints[:, np.array(PARENTS[1:])], axis=-1)  # noqa: E731
    rest = np.stack([shaped(model, b)[1] for b in betas])
    np.testing.assert_allclose(lengths(np.asarray(by_vector[1])), lengths(rest), atol=1e-12)


def test_gradient_at_the_zero_pose(model: SmplModel) -> None:
    """smplx's own axis-angle has no gradient there; ours agrees with finite differences."""
    target = jnp.asarray(np.random.default_rng(5).standard_normal((1008, 3)))

    def along_target(betas: jax.Array, pose: jax.Array, model: SmplModel) -> jax.Array:
        return jnp.vdot(target, POSED(model, betas, pose, jnp.zeros(3))[0])

    gradients = jax.jit(jax.grad(along_target, (0, 1)))(jnp.zeros(10), jnp.zeros((24, 3)), model)
    rng, step = np.random.default_rng(6), 1e-5
    d_betas, d_pose = jnp.asarray(rng.standard_normal(10)), jnp.asarray(rng.standard_normal((24, 3)))
    ahead, behind = (along_target(sign * step * d_betas, sign * step * d_pose, model) for sign in (1, -1))
    along = jnp.vdot(gradients[0], d_betas) + jnp.vdot(gradients[1], d_pose)
    assert float(along) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-6)


# Files


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_of_every_age_hold_the_same_model(model: SmplModel, tmp_path: Path, protocol: int) -> None:
    files = [write_pkl(tmp_path / "new.pkl", FIELDS, protocol)]
    if protocol <= 2:
        files.append(write_python2_pkl(tmp_path / "old.pkl", FIELDS, protocol))
        content = files[-1].read_bytes()
        assert b"chumpy.reordering" in content
        assert b"numpy.core.multiarray" in content
    for file in files:
        found = load_model(file).replace(source=model.source)
        jax.tree.map(np.testing.assert_array_equal, found, model)


class _Call:
    """Pickles as an instruction to call a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, getattr, __import__], ids=lambda f: f.__name__)
def test_pickles_that_call_anything_are_refused_and_not_run(function, tmp_path: Path) -> None:
    trace = tmp_path / "was_here"
    arguments = {os.system: (f"touch {trace}",), eval: (f"open({str(trace)!r}, 'w')",)}.get(function, (os, "system"))
    arguments = ("this",) if function is __import__ else ("text", "upper") if function is getattr else arguments
    file = tmp_path / "SMPL_MALE.pkl"
    file.write_bytes(pickle.dumps(FIELDS | {"v_template": _Call(function, *arguments)}))
    with pytest.raises(SmplFileError, match=rf"SMPL_MALE\.pkl.*{function.__module__}\.{function.__name__}") as error:
        load_model(file, "male")
    assert "https://smpl.is.tue.mpg.de" in str(error.value)
    assert not trace.exists()


def _with(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    return FIELDS | {name: value}


def _changed(name: str, index: tuple[int, ...], value: float) -> dict[str, np.ndarray]:
    array = np.array(FIELDS[name])
    array[index] = value
    return _with(name, array)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (_changed("v_template", (3, 1), np.nan), "v_template: found 1 values that are not finite"),
        (_changed("kintree_table", (0, 5), 1), "kintree_table: found parents"),
        (_with("kintree_table", np.zeros((2, 52))), r"kintree_table: found shape \(2, 52\) \(SMPL\+H's\)"),
        (_changed("weights", (0, 0), 0.5), "weights: found a row whose sum is off by 0.5"),
        (_changed("f", (0, 0), 99999), "f: found vertex numbers beyond the 1008 vertices"),
        (
            _with("posedirs", np.zeros((1008, 3, 93))),
            r"posedirs: found shape \(1008, 3, 93\), expected \(1008, 3, 207\)",
        ),
        (_with("shapedirs", np.array({"a": 1})), "shapedirs: Object arrays"),
        (_with("shapedirs", np.array("text")), "shapedirs: found an array of type <U4"),
        ({k: v for k, v in FIELDS.items() if k != "J_regressor"}, "has no field J_regressor; it has f, kintree"),
    ],
)
def test_wrong_content_is_named(fields: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(SmplFileError, match=rf"SMPL_MALE\.npz: {message}.*SMPL_python_v\.1\.1\.0\.zip"):
        load_model(write_npz(tmp_path / "SMPL_MALE.npz", fields), "male")


def test_files_that_are_no_model(tmp_path: Path) -> None:
    for name, message in (
        ("a.npz", "not readable as .npz"),
        ("a.pkl", "not readable as a body model"),
        ("a.obj", "type .obj"),
    ):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and nothing else")
        with pytest.raises(SmplFileError, match=message):
            load_model(tmp_path / name)
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(SmplFileError, match="holds a list, expected the dict"):
        load_model(tmp_path / "list.pkl")


def test_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMPL_MODEL_DIR", raising=False)
    with pytest.raises(
        SmplFileError, match=r"set SMPL_MODEL_DIR\. Expected basicmodel_neutral_lbs_10_207_0_v1\.1\.0\.pkl"
    ):
        find_model()
    with pytest.raises(SmplFileError, match="no such file or folder"):
        find_model(tmp_path / "nowhere")
    monkeypatch.setenv("SMPL_MODEL_DIR", str(tmp_path))
    with pytest.raises(SmplFileError, match="no female SMPL model in this folder"):
        find_model(sex="female")
    with pytest.raises(ValueError, match="known: female, male, neutral"):
        find_model(sex="f")
    released = tmp_path / "smpl" / "models"
    released.mkdir(parents=True)
    (released / "notes.txt").touch()
    for name, sex in (
        ("basicModel_f_lbs_10_207_0_v1.0.0.pkl", "female"),
        ("basicmodel_m_lbs_10_207_0_v1.1.0.pkl", "male"),
    ):
        (released / name).touch()
        assert find_model(sex=sex).name == name
    (tmp_path / "SMPL_FEMALE.npz").touch()
    assert find_model(sex="female").name == "SMPL_FEMALE.npz"
    with pytest.raises(SmplFileError, match="is the male model, asked for female"):
        load_model(released / "basicmodel_m_lbs_10_207_0_v1.1.0.pkl", "female")


# Body


def test_body_of_a_shape(model: SmplModel, tmp_path: Path) -> None:
    betas = np.linspace(-1.0, 1.0, 10)
    body = smpl_body(model, "neutral", betas, mass=70.0)
    assert float(body.mass.sum()) == pytest.approx(70.0, rel=1e-9)
    vertices, joints = shaped(model, jnp.asarray(betas))
    np.testing.assert_allclose(body.vertices, vertices, atol=1e-12)
    np.testing.assert_allclose(body.joints, joints, atol=1e-12)
    # Each ellipsoid hangs from its joint to the next: its centre of mass lies half-way.
    knee, ankle = 4, 7
    half = np.asarray(joints[ankle] - joints[knee]) / 2
    np.testing.assert_allclose(body.com[knee], half, atol=0.05)
    np.testing.assert_allclose(body.marker_skin.sum(axis=1), 1.0, atol=1e-12)
    assert body.markers.shape == (66, 3)
    assert np.mean(np.argmax(np.asarray(body.marker_skin), axis=1) == MARKER_SEGMENT) > 0.6
    assert (body.sex, body.source) == ("neutral", "SMPL_NEUTRAL.npz")
    assert float(from_body(body).total_mass) == pytest.approx(70.0, rel=1e-9)
    heavier = smpl_body(model, betas=betas, mass=140.0)
    np.testing.assert_allclose(heavier.inertia, 2 * np.asarray(body.inertia), rtol=1e-9)
    np.testing.assert_array_equal(smpl_body(model).betas, np.zeros(10))


def test_betas_that_the_model_has_not(model: SmplModel, tmp_path: Path) -> None:
    zeros = np.zeros(16)
    assert smpl_body(model, betas=zeros).betas.shape == (10,)
    with pytest.raises(ValueError, match="has 10 shape directions, found 16 betas"):
        smpl_body(model, betas=zeros + 0.1)
    with pytest.raises(ValueError, match=r"shape \(2, 10\), expected one vector"):
        smpl_body(model, betas=np.zeros((2, 10)))
    with pytest.raises(ValueError, match="asked for male"):
        smpl_body(model, "male")
    with pytest.raises(ValueError, match="expected a positive number"):
        smpl_body(model, mass=0.0)
    rich = load_model(write_npz(tmp_path / "SMPL_FEMALE.npz", small_fields(num_betas=300)), "female")
    betas = np.zeros(300)
    betas[299] = 1.0
    moved = smpl_body(rich, "female", betas).vertices - smpl_body(rich, "female").vertices
    np.testing.assert_allclose(moved, rich.shape_dirs[..., 299], atol=1e-12)
