"""NumPy functions in jitted programs."""

import os
import subprocess
import sys

PROGRAM = """
import jax, jax.numpy as jnp
from envs.host_call import host_call

def fold(x, _):
    return host_call(lambda a, b: a + b, jax.ShapeDtypeStruct(x.shape, x.dtype), x, x * 2) * 0.25, None

@jax.jit
def slow(x):
    return jax.lax.fori_loop(0, 300, lambda _, x: jnp.tanh(x @ jnp.eye(99)), x)

calls = jax.jit(lambda x: jax.lax.scan(fold, x, None, length=12)[0])
x = jnp.ones((1024, 99))
for _ in range(20):
    x = calls(slow(x))
assert float(jnp.abs(x).max()) < 1, x
"""


def test_a_program_with_one_thread_does_not_wait_for_itself():
    # The arrays are large enough to be copied elsewhere, and not there yet when the program that calls is dispatched.
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=os.environ | {"NPROC": "1"}, timeout=60,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
