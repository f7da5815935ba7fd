"""Drawings: one module per chapter, ``plot_*(table_or_array, ...)`` in, axes or figure out.

Nothing here computes what a table does not already hold. Colours and fonts come from
:mod:`analysis.figures.style` alone.
"""
