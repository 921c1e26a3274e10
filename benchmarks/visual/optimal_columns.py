"""Makes src/medveil/schemes/visual/columns.json: (k, n) visual cryptography of the best contrast, as exact fractions.

    python -m benchmarks.visual.optimal_columns [--check]

A symmetric size-invariant scheme is two distributions over the number of white entries in a pixel's column of n
shares, one for white and one for black secret pixels; given the number, the places are uniform. For j = 1 .. k-1 the
probability that j given shares are all white must be the same for both colours, which makes any k-1 shares
independent of the secret. Maximised is the contrast (Tw - Tb) / (1 + Tb) of k stacked shares, a linear-fractional
program, made linear by Charnes and Cooper's substitution. Then the support is solved again in exact fractions.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from math import comb, lcm
from pathlib import Path

import numpy as np
from scipy.optimize import linprog

LARGEST = 8
TARGET = Path(__file__).resolve().parents[2] / "src/medveil/schemes/visual/columns.json"


def light(n: int, j: int) -> list[Fraction]:
    """Probability that j given shares are white, for each number of white entries 0 .. n."""
    return [Fraction(comb(n - j, w - j), comb(n, w)) if w >= j else Fraction(0) for w in range(n + 1)]


def program(k: int, n: int) -> tuple[list[list[Fraction]], list[Fraction], list[Fraction]]:
    """Equalities (rows over white weights, black weights, scale t), right sides, and the objective to maximise."""
    rows, right = [], []
    one, zero = [Fraction(1)] * (n + 1), [Fraction(0)] * (n + 1)
    rows.append([*one, *zero, Fraction(-1)])
    rows.append([*zero, *one, Fraction(-1)])
    right += [Fraction(0), Fraction(0)]
    for j in range(1, k):
        rows.append([*light(n, j), *(-x for x in light(n, j)), Fraction(0)])
        right.append(Fraction(0))
    rows.append([*zero, *light(n, k), Fraction(1)])  # t * (1 + Tb) = 1
    right.append(Fraction(1))
    return rows, right, [*light(n, k), *(-x for x in light(n, k)), Fraction(0)]


def solve_exactly(rows: list[list[Fraction]], right: list[Fraction], support: list[int]) -> list[Fraction]:
    """Gauss-Jordan over the support; the basis is non-degenerate there or the program says so."""
    matrix = [[row[c] for c in support] + [value] for row, value in zip(rows, right, strict=True)]
    at = 0
    for column in range(len(support)):
        pivot = next((r for r in range(at, len(matrix)) if matrix[r][column]), None)
        assert pivot is not None, "the support does not determine the solution"
        matrix[at], matrix[pivot] = matrix[pivot], matrix[at]
        matrix[at] = [x / matrix[at][column] for x in matrix[at]]
        for r in range(len(matrix)):
            if r != at and matrix[r][column]:
                factor = matrix[r][column]
                matrix[r] = [a - factor * b for a, b in zip(matrix[r], matrix[at], strict=True)]
        at += 1
    assert all(not any(row) for row in matrix[at:]), "the equalities do not hold on the support"
    solution = [Fraction(0)] * len(rows[0])
    for index, column in enumerate(support):
        solution[column] = matrix[index][-1]
    return solution


def optimum(k: int, n: int) -> dict[str, object]:
    rows, right, objective = program(k, n)
    found = linprog(
        [-float(x) for x in objective],
        A_eq=np.array([[float(x) for x in row] for row in rows]),
        b_eq=[float(x) for x in right],
        method="highs-ds",
    )
    assert found.success, found.message
    support = [i for i, x in enumerate(found.x) if x > 1e-9]
    exact = solve_exactly(rows, right, support)
    assert all(x >= 0 for x in exact)
    scale = exact[-1]
    white, black = [x / scale for x in exact[: n + 1]], [x / scale for x in exact[n + 1 : -1]]
    contrast = sum((o * x for o, x in zip(objective, exact, strict=True)), Fraction(0))
    assert abs(float(contrast) + found.fun) < 1e-9
    # weight w is drawn, then one of comb(n, w) columns: as counts of equally likely columns both colours share
    total = lcm(*(Fraction(p, comb(n, w)).denominator for d in (white, black) for w, p in enumerate(d) if p))
    counts = [[int(p * total / comb(n, w)) for w, p in enumerate(d)] for d in (white, black)]
    assert all(sum(c * comb(n, w) for w, c in enumerate(d)) == total for d in counts)
    return {
        "k": k, "n": n, "columns": total, "white": counts[0], "black": counts[1],
        "contrast": f"{contrast.numerator}/{contrast.denominator}",
    }  # fmt: skip


def make() -> str:
    entries = [optimum(k, n) for n in range(2, LARGEST + 1) for k in range(2, n + 1)]
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    return '{"format": "medveil-visual-columns/1", "schemes": [\n' + lines + "\n]}\n"


if __name__ == "__main__":
    text = make()
    if "--check" in sys.argv:
        assert TARGET.read_text() == text, "the shipped table differs from what this program makes"
        print("the shipped table is what this program makes")
    else:
        TARGET.write_text(text)
        for entry in json.loads(text)["schemes"]:
            print(entry["k"], entry["n"], entry["contrast"], float(Fraction(entry["contrast"])), entry["columns"])
