"""Imitation: a policy that follows recorded motion in simulation, its training and its evaluation."""
