"""A notebook executed in the process of the tests, which has imported everything already."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from traitlets import Type


class Hook(DisplayHook):
    """Shows the last value of a cell as pictures and tables are shown."""

    def write_output_prompt(self) -> None:
        """Do nothing."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        """Show a value."""
        self.shell.display_pub.publish(format_dict, md_dict)


class Shell(InteractiveShell):
    """IPython without a window."""

    displayhook_class = Type(Hook)

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing: pictures are shown when a cell ends."""


def run_here(
    notebook: Path, parameters: dict[str, Any], *, key: str, cache: Path, progress: bool
) -> Path:
    """Do as ``run_notebook`` does, without a kernel of its own: seconds less for each notebook.

    Standard output and errors of the cells are dropped; the first exception of a cell is raised.
    """
    assert not progress
    folder = cache / key
    folder.mkdir(parents=True)
    content = parameterize_notebook(load_notebook_node(str(notebook)), parameters)
    shell, backend = Shell.instance(), mpl.get_backend()
    try:
        with chdir(folder), mpl.rc_context():
            shell.enable_matplotlib("inline")
            for cell in content.cells:
                if cell.cell_type == "code":
                    with capture_output() as captured:
                        shell.run_cell(cell.source, store_history=True).raise_error()
                    cell.outputs = [as_output(shown) for shown in captured.outputs]
    finally:
        Shell.clear_instance()
        plt.close("all")
        plt.switch_backend(backend)
    nbformat.write(content, folder / notebook.name)
    return folder


def as_output(shown: RichOutput) -> Any:
    return nbformat.v4.new_output(
        "display_data", nbformat.from_dict(shown.data), metadata=shown.metadata or {}
    )
