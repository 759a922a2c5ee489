"""The empty table that every verb fills, so that all look alike."""

from rich.box import SIMPLE_HEAD
from rich.table import Table


def table(title: str, *columns: str, numbers: int = 0) -> Table:
    """Return an empty table; the last `numbers` columns are aligned right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    made.show_header = any(columns)
    for place, name in enumerate(columns):
        right = place >= len(columns) - numbers
        made.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return made
