"""A person: the embedded default body, SMPL model files, inertial parameters and anatomical markers."""

from imdy_jax.body.anthropometric import anthropometric_body, random_subject
from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.body.person import Body
from imdy_jax.body.smpl import load_model, smpl_body

__all__ = ["MARKER_NAMES", "Body", "anthropometric_body", "load_model", "random_subject", "smpl_body"]
