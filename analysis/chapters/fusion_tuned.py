"""A study's networks with their last layers trained on the source of each pair of domains.

Conventions
-----------
Source: dos Santos and Ponti (SIBGRAPI 2019), section IV: the last seven layers, 100 epochs, at a
learning rate of 0.1.

rate
    That rate is too much for some networks (SqueezeNet among them). So two epochs are tried, at
    0.1, at a tenth of it, and at a hundredth; the greatest whose loss is then below that of saying
    all classes with the same probability is taken, the smallest if none is. Only images of the
    source have a part in this.
local descriptors
    The blocks lie in front of what is free to learn, so that they are the same, and only the global
    descriptor is taken anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from analysis.chapters.domains import DomainPair
from analysis.chapters.fusion import Described, blocks_of, pooled, read_pairs
from analysis.transfer.fusion import Descriptor, fusion_descriptors

if TYPE_CHECKING:
    from analysis.chapters.study import Study
    from analysis.networks import Backbone, FineTuned

__all__ = ["describe_tuned"]

RATES = (0.1, 0.01, 0.001)


def describe_tuned(
    study: Study, described: Described, net: Backbone, *, epochs: int
) -> tuple[Described, pd.DataFrame]:
    """Take the same features, with the network's last layers trained on the source of each pair.

    Parameters
    ----------
    study : Study
        Where images come from; its seed is that of the training.
    described : mapping of DomainPair to sequence of Descriptor
        From :func:`describe_pairs`, by ``net``.
    net : Backbone
        The network before.
    epochs : int
        Passes over the images of a source.

    Returns
    -------
    described : mapping of DomainPair to list of Descriptor
        With other global features, and without local descriptors alone, which stay.
    histories : DataFrame
        Columns of :attr:`analysis.networks.FineTuned.history`, and ``run`` (source and rate).

    Raises
    ------
    ValueError
        If a block is among the layers that are free to learn.
    """
    from analysis.networks import FineTuning, fine_tune  # loads PyTorch

    found: dict[DomainPair, list[Descriptor]] = {}
    histories = []
    for source in dict.fromkeys(pair.source for pair in described):
        tuned = fine_tune(
            net, study.data(source), seed=study.seed, recipe=FineTuning(epochs=epochs), rates=RATES,
            progress=study.progress,
        )  # fmt: skip
        rate = json.loads(str(tuned.provenance["tuned_recipe"]))["learning_rate"]
        histories.append(tuned.history.assign(run=f"{source}, learning rate {rate:g}"))
        own = [pair for pair in described if pair.source == source]
        _refuse_tuned_blocks(tuned, blocks_of(net))
        last = tuned.layers[-1].name
        names = dict.fromkeys(name for pair in own for name in pair)
        whole = {name: pooled(study, name, tuned, [last], "mean") for name in names}
        for pair, domains in read_pairs(whole, own):
            local = {
                (each.layer, each.selection): each.domains
                for each in described[pair]
                if each.kind == "local"
            }
            found[pair] = fusion_descriptors(last, domains, local, with_local=False)
    columns = ["run", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    stacked = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()
    return {pair: found[pair] for pair in described}, stacked.reindex(columns=columns)


def _refuse_tuned_blocks(tuned: FineTuned, blocks: Sequence[str]) -> None:
    free = [
        block
        for block in blocks
        for tap in (*tuned.available[block].pre, *tuned.available[block].post)
        if any(tap.module == path or path.startswith(f"{tap.module}.") for path in tuned.free)
    ]
    if free:
        raise ValueError(
            f"expected local blocks in front of the layers that are trained, but {free[0]} is one "
            f"of {', '.join(tuned.free)}: train fewer layers"
        )
