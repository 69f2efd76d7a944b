"""Tables on a terminal, drawn by rich, which is imported only where one is drawn."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from kpatch.report.style import Style


def drawn(
    heads: Sequence[str], rows: Sequence[Sequence[str]], width: int, style: Style
) -> Iterator[str]:
    """The table in lines of at most ``width`` columns; cells fold, nothing is left out."""
    # Imported here: rich takes as long to import as a scan.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for head in heads:
        table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    file = io.StringIO()
    Console(
        file=file,
        width=width,
        force_terminal=style.colour,
        color_system="standard" if style.colour else None,
        no_color=not style.colour,
        highlight=False,
    ).print(table)
    return (line.rstrip() for line in file.getvalue().splitlines())
