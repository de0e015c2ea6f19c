"""Histograms of times, as text and as an SVG plot."""

import html
import math

COLOURS = ["#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#b8860b", "#444444", "#d45087", "#2f9e9e", "#8a5a44", "#6a7f10", "#99aacc"]


def nice_width(span, bins):
    """A width of 1, 2 or 5 times a power of ten that divides a span into about so many bins."""
    rough = max(span, 1e-9) / bins
    power = 10 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) * percent // 100]


class Histogram:
    """Series of times in one unit; the last bin takes what is far beyond the 99th percentile of all of them."""

    def __init__(self, unit, width=None, bins=40):
        self.unit, self.width, self.bins, self.series = unit, width, bins, []

    def add(self, label, values):
        self.series.append((label, values))

    def counts(self):
        """Bin width, and for each series the number of values in each bin."""
        highest = max(percentile(values, 99) for _, values in self.series) * 1.1
        width = self.width or nice_width(highest, self.bins)
        last = int(highest / width) + 1
        result = []
        for label, values in self.series:
            counts = [0] * (last + 1)
            for value in values:
                counts[min(int(value / width), last)] += 1
            result.append((label, counts))
        return width, result

    def print(self):
        """One block a series: its mean and spread, then a bar for each bin."""
        width, series = self.counts()
        digits = max(0, -math.floor(math.log10(width)))
        for (label, counts), (_, values) in zip(series, self.series):
            mean = sum(values) / len(values)
            print(
                f"\n{label}: {len(values):,} reads, mean {mean:.3f} {self.unit}, p50 {percentile(values, 50):.3f}, "
                f"p99 {percentile(values, 99):.3f}, max {max(values):.3f}"
            )
            most = max(counts)
            used = [place for place, count in enumerate(counts) if count]
            before = used[0]
            for place in range(used[0], used[-1] + 1):
                count = counts[place]
                if count:
                    before = place
                elif place - before > 2:
                    # Where bins are narrow, most of them far out are empty.
                    if place - before == 3:
                        print(f" {'...':>9}")
                    continue
                sign = ">" if place == len(counts) - 1 else " "
                bar = "#" * round(60 * count / most)
                print(f"{sign}{place * width:9.{digits}f} {self.unit} {count:7d} {bar}")

    def write_svg(self, path, title):
        """All series in one plot: lines over a common axis."""
        width, series = self.counts()
        left, top, wide, high = 70, 50, 800, 400
        bins = len(series[0][1])
        most = max(max(counts) for _, counts in series)

        def x(place):
            return left + wide * place / bins

        def y(count):
            return top + high - high * count / most

        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 250}" height="{top + high + 60}" '
            'font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{left}" y="25" font-size="16">{html.escape(title)}</text>',
        ]
        step = nice_width(bins * width, 10)
        for mark in range(int(bins * width / step) + 1):
            place = x(mark * step / width)
            parts.append(f'<line x1="{place:.1f}" y1="{top}" x2="{place:.1f}" y2="{top + high}" stroke="#ddd"/>')
            parts.append(f'<text x="{place:.1f}" y="{top + high + 18}" text-anchor="middle">{mark * step:g}</text>')
        step = nice_width(most, 6)
        for mark in range(int(most / step) + 1):
            place = y(mark * step)
            parts.append(f'<line x1="{left}" y1="{place:.1f}" x2="{left + wide}" y2="{place:.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 8}" y="{place + 4:.1f}" text-anchor="end">{mark * step:g}</text>')
        middle = left + wide / 2
        axis = f"{self.unit}, in bins of {width:g}; the last one has all that took longer"
        parts.append(f'<text x="{middle}" y="{top + high + 42}" text-anchor="middle">{axis}</text>')
        for number, (label, counts) in enumerate(series):
            colour = COLOURS[number % len(COLOURS)]
            points = " ".join(f"{x(place + 0.5):.1f},{y(count):.1f}" for place, count in enumerate(counts))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            line = top + 10 + 18 * number
            parts.append(f'<line x1="{left + wide + 15}" y1="{line}" x2="{left + wide + 40}" y2="{line}" '
                         f'stroke="{colour}" stroke-width="3"/>')
            parts.append(f'<text x="{left + wide + 46}" y="{line + 4}">{html.escape(label)}</text>')
        parts.append("</svg>")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(parts) + "\n")


def read_times(path, scale):
    """Times that the reader wrote, in microseconds, in another unit."""
    with open(path, encoding="ascii") as file:
        return [float(line) * scale for line in file]
