"""Solver: torques and contact forces from kinematics alone."""
