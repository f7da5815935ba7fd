"""A backbone whose last layers were trained on, and the files that it is kept in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from safetensors.torch import save

from analysis.networks.backbone import Backbone
from analysis.networks.checkpoints import write_whole

__all__ = ["FineTuned"]


@dataclass(frozen=True, eq=False)
class FineTuned(Backbone):
    """A backbone whose last layers were trained on; made by ``fine_tune``.

    ``provenance`` says of the base its weights and their hash (``base_weights``,
    ``base_weights_hash``, ``base_file``), and of the training ``tuned_on``, ``tuned_fingerprint``,
    ``tuned_free``, ``tuned_recipe`` (JSON), ``tuned_seed`` and versions.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the class scores.
    free
        Paths of the modules that were free to learn, or to drop.
    history
        A row per epoch: ``epoch`` (from 1), ``loss`` (cross-entropy, nats) and ``accuracy`` of the
        images as they were trained on, dropout on, ``val_loss`` and ``val_accuracy`` after the
        epoch (not a number without validation images), ``seconds``.
    """

    classes: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    history: pd.DataFrame = field(default_factory=pd.DataFrame)

    def save(self, file: str | Path) -> Path:
        """Write the weights, and beside them, as ``.json``, where they come from.

        Parameters
        ----------
        file
            Ends in ``.safetensors``; ``load_backbone(name, weights=file)`` reads it.

        Returns
        -------
        Path
            The file.
        """
        file = Path(file)
        if file.suffix != ".safetensors":
            raise ValueError(f"expected the name of a .safetensors file, got {file.name!r}")
        state = {key: value.contiguous() for key, value in self.module.state_dict().items()}
        content = save(state, metadata={"format": "pt"})
        card = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "classes": list(self.classes),
            "free": list(self.free),
            **self.provenance,
            "history": [
                {name: value if value == value else None for name, value in row.items()}
                for row in self.history.to_dict("records")
            ],  # JSON has no NaN
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
        written = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        write_whole(file.with_suffix(".json"), written.encode())
        return file
