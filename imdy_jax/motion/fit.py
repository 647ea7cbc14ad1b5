"""A clip put on a person: translation scaled to the legs, feet on the floor, start at the origin."""

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from imdy_jax.body.person import Body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.posing import centre_of_mass, lowest_height, pose

FALLING = 5.0  # m/s²: half of gravity; the centre of mass of a person who walks falls less fast
SMOOTHING, SETTLING = 0.04, 0.1  # s, standard deviations: of the fall's measurement, of the correction
GLITCH_FRAMES = 5  # window of the running median: a floor contact lasts at least three frames, a glitch one or two


def fit(clip: Clip, body: Body) -> Clip:
    """The clip for this body: stride and height in proportion to leg length, floor at z = 0, start at the origin."""
    leg_length = float(body.leg_length)
    translation = leg_length / clip.leg_length * np.asarray(clip.translation, float)
    scaled = dataclasses.replace(clip, translation=translation, leg_length=leg_length)
    return align_floor(recentre(scaled), body)


def align_floor(clip: Clip, body: Body) -> Clip:
    """The clip moved up or down so that the lowest point that the body's surface reaches touches z = 0.

    Heights are taken after a running median over GLITCH_FRAMES frames, so that a one- or two-frame glitch does not
    lift the whole clip off the floor.
    """
    lowest = lowest_height(pose(clip, body), body)
    floor = median_filter(lowest, size=GLITCH_FRAMES, mode="nearest").min()
    return dataclasses.replace(clip, translation=np.asarray(clip.translation, float) - np.array([0.0, 0.0, floor]))


def settle(clip: Clip, body: Body) -> Clip:
    """The clip of another skeleton, moved up or down from moment to moment so that the body keeps to the floor.

    Where limbs are longer or thicker than the recorded ones, a hand or a knee meets the floor sooner or later than a
    foot does. A body that does not fall is supported, so its lowest point then belongs on the floor; in flight, where
    the centre of mass falls, the correction passes from the one of take-off to the one of landing.
    """
    posed = pose(clip, body)
    lowest = median_filter(lowest_height(posed, body), size=GLITCH_FRAMES, mode="nearest")
    height = gaussian_filter1d(centre_of_mass(posed, body)[:, 2], SMOOTHING * clip.fps, mode="nearest")
    rising = np.gradient(np.gradient(height, 1.0 / clip.fps), 1.0 / clip.fps)
    supported = np.flatnonzero(rising > -FALLING)
    if len(supported) == 0:
        return clip
    floor = np.interp(np.arange(clip.num_frames), supported, lowest[supported])
    floor = gaussian_filter1d(floor, SETTLING * clip.fps, mode="nearest")
    translation = np.asarray(clip.translation, float) - floor[:, None] * np.array([0.0, 0.0, 1.0])
    return dataclasses.replace(clip, translation=translation)


def recentre(clip: Clip) -> Clip:
    """The clip moved horizontally so that its translation starts at x = y = 0."""
    translation = np.asarray(clip.translation, float)
    return dataclasses.replace(clip, translation=translation - translation[0] * np.array([1.0, 1.0, 0.0]))
