"""Both packages are whole wherever they are installed: every module imports, from one place, and knows its version."""

import importlib
import importlib.metadata
import pkgutil
from pathlib import Path

import pytest

import envs
import imdy_jax

MODULES = [
    module.name
    for package in (imdy_jax, envs)
    for module in pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}.")
]


def test_both_packages_come_from_one_place():
    assert Path(envs.__file__).parents[1] == Path(imdy_jax.__file__).parents[1]
    assert importlib.metadata.version("imdy-jax").count(".") == 2


@pytest.mark.parametrize("name", MODULES)
def test_module_imports_and_explains_itself(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
