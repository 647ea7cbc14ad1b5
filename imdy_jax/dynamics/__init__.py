"""Rigid-body dynamics of the SMPL humanoid: pure functions of one state, for jit, vmap and grad."""
