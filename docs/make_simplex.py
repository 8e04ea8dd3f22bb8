"""Draw docs/images/simplex.png: three Dirichlet distributions over three classes, with their measures.

Run from the repository's root: python docs/make_simplex.py (needs matplotlib).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from uncertainty_loss import dirichlet

PANELS = {
    "Low evidence\n“I have not seen this”": (1.3, 1.1, 1.2),
    "High evidence\n“class A”": (34.0, 3.0, 2.0),
    "Conflict\n“A or B, could be either”": (19.0, 18.0, 2.0),
}
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
LABEL_SHIFTS = np.array([[-0.05, -0.05], [0.05, -0.05], [0, 0.06]])
STEPS = 220
HIGHEST = 150.0  # density
INK = "#222222"


def simplex_grid() -> np.ndarray:
    """Probabilities at the middle of STEPS^2 small triangles' corners, none on the border."""
    i, j = np.meshgrid(np.arange(STEPS + 1), np.arange(STEPS + 1), indexing="ij")
    inside = i + j <= STEPS
    p = np.stack([i[inside], j[inside], STEPS - i[inside] - j[inside]], axis=1) / STEPS
    border = 1e-4
    return p * (1 - 3 * border) + border


def draw(axes: Axes, title: str, alpha: tuple[float, float, float]) -> None:
    p = simplex_grid()
    concentrations = torch.tensor(alpha)
    density = torch.distributions.Dirichlet(concentrations.double()).log_prob(torch.from_numpy(p)).exp().numpy()
    x, y = (p @ CORNERS).T
    # One scale for all panels, so that shades compare; a root, so that a wide distribution is not just white.
    norm = PowerNorm(0.4, vmin=0, vmax=HIGHEST)
    axes.tricontourf(
        x, y, density, levels=np.linspace(0, 1, 40) ** 2.5 * HIGHEST, cmap="Blues", norm=norm, extend="max"
    )
    axes.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color=INK, linewidth=1)
    mean = dirichlet.expected_probability(concentrations).numpy()
    axes.plot(*(mean @ CORNERS), marker="o", markersize=6, color="#d1495b", markeredgecolor="white")
    for name, corner, (dx, dy) in zip("ABC", CORNERS, [(-0.05, -0.05), (0.05, -0.05), (0, 0.06)], strict=True):
        axes.text(corner[0] + dx, corner[1] + dy, name, ha="center", va="center", fontsize=12, color=INK)
    axes.set_title(title, fontsize=12, color=INK, pad=10)
    parameters = ", ".join(f"{a:g}" for a in alpha)
    measures = {
        "vacuity": dirichlet.vacuity(concentrations),
        "dissonance": dirichlet.dissonance(concentrations),
        "expected entropy": dirichlet.expected_entropy(concentrations),
        "mutual information": dirichlet.mutual_information(concentrations),
    }
    axes.text(0.5, -0.14, f"α = ({parameters})", ha="center", va="top", fontsize=11, color=INK)
    for row, (name, value) in enumerate(measures.items()):
        height = -0.27 - 0.085 * row
        axes.text(0.62, height, name, ha="right", va="top", fontsize=10.5, color=INK)
        axes.text(0.70, height, f"{value.item():.2f}", ha="left", va="top", fontsize=10.5, color=INK)
    axes.set(xlim=(-0.12, 1.12), ylim=(-0.58, 1.0), aspect="equal")
    axes.axis("off")


def main() -> None:
    figure, panels = plt.subplots(1, len(PANELS), figsize=(10.5, 5.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12)
    for axes, (title, alpha) in zip(panels, PANELS.items(), strict=True):
        draw(axes, title, alpha)
    target = Path(__file__).parent / "images" / "simplex.png"
    target.parent.mkdir(exist_ok=True)
    # No version or date in the file: the same picture is the same bytes.
    figure.savefig(target, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
