"""Colours and fonts of every figure, in one place.

The palette is the one of Okabe and Ito (*Color Universal Design*, 2008), whose colours stay apart
under the common forms of colour blindness; its yellow is left out because it fades on white.
"""

from __future__ import annotations

from typing import Any

import seaborn as sns

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Blue, vermilion, green, purple, orange, sky blue, black."""

MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""One marker beside each colour, so that no figure depends on colour alone."""

INNER, OUTER, NEUTRAL = PALETTE[1], PALETTE[0], "#6E6E6E"
"""Images inside a class, images outside it, and what belongs to neither."""

WIDTH = 7.6
"""Inches across a page's text: figures of this width keep their font size on the page."""

MAPS = "magma"
"""Colour map of quantities that start at zero, such as activations."""

RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.35",
    "axes.labelsize": 10.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "figure.dpi": 100,
    "figure.titlesize": 12.5,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "grid.color": "0.9",
    "grid.linewidth": 0.8,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "savefig.dpi": 200,
    "xtick.color": "0.25",
    "xtick.labelsize": 9.5,
    "ytick.color": "0.25",
    "ytick.labelsize": 9.5,
}


def literal(name: object) -> str:
    """Name for a place where Matplotlib reads formulas: its dollars are shown, not read.

    Not for texts drawn with ``parse_math=False``, which are shown as they are.
    """
    return str(name).replace("$", r"\$")


def use_style() -> None:
    """Draw in the book's style from here on; a notebook calls it once.

    Inside Jupyter, inline pictures become PNG of twice the screen's resolution.
    """
    sns.set_theme(style="ticks", palette=PALETTE, rc=RC)
    try:
        from IPython.core.getipython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        set_matplotlib_formats("retina")  # type: ignore[no-untyped-call]
