"""What a dataset holds, as biomechanics asks: people, hours, torques, forces, speeds, and how smooth they are."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import signal

from imdy_jax.dataset.store import Dataset, known_attributes, read_fields, read_subject
from imdy_jax.humanoid import GRAVITY
from imdy_jax.report import Table
from imdy_jax.skeleton import GROUPS, LEFT_FOOT, RIGHT_FOOT, SAGITTAL, joint_index

JITTER = 14.0  # Hz: what a torque does faster is no movement of a person's (the published data is filtered here)
_GROUPS = {name: np.flatnonzero(np.array(GROUPS[1:]) == name) for name in dict.fromkeys(GROUPS[1:])}
_HOUR = 3600.0
_LOADED = 0.05  # of body weight: a foot that bears more stands
_QUANTITIES = {  # what is counted in each frame, its unit, and the edges of the bins
    "joint torque": ("N·m/kg", np.geomspace(1e-3, 30.0, 61)),
    "contact force": ("body weight", np.linspace(0.0, 8.0, 61)),
    "joint speed": ("rad/s", np.geomspace(1e-2, 50.0, 61)),
    "root speed": ("m/s", np.linspace(0.0, 6.0, 61)),
}
# Other datasets of human dynamics, as Table 1 of Liu et al. (2025) gives them: subjects, hours, what is known.
_OTHERS = (
    ("Zell et al. (2020)", 22, 0.07, "forces of the feet, torques", "recorded"),
    ("Scott et al. (2020)", 10, 7.6, "vertical forces of the feet", "recorded"),
    ("UnderPressure (Mourot et al. 2022)", 10, 5.5, "vertical forces of the feet", "recorded"),
    ("GroundLink (Han et al. 2023)", 7, 1.5, "forces of the feet", "recorded"),
    ("AddBiomechanics (Werling et al. 2024)", 273, 57.6, "forces of the feet, torques", "recorded"),
    ("ImDy (Liu et al. 2025)", 435, 152.3, "forces of all bodies, torques", "simulated"),
)
_GAIT = (SAGITTAL[0], ("hip", "flexion", -SAGITTAL[0][2]), *SAGITTAL[1:])  # whose peaks are told


class Counted(NamedTuple):
    """How often a quantity was how large."""

    unit: str
    edges: np.ndarray  # (B + 1,)
    count: np.ndarray  # (B,) frames, or joints and frames; beyond the edges in the outermost bins


class Statistics(NamedTuple):
    """Of some sequences together."""

    subjects: int
    seconds: float
    counted: dict[str, Counted]
    rms: dict[str, float]  # N·m/kg, of the joints of a group
    peak: dict[str, float]  # N·m/kg, the largest torque of any
    jitter: dict[str, float]  # share of the power of the torque above JITTER


def statistics(dataset: Dataset, names: Iterable[str]) -> Statistics:
    """Statistics of sequences from what was recorded at every substep; raises ValueError where there is none."""
    counts = {name: np.zeros(len(edges) - 1) for name, (_, edges) in _QUANTITIES.items()}
    square, power, fast = (dict.fromkeys(_GROUPS, 0.0) for _ in range(3))
    peak, samples = dict.fromkeys(_GROUPS, 0.0), 0
    seconds, masses = 0.0, {}
    for name in names:
        attributes = known_attributes(dataset, name)
        who = attributes["subject"]
        if who not in masses:
            masses[who] = float(np.sum(read_subject(dataset, who).humanoid.mass))
        arrays = read_fields(dataset, name, ("torque", "wrench", "v"))
        torque = np.asarray(arrays["torque"], float) / masses[who]
        torque = torque.reshape(-1, *torque.shape[2:])
        rate = attributes["control_rate"] * attributes["substeps"]
        size = np.linalg.norm(torque, axis=-1)
        force = np.asarray(arrays["wrench"], float)[..., :3].sum(axis=2).reshape(-1, 3) / (masses[who] * GRAVITY)
        v = np.asarray(arrays["v"], float)
        found = {
            "joint torque": size,
            "contact force": np.linalg.norm(force, axis=-1),
            "joint speed": np.linalg.norm(v[:, 6:].reshape(len(v), -1, 3), axis=-1),
            "root speed": np.linalg.norm(v[:, :3], axis=-1),
        }
        for quantity, values in found.items():
            edges = _QUANTITIES[quantity][1]
            counts[quantity] += np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
        whole, above = jitter_power(torque, rate)
        for group, joints in _GROUPS.items():
            square[group] += float(np.sum(size[:, joints] ** 2))
            peak[group] = max(peak[group], float(size[:, joints].max()))
            power[group] += float(whole[joints].sum())
            fast[group] += float(above[joints].sum())
        seconds += attributes["duration"]
        samples += len(size)
    if not samples:
        raise ValueError(f"{dataset.path}: no certified sequence to tell about; run generate.py first")
    return Statistics(
        len(masses), seconds,
        {name: Counted(unit, edges, counts[name]) for name, (unit, edges) in _QUANTITIES.items()},
        {group: (square[group] / (samples * len(joints))) ** 0.5 for group, joints in _GROUPS.items()},
        peak,
        {group: fast[group] / power[group] if power[group] else 0.0 for group in _GROUPS},
    )  # fmt: skip


def jitter_power(torque: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Power of torques (T, J, 3) about their mean, whole and above JITTER, each (J,); rate in samples per second."""
    window = min(len(torque), round(rate))
    frequency, density = signal.welch(torque, rate, nperseg=window, axis=0)
    density = density.sum(axis=-1)
    return density.sum(axis=0), density[frequency > JITTER].sum(axis=0)


