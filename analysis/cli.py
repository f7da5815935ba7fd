"""Commands on images: ``extract``, ``fine-tune``, ``dks`` and ``report``.

Packages that take long to import are imported inside the commands, so that help comes at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

Dataset = Annotated[
    str,
    typer.Argument(
        help="A name from `layerbook datasets`, `folder:/path/to/images`, or "
        "`table:/path/to/labels.csv`."
    ),
]
Network = Annotated[
    str, typer.Argument(help="A name from `layerbook networks`; `NAME@WEIGHTS` works too.")
]
NetworkOption = Annotated[
    str, typer.Option(help="As for other commands: `NAME`, or `NAME@WEIGHTS`.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Replaces what stands after the `@`: `imagenet` (the default of a `NAME`), `bundled` "
        "or `bundled-living` (of `minivgg16`), `places365`, `random`, or a `.safetensors` or "
        "`.pth` file."
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
    tokens: Annotated[
        str, typer.Option(help="Of a transformer's tokens: `mean`, `class` or `all`.")
    ] = "mean",
    activation: Annotated[
        str, typer.Option(help="`post` or `pre`: after or before the activation function.")
    ] = "post",
    dtype: Annotated[
        str, typer.Option(help="Arithmetic of the forward pass: `float32` or `bfloat16`.")
    ] = "float32",
    out: Annotated[
        Path | None, typer.Option(help="Also write the labelled array here, as a Zarr folder.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler, `tcp://HOST:8786`, whose workers compute the "
            "features; they must see images and store under the same paths."
        ),
    ] = None,
) -> None:
    """Take a dataset's features from every layer of a network into the store.

    Example: `layerbook extract digits minivgg16 --weights random --out digits.zarr`
    """
    from analysis import extract as extract_features
    from analysis import load_dataset
    from analysis.book.exports import write_zarr
    from analysis.cluster import connect

    asked = dict[str, Any](pooling=pooling, tokens=tokens, activation=activation, dtype=dtype)
    with connect(cluster) if cluster is not None else nullcontext() as client:
        features = extract_features(
            load_dataset(dataset, progress=True),
            _backbone(network, weights),
            crops=crops,
            layers=layers.split(",") if layers else None,
            progress=True,
            client=client,
            **asked,
        )
    typer.echo(f"{features.sizes['image']:,} images × {features.sizes['feature']:,} features")
    if out is not None:
        typer.echo(f"written to {write_zarr(features, out)}")


def fine_tune(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, curves and weights.")],
    network: NetworkOption = "minivgg16@bundled",
    weights: Weights = None,
    name: Annotated[
        str, typer.Option(help="What the weights are called: `NETWORK-NAME.safetensors`.")
    ] = "tuned",
    free: Annotated[
        str,
        typer.Option(
            help="How many of the last layers learn (convolutions, ReLUs, poolings and the like "
            "all count), or the first that does: `fire8`."
        ),
    ] = "7",
    validation: Annotated[
        str | None, typer.Option(help="A dataset with the same classes, measured every epoch.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Images in a step, at most.")] = 256,
    learning_rate: Annotated[float, typer.Option(help="The same for all steps.")] = 0.1,
    momentum: Annotated[float, typer.Option(help="Of the descent.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="Of all weights that learn.")] = 1e-4,
    crops: Annotated[
        str, typer.Option(help="`whole` (the image in a square), `center`, or `warp`.")
    ] = "whole",
    seed: Annotated[int, typer.Option(help="Seed of every draw.", min=0)] = 0,
) -> None:
    """Train the last layers of a network on a dataset's classes; the others stay as they are.

    Writes the weights, what they come from (`.json`), and after every epoch a checkpoint and the
    curves so far: a run that was stopped goes on where it was.

    Example: `layerbook fine-tune folder:/path/to/images --out tuned --epochs 20 --learning-rate
    0.01`, and then `layerbook dks digits minivgg16 --weights tuned/minivgg16-tuned.safetensors`
    """
    from analysis import load_dataset, networks
    from analysis.networks.model_cards import weights_name

    file = out / f"{network.partition('@')[0]}-{weights_name(name)}.safetensors"
    recipe = networks.FineTuning(epochs, batch_size, learning_rate, momentum, weight_decay, crops)
    tuned = networks.fine_tune(
        _backbone(network, weights),
        load_dataset(dataset, progress=True),
        seed=seed,
        free=int(free) if free.isdecimal() else free,
        recipe=recipe,
        validation=None if validation is None else load_dataset(validation, progress=True),
        checkpoint=out,
    )
    last = tuned.history.iloc[-1]
    typer.echo(f"accuracy on the images it learnt from: {last['accuracy']:.1%}")
    if validation is not None:
        typer.echo(f"accuracy on the validation images: {last['val_accuracy']:.1%}")
    typer.echo(f"written to {tuned.save(file)}")


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
    from analysis.book.exports import measure_distances
    from analysis.chapters import slug

    data, net = load_dataset(dataset, progress=True), _backbone(network, weights)
    path = out or Path(f"dks-{slug(dataset)}-{slug(net.name)}.csv")
    strongest, pairs = measure_distances(data, net, path, crops=crops, progress=True)
    print_table(("layer", "D_KS", "unit", "marks by", "class"), strongest.itertuples(index=False))
    typer.echo(f"\n{pairs:,} pairs of feature and class written to {path}")


def report(
    dataset: Dataset,
    network: NetworkOption = "minivgg16@bundled",
    weights: Weights = None,
    crops: Crops = "ten",
    out: Annotated[
        Path | None, typer.Option(help="A folder; default: report-DATASET-NETWORK, here.")
    ] = None,
) -> None:
    """Report on your images: one page to read anywhere, and an embedding to use again.

    The page names images that are left out or there twice and classes that are hard to tell apart,
    shows what marks each class, and recommends the layers to keep.

    Example: `layerbook report folder:/path/to/images --out my-report`
    """
    from analysis.book.report import report_dataset

    made = report_dataset(dataset, network, weights=weights, crops=crops, out=out)
    typer.echo(f"Open {made.page}\nThe recommended embedding is in {made.embedding}")
    for line in made.left_out:
        typer.echo(printable(f"Left out: {line}"))


def study(
    datasets: Annotated[str, typer.Argument(help="As for other commands, with commas.")],
    network: Annotated[
        str | None, typer.Option(help="Networks, `NAME` or `NAME@WEIGHTS`, with commas.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The file.")] = Path("study.yml"),
) -> None:
    """Write a study file for datasets of your own, to edit and to build a book of.

    Example: `layerbook study folder:/path/to/images --out mine.yml`, then `layerbook book mine.yml`
    """
    import yaml

    from analysis.book.build import study_parameters
    from analysis.book.sources import find_sources
    from analysis.chapters import Study

    if out.exists():
        raise FileExistsError(f"{out} exists; choose another file with --out, or remove it")
    bundled = find_sources().study("bundled")
    parameters = study_parameters(bundled, datasets=datasets, networks=network)
    del parameters["results"]
    Study(**parameters)  # refuses what is not there
    text = yaml.safe_dump(parameters | {"crops": "ten"}, sort_keys=False, allow_unicode=True)
    out.write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {out}. Build its book with: layerbook book {out}")


def printable(text: str) -> str:
    """Text in which characters that are not shown are spelled out; lines stay.

    The name of a file can hold what a terminal takes for an order: to hide lines, to set its title.
    """
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def warn_printably() -> None:
    """Spell out such characters in warnings as well, where nobody has set up logging."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Printable())


def print_table(header: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> None:
    """Print rows under their header, in columns that are as wide as they need."""
    cells = [header, *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header) - 1)]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        typer.echo(f"{line}  {row[-1]}".rstrip())


def _backbone(network: str, weights: str | None) -> Any:
    from analysis import load_backbone
    from analysis.chapters import split_network

    name, named_weights = split_network(network)
    return load_backbone(name, weights=weights or named_weights, progress=True)
