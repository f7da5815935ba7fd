"""How long the main steps take, and what they need. ``python -m benchmarks`` runs them all.

Every module here has ``run() -> list[dict]``: one row ``{name, value, unit, target, passed}`` per
measurement. ``target`` is what was aimed at, or None; ``passed`` says whether it was met, or None
where nothing was aimed at.
"""
