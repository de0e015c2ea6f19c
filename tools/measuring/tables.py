"""Tables in the notation of Markdown."""

import statistics


class Table:
    """Rows of cells under a title; numbers are rounded by their size."""

    def __init__(self, title, *columns):
        self.title, self.columns, self.rows = title, columns, []

    def add(self, *cells):
        self.rows.append([cell if isinstance(cell, str) else number(cell) for cell in cells])

    def print(self, file=None):
        if not self.rows:
            return
        print(f"\n### {self.title}\n", file=file)
        for cells in (self.columns, ["---"] * len(self.columns), *self.rows):
            print("| " + " | ".join(cells) + " |", file=file, flush=True)


def number(value):
    """Three digits that mean something, and thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def median(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
