"""AMASS-style `.npz` files ↔ Clip: SMPL (72 pose numbers), SMPL+H (156) and SMPL-X (165, `_stageii`) layouts.

All three layouts start with the root and 21 body joints, which are SMPL's own. SMPL's last two joints (the hands)
are read from the 72 layout only: the larger layouts have fingers in their place, and the hands stay at rest.
Source of the layouts: Mahmood et al. 2019 (AMASS) and the files' own keys.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from imdy_jax import rotation
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.errors import FASTEST, SLOWEST, MotionFileError, require_finite, require_length
from imdy_jax.motion.filters import continuous
from imdy_jax.motion.posing import from_rotation_vectors, to_matrices
from imdy_jax.skeleton import NUM_BODIES

LAYOUTS = {72: "SMPL", 156: "SMPL+H", 165: "SMPL-X"}
BODY_NUMBERS = 66  # root and 21 body joints, in every layout
FRAME_RATE_KEYS = ("mocap_framerate", "mocap_frame_rate")
SEXES = ("female", "male", "neutral")
# A person whose long axis lies along the world's y for most of the clip is taken for y-up: cosine of 45 degrees.
UP_COSINE = 0.7


def read_amass(path: str | Path, up: str | None = None) -> Clip:
    """Clip of an AMASS-style file at its own frame rate; world z up, metres.

    up: "z" or "y" states the world's vertical axis; None accepts z-up files only and refuses those that look y-up.
    Raises MotionFileError for a file that is not a readable `.npz`, lacks a key, has an array of the wrong shape,
    NaN, an impossible frame rate, fewer than errors.MIN_FRAMES frames, or another vertical axis than z.
    """
    path = Path(path)
    if up not in (None, "y", "z"):
        raise ValueError(f"up: found {up!r}, expected 'y', 'z' or None; state the vertical axis of the files")
    with _open(path) as arrays:
        poses, translation = _poses(path, arrays), _array(path, arrays, ("trans",))
        fps, sex, betas = _frame_rate(path, arrays), _sex(arrays), _betas(path, arrays)
        leg_length = _leg_length(path, arrays)
    if translation.shape != (len(poses), 3):
        raise MotionFileError(
            path, "trans", f"shape {translation.shape}", f"({len(poses)}, 3), as `poses` has {len(poses)} frames",
            "export both arrays over the same frames",
        )  # fmt: skip
    require_length(path, "poses", len(poses))
    require_finite(path, "poses", poses)
    require_finite(path, "trans", translation)
    quaternions = from_rotation_vectors(poses.reshape(len(poses), NUM_BODIES, 3))
    if up == "y":
        quaternions[:, 0], translation = _stand_up(quaternions[:, 0], translation)
    elif up is None:
        _require_z_up(path, quaternions[:, 0])
    return Clip(
        rotations=continuous(quaternions),
        translation=translation,
        fps=fps,
        name=path.stem,
        source=str(path),
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        sex=sex,
        betas=betas,
        leg_length=leg_length,
    )


def write_amass(path: str | Path, clip: Clip) -> None:
    """Write a clip as an AMASS-style file in the SMPL layout, under a temporary name until it is whole.

    Raises OSError where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.npz")
    vectors = rotation.log(np.asarray(clip.rotations, float))
    np.savez_compressed(
        partial,
        poses=np.asarray(vectors).reshape(clip.num_frames, -1),
        trans=np.asarray(clip.translation, float),
        betas=np.asarray(clip.betas or np.zeros(10), float),
        gender=clip.sex,
        mocap_framerate=clip.fps,
        leg_length=clip.leg_length,
    )
    partial.replace(path)


def _open(path: Path) -> np.lib.npyio.NpzFile:
    if not path.is_file():
        raise MotionFileError(path, "file", "nothing", "a readable file", "check the path")
    try:
        arrays = np.load(path, allow_pickle=False)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        # Not NumPy's words: they advise to unpickle it.
        raise MotionFileError(path, "file", "no archive", "a `.npz` archive", "copy or download it again") from error
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise MotionFileError(path, "file", "a single array", "a `.npz` archive", "save it with numpy.savez")
    return arrays


def _array(path: Path, arrays: np.lib.npyio.NpzFile, keys: Iterable[str]) -> np.ndarray:
    """The first of the keys that is there, as float64."""
    key = next((key for key in keys if key in arrays.files), None)
    if key is None:
        raise MotionFileError(
            path, " or ".join(keys), f"keys {', '.join(arrays.files)}", "this key",
            "use an AMASS motion file (body-shape and calibration files hold no motion)",
        )  # fmt: skip
    try:
        if np.iscomplexobj(values := arrays[key]):
            raise TypeError("complex numbers")
        return np.asarray(values, dtype=np.float64)
    except (zipfile.BadZipFile, zlib.error, ValueError, TypeError, EOFError, OSError) as error:
        raise MotionFileError(
            path, key, f"unreadable data ({error})", "an array of numbers, not pickled",
            "copy or download the file again, or save the key as a plain array",
        ) from error  # fmt: skip