def jitter_size(torque: np.ndarray, rate: float) -> float:
    """Root mean square over joints and time of what torques (T, J, 3) do above JITTER, in their unit."""
    width = rate / min(len(torque), round(rate))  # Hz, of a bin of jitter_power's spectra
    return float(np.sqrt(np.mean(jitter_power(torque, rate)[1]) * width))


def people_table(found: Statistics, name: str) -> Table:
    """The dataset among others, as in Table 1 of Liu et al. (2025)."""
    ours = (name, found.subjects, found.seconds / _HOUR, "forces of all bodies, torques, certified", "simulated")
    columns = ("dataset", "subjects", "hours", "dynamics", "source")
    return Table("Datasets of human dynamics", columns, (*_OTHERS, ours), ("Others: Table 1 of Liu et al. (2025).",))


def torque_table(found: Statistics) -> Table:
    """Torques of each group of joints, and how much of their power is jitter."""
    rows = [(group, found.rms[group], found.peak[group], 100 * found.jitter[group]) for group in _GROUPS]
    columns = ("joints", "rms N·m/kg", "peak N·m/kg", f"power above {JITTER:g} Hz %")
    return Table("Joint torques, at every physics substep", columns, tuple(rows))


def gait_table(dataset: Dataset, names: Sequence[str]) -> Table:
    """Peaks of sagittal torques in each gait, the median of the strides' peaks over all who walk it."""
    found: dict[tuple[str, str], list[float]] = {}
    for name in names:
        attributes = known_attributes(dataset, name)
        mass = float(np.sum(read_subject(dataset, attributes["subject"]).humanoid.mass))
        arrays = read_fields(dataset, name, ("angular_momentum", "contact_force"))
        torque = np.asarray(arrays["angular_momentum"], float) * attributes["control_rate"]
        for moment, peaks in stride_peaks(torque, np.asarray(arrays["contact_force"], float), mass).items():
            found.setdefault((attributes["clip"]["name"], moment), []).extend(peaks)
    rows = tuple((*what, len(peaks), float(np.median(peaks)) if peaks else None) for what, peaks in found.items())
    columns = ("gait", "moment", "strides", "peak N·m/kg")
    return Table("Peak sagittal torques of gait", columns, rows, ("Mean torque over a control step.",))


def stride_peaks(torque: np.ndarray, force: np.ndarray, mass: float) -> dict[str, list[float]]:
    """Largest internal moment, N·m/kg, of each stride of both legs, from one landing of a foot to its next.

    torque (T, 23, 3) N·m, child axes; force (T, 24, 3) N, world axes; mass kg.
    """
    found: dict[str, list[float]] = {}
    for joint, action, sign in _GAIT:
        peaks = found.setdefault(f"{joint} {action}", [])
        for side, foot in (("left", LEFT_FOOT), ("right", RIGHT_FOOT)):
            curve = sign * torque[:, joint_index(f"{side}_{joint}") - 1, 0] / mass
            loaded = force[:, list(foot), 2].sum(axis=1) > _LOADED * mass * GRAVITY
            landings = np.flatnonzero(loaded[1:] & ~loaded[:-1]) + 1
            peaks += [float(curve[a:b].max()) for a, b in pairwise(landings)]
    return found
