"""The pages of a run: index.html with the verdicts, and one page for each executed notebook.

Pages are whole in themselves: no script, no font and no style sheet is fetched, all text is escaped, and they
read well in light and dark and on paper.
"""

import functools
import html
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

from gatebook.display import badge, table_html
from gatebook.evidence.results import Results
from gatebook.runs import RunFolder, write_whole

TEMPLATES = Path(__file__).with_name("templates")


def write(folder: RunFolder, results: Results) -> None:
    """index.html and html/*.html of a run that is about to be finished."""
    environment = _environment()
    for phase in results.phases:
        executed = folder.notebooks / f"{phase.notebook}.ipynb"
        if executed.exists():
            text = environment.get_template("notebook.html").render(
                phase=phase, run=results.run, cells=_cells(executed), title=f"{phase.phase} {phase.title}"
            )
            write_whole(folder.html / f"{phase.notebook}.html", text)
    write_whole(folder.path / "index.html", index(results, {path.stem for path in folder.html.glob("*.html")}))


def index(results: Results, notebooks: Collection[str]) -> str:
    """index.html; the same results give the same bytes.

    notebooks  those that have a page
    """
    template = _environment().get_template("index.html")
    return template.render(results=results, totals=results.totals(), notebooks=notebooks, first=_first_with(results))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["badge"] = badge
    environment.filters["moment"] = _moment
    environment.filters["rows"] = lambda rows, of_rows, limit: table_html(tuple(rows), limit=limit, of_rows=of_rows)
    return environment


def _first_with(results: Results) -> dict[str, str]:
    """SQL -> the first test that ran it: the same long query is printed once."""
    first: dict[str, str] = {}
    for phase in results.phases:
        for gate in phase.gates:
            for test in gate.tests:
                first.setdefault(test.sql, test.test)
    return first


def _moment(text: str) -> str:
    """An ISO time as people read it; a run that was cut off has none."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC" if text else "–"


def _cells(executed: Path) -> list[dict[str, Any]]:
    """Each cell as what a page shows: kind, HTML of prose, source, HTML of outputs."""
    import nbformat
    from nbconvert.filters import ansi2html, markdown2html

    shown = []
    for cell in nbformat.read(executed, as_version=4).cells:
        if cell.cell_type == "markdown":
            shown.append({"id": cell.id, "kind": "prose", "html": markdown2html(cell.source)})
        elif cell.cell_type == "code" and cell.source.strip():
            shown.append(
                {
                    "id": cell.id,
                    "kind": "code",
                    "source": cell.source,
                    "state": cell.metadata.get("gatebook", {}).get("state", ""),
                    "outputs": [_output(output, ansi2html) for output in cell.outputs],
                }
            )
    return shown


def _output(output: Any, ansi2html: Any) -> str:
    """HTML of one output. Our own displays are escaped where they are made; everything else is escaped here."""
    if output.output_type == "stream":
        return f"<pre>{ansi2html(output.text)}</pre>"
    if output.output_type == "error":
        return f"<pre class='error'>{ansi2html(chr(10).join(output.traceback))}</pre>"
    data = output.get("data", {})
    if "image/png" in data:
        text = html.escape(data.get("text/plain", "chart"), quote=True)
        return f'<img alt="{text}" src="data:image/png;base64,{data["image/png"]}">'
    if "text/html" in data and _is_ours(data["text/html"]):
        return str(data["text/html"])
    return f"<pre>{ansi2html(data.get('text/plain', ''))}</pre>"


def _is_ours(text: str) -> bool:
    """Displays of the workbook and pandas tables; other HTML is shown as its plain text."""
    return text.startswith("<div class='gb'>") or (text.startswith("<div>") and 'class="dataframe"' in text[:600])