def _poses(path: Path, arrays: np.lib.npyio.NpzFile) -> np.ndarray:
    """Axis-angle of the 24 SMPL joints, (T, 72), from whichever layout is there."""
    if "poses" not in arrays.files and "root_orient" in arrays.files:
        root, body = _array(path, arrays, ("root_orient",)), _array(path, arrays, ("pose_body",))
        for key, values, width in (("root_orient", root, 3), ("pose_body", body, BODY_NUMBERS - 3)):
            if values.ndim != 2 or values.shape != (len(root), width):
                raise MotionFileError(
                    path, key, f"shape {values.shape}", f"({len(root)}, {width})", "export it with AMASS's layout"
                )
        return _rest_hands(np.concatenate([root, body], axis=1))
    poses = _array(path, arrays, ("poses",))
    if poses.ndim == 3:  # (T, joints, 3)
        poses = poses.reshape(len(poses), -1)
    if poses.ndim != 2 or poses.shape[1] not in LAYOUTS:
        known = ", ".join(f"(T, {width}) for {name}" for width, name in LAYOUTS.items())
        raise MotionFileError(path, "poses", f"shape {poses.shape}", known, "export it in one of these layouts")
    return poses if poses.shape[1] == 3 * NUM_BODIES else _rest_hands(poses[:, :BODY_NUMBERS])


def _rest_hands(poses: np.ndarray) -> np.ndarray:
    return np.concatenate([poses, np.zeros((len(poses), 3 * NUM_BODIES - BODY_NUMBERS))], axis=1)


def _frame_rate(path: Path, arrays: np.lib.npyio.NpzFile) -> float:
    values = _array(path, arrays, FRAME_RATE_KEYS)
    rate = float(values.ravel()[0]) if values.size == 1 else float("nan")
    if not (np.isfinite(rate) and rate > 0):
        key = next(key for key in FRAME_RATE_KEYS if key in arrays.files)
        raise MotionFileError(
            path, key, str(values.tolist()), "one positive number of frames per second", "write the recording's rate"
        )
    if not SLOWEST <= rate <= FASTEST:
        key = next(key for key in FRAME_RATE_KEYS if key in arrays.files)
        raise MotionFileError(
            path, key, f"{rate:g}", f"{SLOWEST:g} to {FASTEST:g} frames per second",
            "write the recording's rate, and not its period",
        )  # fmt: skip
    return rate


def _sex(arrays: np.lib.npyio.NpzFile) -> str:
    """Recorded sex; neutral where it is missing, unknown or pickled."""
    try:
        value = np.asarray(arrays["gender"]).ravel()[0]
    except (KeyError, ValueError, IndexError, zipfile.BadZipFile, zlib.error, EOFError, OSError):
        return "neutral"
    text = (value.decode() if isinstance(value, bytes) else str(value)).lower()
    return text if text in SEXES else "neutral"


def _betas(path: Path, arrays: np.lib.npyio.NpzFile) -> tuple[float, ...]:
    """Shape vector; of the first frame where there is one per frame, empty where there is none."""
    if "betas" not in arrays.files:
        return ()
    values = _array(path, arrays, ("betas",))
    if not values.size:
        return ()
    first = values.reshape(-1, values.shape[-1])[0] if values.ndim else values.reshape(1)
    require_finite(path, "betas", first[None])
    return tuple(float(value) for value in first)


def _leg_length(path: Path, arrays: np.lib.npyio.NpzFile) -> float:
    """Hip to knee to ankle of the person recorded, m: a key of our own files; of others SMPL's mean."""
    if "leg_length" not in arrays.files:
        return Clip.leg_length
    value = _array(path, arrays, ("leg_length",))
    if value.shape != () or not value > 0:
        raise MotionFileError(path, "leg_length", str(value.tolist()), "one positive number of metres", "write it so")
    return float(value)


def _require_z_up(path: Path, root: np.ndarray) -> None:
    """Refuse a file whose body has its long axis along ±y of the world, as y-up and camera files do; root (T, 4)."""
    along_y = float(np.median(to_matrices(root)[:, 1, 1]))
    if abs(along_y) > UP_COSINE:
        raise MotionFileError(
            path, "poses", f"the body's long axis along {'-' if along_y < 0 else ''}y of the world in most frames",
            "a z-up world, as in AMASS", "say that y is up (in commands people.up), or z if the person lies down",
        )  # fmt: skip


def _stand_up(root: np.ndarray, translation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A y-up root (T, 4), (T, 3) in a z-up world: turned by +90° about x (up to a constant shift of the pelvis)."""
    half = np.sqrt(0.5)
    w, x, y, z = root.T
    turned = np.stack([half * (w - x), half * (x + w), half * (y - z), half * (z + y)], axis=1)
    return turned, translation @ np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
