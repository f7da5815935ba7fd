"""The command line: ``layerbook COMMAND``, or ``python -m analysis COMMAND``.

Packages that take long to import are imported inside the commands, so that help comes at once.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from analysis import cli

_STOPPED = "Stopped. Nothing half-written stays; the same command goes on with what is finished."
_DISK_FULL = "Make room on the disk and run the command again: it continues with what is finished."


class _OneLineErrors(TyperGroup):
    """Commands whose errors are told in one message, unless ``--debug`` asks for the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.Abort:
            raise
        except KeyboardInterrupt:
            typer.echo(f"\n{_STOPPED}", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            # Typer's own errors know their exit code, and how to be told.
            if hasattr(error, "exit_code") or ctx.params.get("debug"):
                raise
            expected = isinstance(error, (ValueError, OSError, RuntimeError, FloatingPointError))
            kind = "" if expected else f"{type(error).__name__}: "
            hint = "" if expected else "\n(layerbook --debug COMMAND shows where)"
            if any(os.strerror(full) in str(error) for full in (errno.ENOSPC, errno.EDQUOT)):
                hint = f"\n{_DISK_FULL}"
            typer.echo(f"error: {kind}{cli.printable(str(error))}{hint}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Measure what every layer of a CNN knows about your images, and publish it as a book.

    Examples, all of which work offline:

    `layerbook book`: build the book for the datasets that come along

    `layerbook dks digits minivgg16 --weights random`: which features mark which digit

    `layerbook report folder:/my/images`: one page about your images, and which layers to keep

    `layerbook book --datasets folder:/my/images --network minivgg16@bundled`: a book about them
    """
    cli.warn_printably()


@app.command()
def datasets() -> None:
    """List the datasets that can be named, their licences, and whether they are on this machine.

    Example: `layerbook datasets`
    """
    from analysis.data import CARDS
    from analysis.data.layouts import find_dataset

    rows = []
    for card in CARDS.values():
        if card.layout == "bundled":
            where = "comes along"
        elif find_dataset(card):
            where = "here"
        else:
            where = f"layerbook fetch {card.name}" if card.sources else "on request; fetch says how"
        counts = (_count(card.images), _count(card.classes), card.overlap_group or "-")
        rows.append((card.name, *counts, where, card.licence or "not established"))
    cli.print_table(("name", "images", "classes", "overlap", "where", "licence"), rows)
    typer.echo(
        "\nYour own: folder:/path/to/images, with one sub-folder per class, or "
        "table:/path/to/labels.csv, with columns path,label."
    )


@app.command()
def networks() -> None:
    """List the networks that can be named.

    Example: `layerbook networks`
    """
    from analysis.networks import NETWORKS

    rows = [
        (card.name, len(card.embedding), f"{card.features:,}", f"{card.crop} px", card.citation)
        for card in NETWORKS.values()
    ]
    cli.print_table(("name", "layers", "features", "input", "reference"), rows)
    typer.echo(
        "\nAny other classifier of torchvision can be named too, such as resnet18 or densenet121."
        "\nWeights: imagenet, places365, random, or a file, as in vgg16@imagenet; for minivgg16 "
        "bundled and bundled-living."
    )


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="One or more names of `layerbook datasets`.")],
) -> None:
    """Download datasets and verify them.

    Example: `layerbook fetch caltech101 textures`
    """
    from analysis.data import fetch_dataset

    for name in names:
        typer.echo(f"{name}: {fetch_dataset(name, progress=True)}")


app.command()(cli.extract)


@app.command()
def pretrain(
    folder: Annotated[
        Path,
        typer.Argument(help="Has a sub-folder per class, or `train/` and `val/` with those."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, curves, weights and card.")],
    name: Annotated[
        str, typer.Option(help="What the weights are called: `minivgg16-NAME.safetensors`.")
    ] = "own",
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the names of the sub-folders to keep, one per line; default: all.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    drawn: Annotated[
        bool, typer.Option("--drawn", help="Add the glyphs and materials that Layerbook draws.")
    ] = False,
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 40,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="The largest of the schedule.")] = 0.05,
    precision: Annotated[
        str,
        typer.Option(
            help="`float32`, or `bfloat16`: nearly twice as fast on processors with instructions "
            "for it (avx512_bf16 or amx_bf16 in `lscpu`), many times slower on others."
        ),
    ] = "float32",
    seed: Annotated[int, typer.Option(help="Seed of every draw.", min=0)] = 0,
) -> None:
    """Train `minivgg16` on a folder of images; a run that was stopped goes on where it was.

    Writes the weights, their model card (recipe, curves, accuracy on images that were held out),
    and after every epoch a checkpoint and the curves so far. Rerun the command to continue; to
    train otherwise, choose another folder.

    Example: `layerbook pretrain my/images --out trained --epochs 10`, and then
    `layerbook dks digits minivgg16 --weights trained/minivgg16-own.safetensors`
    """
    from analysis.data.source_tasks import read_source_task
    from analysis.networks import training
    from analysis.networks.model_cards import export, weights_name

    asked = dict[str, Any](precision=precision, batch_size=batch_size)
    recipe = training.Recipe(epochs=epochs, learning_rate=learning_rate, **asked)
    weights_name(name)  # hours before it is needed
    keep = None if classes is None else classes.read_text("utf-8-sig").splitlines()
    named = None if keep is None else [line.strip() for line in keep if line.strip()]
    task = read_source_task(folder, keep=named, drawn=drawn, seed=seed, progress=True)
    trained = training.pretrain(task, out, recipe, seed=seed, progress=True)
    card = export(trained, task, out, name=name, recipe=recipe, seed=seed)
    for measure, value in card.accuracy.items():
        typer.echo(f"{measure.replace('_', ' ')}: {value:.1%}")
    typer.echo(f"written to {out / f'minivgg16-{name}.safetensors'}")


app.command()(cli.fine_tune)
app.command()(cli.dks)
app.command()(cli.report)
app.command()(cli.study)


@app.command()
def book(
    study: Annotated[
        str, typer.Argument(help="A study file, or `bundled`, `real-squeezenet`, `paper`.")
    ] = "bundled",
    study_option: Annotated[
        str | None, typer.Option("--study", help="The same, as an option.")
    ] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Replace the study's datasets: names with commas.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="Replace its networks: `NAME` or `NAME@WEIGHTS`, with commas."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Replace the weights: `imagenet`, `bundled`, `random`, or a file."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for everything that is built.")] = Path(
        "_build"
    ),
) -> None:
    """Execute the notebooks for a study and build the book from them.

    Only what has changed since the last time is executed again.

    Example: `layerbook book --datasets digits --network minivgg16 --weights random`
    """
    from analysis.book import build_book

    index = build_book(
        study_option or study, datasets=datasets, networks=network, weights=weights, output=output
    )
    typer.echo(f"Open {index}")


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


if __name__ == "__main__":
    app()
