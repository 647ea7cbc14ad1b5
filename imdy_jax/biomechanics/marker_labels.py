"""What a laboratory's marker labels mean: landmarks of the body, centres of joints, or nothing that is known.

Labels differ from laboratory to laboratory. Known are the names of the 66 anatomical markers (body/markers.py), the
labels of the ImDy release for them, and what Plug-in Gait, OpenCap, AddBiomechanics and OpenSim's own models call the
same places. Of any other marker nothing is believed but that it sits on one segment, which its label may tell (a
cluster's); if not, its motion does.
"""

import re
from typing import Literal, NamedTuple

import numpy as np

from imdy_jax.body.markers import MARKER_LABELS, MARKER_NAMES, MARKER_SEGMENT
from imdy_jax.skeleton import NUM_BODIES, joint_index

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")  # moves as one, nearly


class Site(NamedTuple):
    """Where a marker sits: at the mean of some landmarks, at a joint's centre, or anywhere on a segment."""

    kind: Literal["landmark", "joint", "segment"]
    segment: int  # that carries it; a joint's centre belongs to the segment that hangs on it
    landmarks: tuple[int, ...] = ()  # of MARKER_NAMES


# Place → what it is called, in small letters, without the side and anything but letters and digits.
_MIDLINE = {
    ("suprasternal_notch",): ("clav", "sjn", "ij", "jugularnotch"),
    ("xiphoid_process",): ("strn", "xiph", "px", "xiphoid"),
    ("suprasternal_notch", "xiphoid_process"): ("sternum", "sternal"),
    ("left_psis", "right_psis"): ("sacr", "sacrum", "vsacral", "sacral", "sac"),
}
_PAIRED = {
    ("front_head",): ("fhd", "temple", "headfront"),
    ("back_head",): ("bhd", "headback"),
    ("clavicle",): ("clav",),
    ("acromion",): ("sho", "shoulder", "acr", "acrom", "acromion", "acromium", "sae"),
    ("lateral_humeral_epicondyle",): ("elb", "elbow", "lel", "elblat", "elbowlat", "hle"),
    ("medial_humeral_epicondyle",): ("elbin", "mel", "elbmed", "elbowmed", "hme"),
    ("radial_styloid",): ("iwr", "wra", "wristradius", "wristlat", "faradius", "rsp"),
    ("ulnar_styloid",): ("owr", "wrb", "wristulna", "wristmed", "faulna", "usp"),
    ("asis",): ("asi", "asis"),
    ("psis",): ("psi", "psis"),
    ("lateral_femoral_epicondyle",): ("kne", "knee", "kneelat", "lknee", "lfc", "fle"),
    ("medial_femoral_epicondyle",): ("kni", "knem", "kneemed", "mknee", "mfc", "fme"),
    ("lateral_malleolus",): ("ank", "ankle", "anklelat", "lankle", "lmal", "fal"),
    ("medial_malleolus",): ("ani", "ankm", "anklemed", "mankle", "mmal", "tam"),
    ("heel",): ("hee", "heel", "cal", "calc", "calcaneus", "fcc"),
    ("first_metatarsal_head",): ("mt1", "1meta", "fmt1", "fm1", "toemed"),
    ("fifth_metatarsal_head",): ("mt5", "5meta", "fmt5", "fm5", "toelat"),
    ("first_metatarsal_head", "fifth_metatarsal_head"): ("mt2", "2meta", "fmt2", "fm2"),
    ("toe_tip",): ("toe", "toetip", "bigtoe", "hallux"),
}
_NEAR_MIDLINE = {"suprasternal_notch": ("sternum", "sternoclavicular")}  # one on either side of it
# What the labels of clusters begin with.
_CLUSTERS = {
    "hip": ("thigh", "thi", "th"), "knee": ("shank", "tibia", "tib", "tb", "sh"), "ankle": ("midfoot",),
    "shoulder": ("humerus", "bicep", "upperarm", "upa", "ua"), "elbow": ("forearm", "fa", "fra"),
}  # fmt: skip
_JOINTS = {
    "hip": ("hjc", "hjcreg"), "knee": ("kjc",), "ankle": ("ajc",), "shoulder": ("sjc",), "elbow": ("ejc",),
    "wrist": ("wjc",),
}  # fmt: skip


def site(label: str) -> Site | None:
    """What a marker's label means; None where it says nothing."""
    plain = _plain(label.rsplit(":", 1)[-1])  # a subject's name may stand before it
    return _SITES.get(plain) or next((on for start, on in _STARTS.items() if plain.startswith(start)), None)


def shares_of(sites: list[Site | None]) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the landmarks (M, 66) and of the joints (M, 24) that give the sites' places."""
    shares, centres = np.zeros((len(sites), len(MARKER_NAMES))), np.zeros((len(sites), NUM_BODIES))
    for row, found in enumerate(sites):
        if found is not None and found.kind == "joint":
            centres[row, found.segment] = 1.0
        elif found is not None and found.kind == "landmark":
            shares[row, list(found.landmarks)] = 1.0 / len(found.landmarks)
    return shares, centres


def _plain(label: str) -> str:
    """Small letters and digits of a label."""
    return re.sub(r"[^a-z0-9]", "", label.lower())


def _landmark(*landmarks: int) -> Site:
    return Site("landmark", int(MARKER_SEGMENT[landmarks[0]]), landmarks)


def _table() -> dict[str, Site]:
    at = {name: k for k, name in enumerate(MARKER_NAMES)}
    table: dict[str, Site] = {}
    for side in ("left", "right"):
        for names, labels in _PAIRED.items():
            for label in labels:
                for mark in (side, side[0]):
                    table[mark + label] = _landmark(*(at[f"{side}_{n}"] for n in names))
        for name, labels in _NEAR_MIDLINE.items():
            for label in labels:
                for mark in (side, side[0]):
                    table[mark + label] = _landmark(at[name])
        for joint, labels in _JOINTS.items():
            for label in labels:
                for mark in (side, side[0]):
                    table[mark + label] = Site("joint", joint_index(f"{side}_{joint}"))
    for names, labels in _MIDLINE.items():
        table |= {label: _landmark(*(at[n] for n in names)) for label in labels}
    for k, (name, label) in enumerate(zip(MARKER_NAMES, MARKER_LABELS, strict=True)):
        table[_plain(name)] = table[_plain(label)] = _landmark(k)
    return table


_SITES = _table()
_STARTS = {
    mark + start: Site("segment", joint_index(f"{side}_{joint}"))
    for joint, starts in _CLUSTERS.items()
    for start in starts
    for side in ("left", "right")
    for mark in (side, side[0])
}
