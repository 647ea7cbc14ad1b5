"""A clip put on a person: translation scaled to the legs, feet on the floor, start at the origin."""

import dataclasses

import numpy as np
from scipy.ndimage import median_filter

from imdy_jax.body.person import Body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.posing import lowest_height, pose

GLITCH_FRAMES = 5  # window of the running median: a floor contact lasts at least three frames, a glitch one or two


def fit(clip: Clip, body: Body) -> Clip:
    """The clip for this body: stride and height in proportion to leg length, floor at z = 0, start at the origin."""
    scale = float(body.leg_length) / clip.leg_length
    scaled = dataclasses.replace(
        clip, translation=scale * np.asarray(clip.translation, float), leg_length=float(body.leg_length)
    )
    return align_floor(recentre(scaled), body)


def align_floor(clip: Clip, body: Body) -> Clip:
    """The clip moved up or down so that the lowest point that the body's surface reaches touches z = 0.

    Heights are taken after a running median over GLITCH_FRAMES frames, so that a one- or two-frame glitch does not
    lift the whole clip off the floor.
    """
    lowest = lowest_height(pose(clip, body), body)
    floor = median_filter(lowest, size=GLITCH_FRAMES, mode="nearest").min()
    return dataclasses.replace(clip, translation=np.asarray(clip.translation, float) - np.array([0.0, 0.0, floor]))


def recentre(clip: Clip) -> Clip:
    """The clip moved horizontally so that its translation starts at x = y = 0."""
    translation = np.asarray(clip.translation, float)
    return dataclasses.replace(clip, translation=translation - translation[0] * np.array([1.0, 1.0, 0.0]))
