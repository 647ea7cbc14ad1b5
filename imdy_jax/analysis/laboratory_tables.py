"""What laboratory.py has found, as tables."""

import numpy as np

from imdy_jax.analysis.laboratory import PLATES, Scores
from imdy_jax.biomechanics.force_plates import Errors
from imdy_jax.report import Table
from imdy_jax.skeleton import SAGITTAL


def force_table(scores: dict[str, dict[str, Scores]]) -> Table:
    """Errors of the forces, of each trial by each method (trial → method → scores), and their means."""
    rows = []
    for trial, methods in (*scores.items(), ("mean", _means(scores))):
        for method, s in ((m, x) for m, x in methods.items() if m != PLATES):
            together, foot = s.errors.together, s.errors.foot.mean(axis=0)
            rows.append((trial, method, *(round(float(x[i]), 1) for x in (together, foot) for i in (1, 0, 2)),
                         *(round(float(x), 2) for x in s.length)))  # fmt: skip
    ways = ("vertical", "fore–aft", "lateral")
    columns = ("trial", "method", *(f"{way} %" for way in ways), *(f"each foot {way} %" for way in ways),
               "left N/kg", "right N/kg")  # fmt: skip
    notes = (
        "rmse in % of body weight against unfiltered plates, both feet together and each; N/kg: mean length of the",
        "error of a foot's force. The paper's Table 3, of one subject of another laboratory (GroundLink): ImDyS 0.99",
        "and 1.15, GroundLinkNet 5.42 and 2.89, re-imitation 2.36 and 2.64.",
    )
    return Table("Ground reaction forces from markers, against force plates", columns, tuple(rows), notes)


def moment_table(scores: dict[str, dict[str, Scores]]) -> Table:
    """Errors of the sagittal moments, likewise."""
    rows = []
    for trial, methods in (*scores.items(), ("mean", _means(scores))):
        for method, s in methods.items():
            if np.isfinite(s.moment).all():
                cells = [round(float(x), 2) for pair in zip(s.moment, s.correlation, strict=True) for x in pair]
                rows.append((trial, method, *cells))
    columns = ("trial", "method", *(x for joint, what, _ in SAGITTAL for x in (f"{joint} {what}", f"r of {joint}")))
    notes = (
        "rms error in N·m/kg and correlation, both sides, against OpenSim's inverse dynamics under the plates;",
        f"{PLATES}: the body that was fitted to the markers, under the measured forces instead of estimated ones",
    )
    return Table("Joint moments from markers, against inverse dynamics with force plates", columns, tuple(rows), notes)


def _means(scores: dict[str, dict[str, Scores]]) -> dict[str, Scores]:
    methods = dict.fromkeys(m for by in scores.values() for m in by)
    each = {m: [by[m] for by in scores.values() if m in by] for m in methods}
    return {m: _mean(them) for m, them in each.items()}


def _mean(scores: list[Scores]) -> Scores:
    each = (np.ma.masked_invalid(np.stack(x)) for x in zip(*(s.errors for s in scores), strict=True))
    by = Errors(*(np.ma.filled(x.mean(axis=0), np.nan) for x in each))  # who runs has no double support
    return Scores(by, *(np.mean(np.stack([s[k] for s in scores]), axis=0) for k in (1, 2, 3)))
