"""Runs the cells of a notebook plainly, without Jupyter: what the test does, and `python -m tests.docs.notebooks URL`,
which keeps what the cells show (tables as text, plots as PNG) in the notebooks.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
DOTS_PER_INCH = 80


def run(path: Path, api: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the notebook with the outputs of its cells, the names that they defined), against an API."""
    import matplotlib

    matplotlib.use("agg")
    notebook: dict[str, Any] = json.loads(path.read_text("utf-8"))
    names: dict[str, Any] = {}
    os.environ["CITYFEED_API"] = api
    try:
        number = 0
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                number += 1
                cell["execution_count"], cell["outputs"] = number, _outputs("".join(cell["source"]), names, number)
    finally:
        del os.environ["CITYFEED_API"]
    return notebook, names


def _outputs(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What a cell shows: what it prints, the value of its last line, its figures."""
    from matplotlib import pyplot

    tree, printed, last = ast.parse(source), io.StringIO(), None
    tail = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        if isinstance(tail, ast.Expr):
            last = eval(compile(ast.Expression(tail.value), "cell", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(True)})
    figures = pyplot.get_fignums()
    if last is not None and not figures:
        text = repr(last).splitlines(True)
        outputs.append(
            {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": {"text/plain": text}}
        )
    for figure in figures:
        png = io.BytesIO()
        pyplot.figure(figure).savefig(png, format="png", dpi=DOTS_PER_INCH)
        data = {"image/png": base64.b64encode(png.getvalue()).decode()}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    pyplot.close("all")
    return outputs


if __name__ == "__main__":
    for notebook in NOTEBOOKS:
        made, _ = run(notebook, sys.argv[1])
        notebook.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(notebook.name)
