"""The kinematic tree and its two verbs."""

import jax.numpy as jnp
import numpy as np
import pytest

from imdy_jax.skeleton import JOINT_NAMES, MIRROR, PARENTS, joint_index
from imdy_jax.tree import ancestor_sum, build_tree, descend, subtree_sum


def test_sums_walk_the_tree():
    tree = build_tree()
    x = np.random.default_rng(0).normal(size=(24, 2)).astype(np.float32)
    for k in range(24):
        chain, j = [], k
        while j >= 0:
            chain.append(j)
            j = PARENTS[j]
        np.testing.assert_allclose(ancestor_sum(tree, jnp.asarray(x))[k], x[chain].sum(axis=0), rtol=1e-5, atol=1e-6)
        below = [i for i in range(24) if tree.ancestors[i, k]]
        np.testing.assert_allclose(subtree_sum(tree, jnp.asarray(x))[k], x[below].sum(axis=0), rtol=1e-5, atol=1e-6)


def test_descend_composes_from_the_root():
    tree = build_tree()
    joined = descend(tree, lambda parent, own: 10.0 * parent + own, jnp.arange(24.0))
    for k in range(1, 24):
        assert joined[k] == 10.0 * joined[PARENTS[k]] + k


def test_a_tree_that_is_not_sorted_is_refused():
    with pytest.raises(ValueError, match="topologically sorted"):
        build_tree((-1, 2, 0))


def test_the_skeleton_is_symmetric():
    for k, name in enumerate(JOINT_NAMES):
        other = JOINT_NAMES[MIRROR[k]]
        assert MIRROR[MIRROR[k]] == k
        assert other == name or {other.split("_")[0], name.split("_")[0]} == {"left", "right"}
        assert k == 0 or MIRROR[PARENTS[k]] == PARENTS[MIRROR[k]]


def test_an_unknown_joint_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown joint 'tail'; known joints: pelvis, "):
        joint_index("tail")
