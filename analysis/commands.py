"""Commands that measure images: ``extract``, ``dks`` and ``report``.

Packages that take long to import are imported inside the commands, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["dks", "extract", "print_table", "report"]

Dataset = Annotated[
    str, typer.Argument(help="A name from `layerbook datasets`, or `folder:/path/to/images`.")
]
Network = Annotated[
    str, typer.Argument(help="A name from `layerbook networks`; `NAME@WEIGHTS` works too.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="`imagenet` (the default), `bundled` or `bundled-living` (of `minivgg16`), "
        "`places365`, `random`, or a `.safetensors` or `.pth` file."
    ),
]
Crops = Annotated[
    str, typer.Option(help="`ten` (corners and centre, mirrored), `center`, or `warp`.")
]


def extract(
    dataset: Dataset,
    network: Network,
    weights: Weights = None,
    crops: Crops = "ten",
    layers: Annotated[
        str | None, typer.Option(help="Layers with commas, `conv1_1,fc6`; default: the embedding.")
    ] = None,
    pooling: Annotated[
        str, typer.Option(help="`mean`, `none` (flattened), `flatten:100` or `grid:2`.")
    ] = "mean",
    activation: Annotated[str, typer.Option(help="`post` or `pre` ReLU.")] = "post",
    dtype: Annotated[
        str, typer.Option(help="Arithmetic of the forward pass: `float32` or `bfloat16`.")
    ] = "float32",
    out: Annotated[
        Path | None, typer.Option(help="Also write the labelled array here, as a Zarr folder.")
    ] = None,
) -> None:
    """Take a dataset's features from every layer of a network into the store.

    Example: `layerbook extract digits minivgg16 --weights random --out digits.zarr`
    """
    from analysis import extract as extract_features
    from analysis import load_dataset
    from analysis.reports.exports import write_zarr

    asked: dict[str, Any] = {"pooling": pooling, "activation": activation, "dtype": dtype}
    features = extract_features(
        load_dataset(dataset, progress=True),
        _backbone(network, weights),
        crops=crops,
        layers=layers.split(",") if layers else None,
        progress=True,
        **asked,
    )
    typer.echo(f"{features.sizes['image']:,} images × {features.sizes['feature']:,} features")
    if out is not None:
        typer.echo(f"written to {write_zarr(features, out)}")


def dks(
    dataset: Dataset,
    network: Network,
    weights: Weights = None,
    crops: Crops = "ten",
    out: Annotated[
        Path | None, typer.Option(help="The table; default: dks-DATASET-NETWORK.csv, here.")
    ] = None,
) -> None:
    """Measure how far every feature tells every class from the others, as a CSV table.

    Prints, for each layer, the pair of feature and class most marked by presence (D_KS near +1)
    and by absence (near -1).

    Example: `layerbook dks digits minivgg16 --weights random`
    """
    from analysis import load_dataset
    from analysis.reports.exports import measure_distances
    from analysis.studies import slug

    data, net = load_dataset(dataset, progress=True), _backbone(network, weights)
    path = out or Path(f"dks-{slug(dataset)}-{slug(net.name)}.csv")
    strongest, pairs = measure_distances(data, net, path, crops=crops, progress=True)
    print_table(("layer", "D_KS", "unit", "marks by", "class"), strongest.itertuples(index=False))
    typer.echo(f"\n{pairs:,} pairs of feature and class written to {path}")


def report(
    dataset: Dataset,
    network: Annotated[
        str, typer.Option(help="As for other commands: `NAME`, or `NAME@WEIGHTS`.")
    ] = "minivgg16@bundled",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Replaces what stands after the `@`: `imagenet` (the default of a `NAME`), "
            "`bundled` or `bundled-living` (of `minivgg16`), `places365`, `random`, or a "
            "`.safetensors` or `.pth` file."
        ),
    ] = None,
    crops: Crops = "ten",
    out: Annotated[
        Path | None, typer.Option(help="A folder; default: report-DATASET-NETWORK, here.")
    ] = None,
) -> None:
    """Report on your images: one page to read anywhere, and an embedding to use again.

    The page names broken files, images that are there twice and classes that are hard to tell
    apart, shows what marks each class, and recommends the layers to keep.

    Example: `layerbook report folder:/path/to/images --out my-report`
    """
    from analysis.reports.dataset_report import report_dataset

    made = report_dataset(dataset, network, weights=weights, crops=crops, out=out)
    typer.echo(f"Open {made.page}\nThe recommended embedding is in {made.embedding}")


def print_table(header: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> None:
    """Print rows under their header, in columns that are as wide as they need."""
    cells = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header) - 1)]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        typer.echo(f"{line}  {row[-1]}".rstrip())


def _backbone(network: str, weights: str | None) -> Any:
    from analysis import load_backbone
    from analysis.studies import split_network

    name, named_weights = split_network(network)
    return load_backbone(name, weights=weights or named_weights, progress=True)
