"""OpenSim's functions of coordinates. Each is a linear function, or a piecewise polynomial of one coordinate."""

import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline, PPoly, make_interp_spline

from imdy_jax.biomechanics.opensim_xml import Node


class Curve(NamedTuple):
    """Piecewise polynomial y(x) = Σ_d coefficients[k, d] (x − origin[k])^d on the piece that begins at start[k]."""

    start: np.ndarray  # (K,) ascending, the first −inf
    origin: np.ndarray  # (K,)
    coefficients: np.ndarray  # (K, D), lowest power first


class Function(NamedTuple):
    """offset + Σ slopes[i] argument[i] + curve(argument[0])."""

    slopes: tuple[float, ...] = ()
    offset: float = 0.0
    curve: Curve | None = None


def read_function(node: Node, arguments: int) -> Function:
    """The function of a `<LinearFunction>`, `<SimmSpline>` and so on; see READERS.

    node: its element, or one that wraps it as `<function>`, `<coupled_coordinates_function>` and `<TransformAxis>` do.
    arguments: how many coordinates it is given. Raises OpenSimFileError for a function that is not known, that has the
    wrong number of coefficients, or that takes another number of coordinates.
    """
    body = find_function(node)
    if body is None:
        return Function((1.0,)) if arguments == 1 else Function()
    function = READERS[body.tag](body)
    wanted = 1 if function.curve is not None else len(function.slopes)
    if wanted not in (0, arguments):
        raise body.error(
            f"a function of {wanted} coordinates, given {arguments}", "as many of both", "name the right coordinates"
        )
    return function


def find_function(node: Node) -> Node | None:
    """The element of a known function in or under a node; None where it is left empty."""
    if node.tag in READERS:
        return node
    for child in node.children():
        if child.tag in ("coordinates", "axis", "scale"):
            continue
        if child.tag == "function":
            return find_function(child)
        if child.tag not in READERS:
            raise child.error(f"<{child.tag}>", f"one of {', '.join(READERS)}", "replace the function by one of these")
        return child
    return None


def _linear(node: Node) -> Function:
    *slopes, offset = node.numbers("coefficients", default=(1.0, 0.0))
    return Function(tuple(float(s) for s in slopes), float(offset))


def _constant(node: Node) -> Function:
    return Function((), float(node.numbers("value", 1, default=(0.0,))[0]))


def _multiplier(node: Node) -> Function:
    inner, scale = find_function(node.required("function")), float(node.numbers("scale", 1, default=(1.0,))[0])
    if inner is None:
        raise node.error("no function to scale", f"one of {', '.join(READERS)}", "correct the file")
    slopes, offset, curve = READERS[inner.tag](inner)
    if curve is not None:
        curve = curve._replace(coefficients=curve.coefficients * scale)
    return Function(tuple(s * scale for s in slopes), offset * scale, curve)


def _polynomial(node: Node) -> Function:
    coefficients = node.numbers("coefficients")[::-1]  # the file has the highest power first
    return Function(curve=Curve(np.array([-np.inf]), np.zeros(1), coefficients[None, :]))


def _simm_spline(node: Node) -> Function:
    return Function(curve=simm_spline(*_points(node, 2)))


def _piecewise_linear(node: Node) -> Function:
    return Function(curve=_polyline(*_points(node, 2)))


def _gcv_spline(node: Node) -> Function:
    half_order = int(node.numbers("half_order", 1, default=(3.0,))[0])
    if node.numbers("error_variance", 1, default=(0.0,))[0] > 0.0 or half_order not in (1, 2, 3):
        raise node.error("a smoothing spline, or one of high order", "error_variance 0, half_order 1 to 3", "refit it")
    x, y = _points(node, 2 * half_order)
    return Function(curve=_extended(natural_spline(x, y, 2 * half_order - 1), half_order - 1))


READERS = {
    "LinearFunction": _linear,
    "Constant": _constant,
    "SimmSpline": _simm_spline,
    "NaturalCubicSpline": _simm_spline,
    "natCubicSpline": _simm_spline,
    "PiecewiseLinearFunction": _piecewise_linear,
    "MultiplierFunction": _multiplier,
    "PolynomialFunction": _polynomial,
    "GCVSpline": _gcv_spline,
}


def simm_spline(x: np.ndarray, y: np.ndarray) -> Curve:
    """OpenSim's SimmSpline, also called NaturalCubicSpline, through points x, y (N,); straight on beyond the ends.

    It is not the natural cubic spline: the third derivative in the first and in the last interval is that of the cubic
    through the four outermost points, or zero where there are fewer than four (Forsythe, Malcolm and Moler, Computer
    Methods for Mathematical Computations, 1977, chapter 4).
    """
    if len(x) == 2:
        return _polyline(x, y)
    first, last = (_third_derivative(x[end], y[end]) for end in (slice(4), slice(-4, None)))
    return _extended(make_interp_spline(x, y, 3, bc_type=([(3, first)], [(3, last)])), degree=1)


def natural_spline(x: np.ndarray, y: np.ndarray, degree: int) -> BSpline:
    """Interpolating spline of odd degree whose derivatives from (degree + 1) / 2 up vanish at both ends (GCVSpline).

    x (N,), y (N, ...); N > degree. The smoothest interpolant there is (Woltring, Adv. Eng. Software 8, 1986).
    """
    free = [(order, np.zeros(y.shape[1:])) for order in range((degree + 1) // 2, degree)]
    return make_interp_spline(x, y, degree, bc_type=(free, free))


def _polyline(x: np.ndarray, y: np.ndarray) -> Curve:
    return _extended(make_interp_spline(x, y, 1), degree=1)


def _third_derivative(x: np.ndarray, y: np.ndarray) -> float:
    """Of the cubic through four points; zero where there are fewer."""
    if len(x) < 4:
        return 0.0
    gaps = x[:, None] - x[None, :] + np.eye(4)
    return float(6.0 * np.sum(y / np.prod(gaps, axis=1)))


def _extended(spline: BSpline, degree: int) -> Curve:
    """A spline as a curve; beyond its ends it goes on as a polynomial of the given degree, smoothly."""
    pieces = PPoly.from_spline(spline)
    real = np.diff(pieces.x) > 0.0  # knots come repeatedly at the ends
    knots, inner = np.append(pieces.x[:-1][real], pieces.x[-1]), pieces.c[::-1, real].T
    left, right = np.zeros((2, inner.shape[1]))
    left[: degree + 1] = inner[0, : degree + 1]
    right[: degree + 1] = [pieces(knots[-1], d) / math.factorial(d) for d in range(degree + 1)]
    start = np.concatenate([[-np.inf], knots[:-1], [np.nextafter(knots[-1], np.inf)]])
    return Curve(start, np.append(knots[0], knots), np.concatenate([left[None], inner, right[None]]))


def _points(node: Node, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = node.numbers("x"), node.numbers("y")
    if len(x) != len(y) or len(x) < minimum or np.any(np.diff(x) <= 0.0):
        raise node.error(
            f"{len(x)} x and {len(y)} y", f"as many of both, at least {minimum}, x ascending", "correct the points"
        )
    return x, y
