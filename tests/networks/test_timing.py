from __future__ import annotations

import pytest

from analysis.networks import time_by_layer


def test_every_innermost_module_is_timed_once_in_order(random_backbone):
    net = random_backbone("minivgg16")
    table = time_by_layer(net, batch_size=2, repeats=2)
    paths = [
        path for path, part in net.module.named_modules() if path and not list(part.children())
    ]
    assert list(table["module"]) == [*paths, "(rest)"]
    assert table["share"].sum() == pytest.approx(1)
    assert (table["seconds"] >= 0).all()
    assert (table["seconds"][:-1] > 0).all()
    named = table.set_index("module")
    assert named.loc["features.0", "layer"] == "conv1_1"
    assert named.loc["classifier.6", "layer"] == "fc8"
    assert named.loc["features.0", "kind"] == "Conv2d"
    with pytest.raises(ValueError, match="expected batch_size and repeats >= 1"):
        time_by_layer(net, repeats=0)
