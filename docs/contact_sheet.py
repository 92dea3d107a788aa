"""Draw `images/simulation.png`: every specimen of `splatom simulate`, and ways of looking at them.

python docs/contact_sheet.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from splatom.simulate import SPECIMENS, simulate

EDGE, GAP, TITLE, COLUMNS = 192, 6, 20, 6
CLEAN: dict[str, Any] = {"size": EDGE, "angles": "0", "dose": 0.0, "background": 0.0, "seed": 1}
WAYS: list[tuple[str, str, dict[str, Any]]] = [
    ("mos2, HAADF, 40 e/px", "mos2", {"dose": 40.0}),
    ("mos2, HRTEM", "mos2", {"imaging": "hrtem", "defocus": 6.0, "cs": -0.005}),
    ("bicrystal, BF", "bicrystal", {"imaging": "bf"}),
    ("nuclei, HRTEM", "nuclei", {"imaging": "hrtem", "defocus": 8.0, "cs": -0.005}),
    ("crystal, HRTEM, Scherzer", "crystal", {"imaging": "hrtem"}),
    ("cell, BF", "cell", {"imaging": "bf", "saturation": 60.0}),
    ("bicrystal, scan faults", "bicrystal", {"scan_jitter": 0.8, "scan_drift": 12.0, "dose": 60.0}),
    ("nanoparticle, 20 e/px", "nanoparticle", {"dose": 20.0}),
    ("uneven background", "atoms", {"background_slope": 0.1, "dose": 50.0}),
    ("channelling, off", "bicrystal", {"seed": 3}),
    ("channelling, on", "bicrystal", {"seed": 3, "channelling": 2.0}),
]


def _panel(image: np.ndarray, title: str, limits: tuple[float, float] | None = None) -> Image.Image:
    low, high = limits or np.quantile(image, (0.002, 0.998))
    grey = np.clip((image - low) / max(high - low, 1e-12), 0, 1) * 255
    panel = Image.new("L", (EDGE, EDGE + TITLE), 255)
    panel.paste(Image.fromarray(grey.astype(np.uint8)), (0, TITLE))
    ImageDraw.Draw(panel).text((1, 3), title, fill=0, font=ImageFont.load_default(13))
    return panel


def main() -> None:
    panels = []
    wanted = [(name, name, {}) for name in SPECIMENS] + WAYS
    shown: dict[str, tuple[float, float]] = {}
    for title, name, options in wanted:
        image = simulate(name, **{**CLEAN, **options})[0].projections[0]
        if title == "channelling, off":
            shown["channelling, on"] = (0.0, 2.0 * float(np.quantile(image, 0.998)))
            shown[title] = shown["channelling, on"]
        panels.append(_panel(image, title, shown.get(title)))
    rows = -(-len(panels) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * (EDGE + GAP) - GAP, rows * (EDGE + TITLE + GAP) - GAP), 255)
    for i, panel in enumerate(panels):
        row, column = divmod(i, COLUMNS)
        sheet.paste(panel, (column * (EDGE + GAP), row * (EDGE + TITLE + GAP)))
    sheet.save(Path(__file__).parent / "images" / "simulation.png", optimize=True)


if __name__ == "__main__":
    main()
