"""Acclaim files → Clip: a skeleton (`.asf`) and its motions (`.amc`), as the CMU motion capture database has them.

Each bone turns about axes of its own, given at rest; its joint is where the parent's bone ends.
Source of the format: "Acclaim ASF/AMC" (Lander 1998) and the files themselves.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.motion.clip import Clip
from imdy_jax.motion.errors import MotionFileError, parsing
from imdy_jax.motion.retarget import Recording, retarget

FPS = 120.0  # of the CMU database; the format does not tell


class Bone(NamedTuple):
    """One bone of a skeleton at rest."""

    name: str
    parent: int
    vector: np.ndarray  # (3,) from its joint to its end, in the file's unit
    axes: np.ndarray  # (3, 3) that it turns about
    order: tuple[str, ...]  # its degrees of freedom as the motion lists them: rx, ry, rz, tx, ty, tz


def read_acclaim(path: str | Path, fps: float = FPS, skeleton: str | Path | None = None, **options) -> Clip:
    """Clip of an `.amc` file at its own frame rate; world z up, metres.

    fps: frame rate of the recording. skeleton: the `.asf` file; by default the one whose name the motion's begins with
    ("02.asf" for "02_01.amc"), or the only one in the folder. options: as in retarget.
    Raises MotionFileError for files that are not in the format or do not belong together.
    """
    path = Path(path)
    asf = Path(skeleton) if skeleton else _find_skeleton(path)
    bones = read_skeleton(asf)
    with parsing(path, "an .amc file of that skeleton"):
        values = _read_motion(path, bones)
        rotations = np.stack([_turns(bone, values[bone.name]) for bone in bones], axis=1)
        root = np.stack([values["root"][:, bones[0].order.index(f"t{axis}")] for axis in "xyz"], axis=1)
    ends = [np.zeros(3) if bone.parent < 0 else bones[bone.parent].vector for bone in bones]
    names, parents = tuple(bone.name for bone in bones), tuple(bone.parent for bone in bones)
    return retarget(path, Recording(names, parents, np.stack(ends), rotations, root, fps, "y"), **options)


def read_skeleton(path: Path) -> list[Bone]:
    """Bones of an `.asf` file, parents first, the root with no length. Raises MotionFileError as read_acclaim."""
    with parsing(path, "an .asf file"):
        sections = _sections(path)
        unit = 180.0 / np.pi if "deg" not in " ".join(sections.get("units", ["deg"])) else 1.0
        fields = {line.split()[0]: line.split()[1:] for line in sections["root"]}
        order = tuple(item.lower() for item in fields["order"])
        turn = Rotation.from_euler("xyz", unit * np.array(fields.get("orientation", (0, 0, 0)), float), degrees=True)
        described = _bones(path, sections["bonedata"], unit)
        bones, index = [Bone("root", -1, np.zeros(3), turn.as_matrix(), order)], {"root": 0}
        for line in sections["hierarchy"]:
            parent, *children = line.split()
            if parent in ("begin", "end"):
                continue
            for child in children:
                if parent not in index or child not in described or child in index:
                    found = f"{parent} with {child}"
                    raise MotionFileError(path, "hierarchy", found, "each bone of bonedata once", "mend the file")
                index[child] = len(bones)
                bones.append(described[child]._replace(parent=index[parent]))
    return bones


def _sections(path: Path) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in _lines(path):
        if line.startswith(":"):
            name, _, rest = line[1:].partition(" ")
            lines = sections.setdefault(name.strip().lower(), [rest.strip()] if rest.strip() else [])
        else:
            lines.append(line)
    for name in ("root", "bonedata", "hierarchy"):
        if name not in sections:
            found = f"sections {', '.join(sections)}"
            raise MotionFileError(path, f":{name}", found, "this section", "use an .asf file")
    return sections


def _bones(path: Path, lines: list[str], unit: float) -> dict[str, Bone]:
    bones: dict[str, Bone] = {}
    fields: dict[str, list[str]] = {}
    for line in lines:
        word, *rest = line.split()
        if word == "begin":
            fields = {}
        elif word == "end":
            try:
                vector = float(fields["length"][0]) * np.array(fields["direction"], float).reshape(3)
                turn = Rotation.from_euler("xyz", unit * np.array(fields["axis"][:3], float), degrees=True)
                name = fields["name"][0]
            except (KeyError, ValueError, IndexError) as error:
                raise MotionFileError(path, "bonedata", f"{fields} ({error})", "name, direction, length and axis",
                                      "mend the bone") from error  # fmt: skip
            order = tuple(item.lower() for item in fields.get("dof", ()))
            bones[name] = Bone(name, -1, vector, turn.as_matrix(), order)
        else:
            fields[word] = rest
    return bones


def _read_motion(path: Path, bones: list[Bone]) -> dict[str, np.ndarray]:
    """Values (T, D) of each bone's degrees of freedom, angles in degrees."""
    lines = _lines(path)
    unit = 180.0 / np.pi if any(line.upper() == ":RADIANS" for line in lines) else 1.0
    moving = {bone.name: bone.order for bone in bones if bone.order}
    told: dict[str, list[list[float]]] = {name: [] for name in moving}
    frames = 0
    for line in lines:
        name, *numbers = line.split()
        if name.isdigit() and not numbers:
            frames += 1
        elif name in moving and frames:
            try:
                told[name].append([float(x) for x in numbers])
            except ValueError as error:
                raise MotionFileError(path, f"{name} in frame {frames}", line, "numbers", "mend the line") from error
        elif not name.startswith(":"):
            raise MotionFileError(path, "bone", name, f"one of {', '.join(moving)}", "name the skeleton it belongs to")
    values = {bone.name: np.zeros((frames, 0)) for bone in bones}
    for name, order in moving.items():
        widths = {len(row) for row in told[name]}
        if len(told[name]) != frames or widths != {len(order)}:
            raise MotionFileError(
                path, name, f"{len(told[name])} lines of {sorted(widths)} numbers", f"{frames} of {len(order)}",
                "name the skeleton that the motion belongs to",
            )  # fmt: skip
        scale = np.array([unit if dof.startswith("r") else 1.0 for dof in order])
        values[name] = np.array(told[name]) * scale
    return values


def _turns(bone: Bone, values: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) of a bone in its parent, from its degrees of freedom: about x first, about z last."""
    angles = np.zeros((len(values), 3))
    for column, dof in enumerate(bone.order):
        if dof.startswith("r"):
            angles[:, "xyz".index(dof[1])] = values[:, column]
    own = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return bone.axes @ own @ bone.axes.T if bone.parent >= 0 else own @ bone.axes


def _find_skeleton(path: Path) -> Path:
    near = sorted(path.parent.glob("*.asf"))
    named = [asf for asf in near if path.stem.startswith(asf.stem)]
    if not named and len(near) != 1:
        raise MotionFileError(
            path, "skeleton", f"{len(near)} .asf files beside it, none named like it", "the one it belongs to",
            f"put {path.stem.split('_')[0]}.asf beside it",
        )  # fmt: skip
    return (named or near)[-1]


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]
