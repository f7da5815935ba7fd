"""Which units mark a class and what they respond to: pictures, and a browser for JupyterLab."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib import pyplot as plt

from analysis.chapters.study import Pair, Study
from analysis.figures.evidence import MarkedClass, plot_marked_classes
from analysis.statistics import extreme_units

if TYPE_CHECKING:
    import pandas as pd
    from ipywidgets import Dropdown, VBox
    from matplotlib.figure import Figure

    from analysis.chapters.study import Study


def marked_classes(
    study: Study, table: pd.DataFrame, *, n_crops: int = 9, n_samples: int = 4
) -> list[MarkedClass]:
    """Pictures for pairs of a unit and a class.

    Parameters
    ----------
    study
        Where images and networks come from; a unit's crops are looked for in its reference images.
    table
        Columns ``network``, ``dataset``, ``layer``, ``unit``, ``class`` (its number) and
        ``distance``.
    n_crops, n_samples
        Pictures of the unit and of the class, at most.

    Returns
    -------
    list of MarkedClass
        One for each row.
    """
    return [
        MarkedClass(
            layer=row["layer"],
            unit=row["unit"],
            class_name=study.data(row["dataset"]).classes[row["class"]],
            distance=row["distance"],
            crops=study.atlas(row["network"]).strongest(row["layer"], row["unit"])[:n_crops],
            samples=study.class_samples(row["dataset"], row["class"], n_samples),
            dataset=row["dataset"],
        )
        for row in table.to_dict("records")
    ]


UNITS = 3  # of each sign
DPI = 130


class Explorer:
    """Choose a network, dataset, layer and class; see the units that mark the class most.

    As the last line of a cell it shows four menus above a picture. Where no kernel can answer, as
    in the published book, it is the picture alone.

    Parameters
    ----------
    study
        What to browse. The first picture is of its first network and dataset, the last layer and
        the first class.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.pair = study.pairs[0]
        self.layer = self._layers()[-1]
        self.label = self._classes()[0][1]

    def choose(self, pair: Pair, layer: str, label: int) -> None:
        """Turn to another class; where the pair lacks the layer or class, to its last and first."""
        self.pair = pair
        self.layer = layer if layer in self._layers() else self._layers()[-1]
        classes = [number for _, number in self._classes()]
        self.label = label if label in classes else classes[0]

    def units(self) -> pd.DataFrame:
        """Units that mark the class most, by presence and by absence, as a table."""
        table = extreme_units(self.study.distances(self.pair), self.layer, self.label, n=UNITS)
        return table.assign(network=self.pair.network, dataset=self.pair.dataset)

    def plot(self) -> Figure:
        """Those units' strongest crops beside images of the class."""
        return plot_marked_classes(marked_classes(self.study, self.units()))

    def widget(self) -> VBox:
        """Menus and picture, connected to each other."""
        from ipywidgets import Dropdown, HBox, Image, VBox

        network = Dropdown(options=list(self.study.networks), description="network")
        dataset = Dropdown(options=list(self.study.datasets), description="dataset")
        layer, label = Dropdown(description="layer"), Dropdown(description="class")
        menus = (network, dataset, layer, label)
        picture = Image(format="png")

        def follow(_: Any) -> None:
            for menu in menus:  # what follows is not chosen by the reader
                menu.unobserve(follow, "value")
            self.choose(Pair(dataset.value, network.value), layer.value, label.value)
            show()

        def show() -> None:
            _offer(network, network.options, self.pair.network)
            _offer(dataset, dataset.options, self.pair.dataset)
            _offer(layer, self._layers(), self.layer)
            _offer(label, self._classes(), self.label)
            picture.value = self._png()
            for menu in menus:
                menu.observe(follow, "value")

        show()
        return VBox([HBox([network, dataset]), HBox([layer, label]), picture])

    def _layers(self) -> list[str]:
        return [layer.name for layer in self.study.backbone(self.pair.network).layers]

    def _classes(self) -> list[tuple[str, int]]:
        names = self.study.data(self.pair.dataset).classes
        numbers = self.study.distances(self.pair)["class"].to_numpy().tolist()
        return [(names[number], number) for number in numbers]

    def _png(self) -> bytes:
        figure, file = self.plot(), io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.1)
        plt.close(figure)
        return file.getvalue()

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Widget for who can show it, picture for who cannot."""
        box = self.widget()
        png = box.children[-1].value
        data = box._repr_mimebundle_() | {"image/png": b64encode(png).decode()}
        return data, {}


def _offer(menu: Dropdown, options: Any, value: Any) -> None:
    menu.options = options
    menu.value = value
