"""Biomechanics: models and recordings of OpenSim, and inverse dynamics that agrees with it."""
