"""Names that a dataset may bring along, each of which means something to somebody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = (
    "<script>alert(1)",
    "<img src=x onerror=alert(2)>",
    "<svg onload=alert(3)>",
    "\" onmouseover=alert(4) x='quoted'",
    "a&b &lt;b&gt; &amp;",
    "$x^2$",
    r"$\frac{$ {\bf",
    r"$$\href{javascript:alert(5)}{x}$$",
    r"\(\href{javascript:alert(6)}{y}\)",
    "[link](javascript:alert(7))",
    "{{7*7}} {% raw %}",
    "{glue:text}`kept`",
    "`ticks` ``two`` *b* _i_",
    "a|b||c",
    "two\nlines",
    "tab\there",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "\N{CAT FACE} caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    "long " * 48,
    "-rf --help",
    "=cmd|' C'!A0",
    "+1+1",
    "@SUM(1)",
    "%00 %s %(x)s",
    "CON",
    "{0.__class__} {name}",
    "nan",
    "</td><!-- ]]>".replace("/", "\N{FRACTION SLASH}"),
    "__import__('os').system('touch owned')",
)
"""Names of class folders on a file system that forbids no more than "/"."""


def draw_folder(root: Path, names: tuple[str, ...] = NAMES, *, each: int = 4) -> str:
    """Draw a folder of classes that differ in the direction of their stripes; give its spelling."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(40), np.arange(40))
    for number, name in enumerate(names):
        angle = np.pi * number / len(names)
        (root / name).mkdir(parents=True)
        for image in range(each):
            wave = np.sin(0.6 * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6))
            pixels = 127 + 80 * wave[..., None] + rng.normal(0, 25, (40, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{image}.png")
    return f"folder:{root}"
