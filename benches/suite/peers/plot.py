"""The plot of scripts/peers: a panel of bars for each workload, as SVG.

"""

import html
import math

from suite.peers.report import TITLE, absolute, lines_of, present_in, times
from suite.report import middle

# Of the plot, in pixels: two columns of panels, in each of them names, bars and values.
MARGIN, COLUMN, GAP = 12, 472, 16
NAMES, BARS, SPACE = 142, 180, 8
WIDTH, TOP, HEADING, ROW, AXIS = 2 * (MARGIN + COLUMN) + GAP, 112, 38, 17, 32
NAME_LENGTH, FACTS_LENGTH = 20, 80  # characters of a server's name and of the facts that fit
CUT = 6  # times the engine's; what is beyond is cut there
INK, FAINT, GRID = "#1f2328", "#59636e", "#dde1e6"
OURS, DEARER, CHEAPER = "#52a193", "#a9c4dd", "#e3a857"
HOW_TO_READ = [
    "Server CPU per message, delivery or connection; bytes per connection where it says memory. Bars",
    "are medians of rounds, each beside the engine in the same round; whiskers go from the lowest to",
    f"the highest. An arrow: a bar cut at {CUT}. Servers of draft-02 stand beside the engine in draft-02.",
]
SWATCHES = {OURS: "the engine", DEARER: "dearer", CHEAPER: "cheaper"}


def element(name, content=None, **attributes):
    """One element of SVG; `_` stands for `-` in names of attributes."""
    def shown(value):
        return f"{round(value, 1):g}" if isinstance(value, (int, float)) else html.escape(value)

    inside = "".join(f' {key.replace("_", "-")}="{shown(value)}"' for key, value in attributes.items())
    if content is None:
        return f"<{name}{inside}/>"
    return f"<{name}{inside}>{html.escape(content)}</{name}>"


def words(x, y, content, size=11, fill=INK, **more):
    """A line of text."""
    return element("text", content, x=x, y=y, font_size=size, fill=fill, **more)


def cut(text, most):
    """A text of at most so many characters."""
    return text if len(text) <= most else text[:most - 1] + "…"


def stroke(x1, y1, x2, y2, colour=INK, **more):
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, **more)


def extent(line, figure):
    """Lowest, median and highest ratio that a bar shows; None without a bar."""
    if line.given_up:
        return None
    ratios = line.ratios(figure)
    if line.is_reference:
        ratios = [1.0] if line.values(figure) else []
    return (min(ratios), middle(ratios), max(ratios)) if ratios else None


class Panel:
    """The bars of one workload, the cheapest first."""

    def __init__(self, name, about, rows):
        self.name, self.about = name, about
        found = [(line, extent(line, about.figure)) for line in lines_of(rows, name)]
        self.bars = sorted(found, key=lambda bar: bar[1][1] if bar[1] else math.inf)
        self.height = HEADING + ROW * len(self.bars) + AXIS
        highest = max([1.0, *(min(bar[2], CUT) for _, bar in found if bar)])
        self.step = 0.5 if highest <= 2.5 else 1
        self.end = math.ceil(highest / self.step) * self.step

    def draw(self, x, y):
        """All of it, with its upper left corner there."""
        self.x, bottom = x + NAMES + SPACE, y + self.height - AXIS
        parts = [words(x, y + 12, self.name, 13, font_weight="bold"),
                 words(x, y + 27, self.about.about, fill=FAINT)]
        for number in range(round(self.end / self.step) + 1):
            at = self.at(number * self.step)
            parts += [stroke(at, y + HEADING - 2, at, bottom + 2, GRID),
                      words(at, bottom + 14, f"{number * self.step:g}", 10, FAINT, text_anchor="middle")]
        for number, (line, bar) in enumerate(self.bars):
            parts += self.row(x, y + HEADING + ROW * number, line, bar)
        parts.append(stroke(self.at(1), y + HEADING - 2, self.at(1), bottom + 2, stroke_dasharray="3 2"))
        return parts

    def at(self, ratio):
        """Where a ratio is."""
        return self.x + BARS * max(min(ratio, self.end), 0) / self.end

    def row(self, x, y, line, bar):
        """One server."""
        parts = [words(x + NAMES, y + 12, cut(line.server, NAME_LENGTH), text_anchor="end")]
        values = self.x + BARS + SPACE + 6
        if bar is None:
            return [*parts, words(values, y + 12, line.absent(), fill=FAINT, font_style="italic")]
        fill = OURS if line.server.startswith("engine") else CHEAPER if bar[1] < 1 else DEARER
        parts.append(element("rect", x=self.x, y=y + 2, width=self.at(bar[1]) - self.x, height=ROW - 5,
                             fill=fill))
        parts += self.arrow(y, fill) if bar[1] > self.end else self.whisker(y, bar)
        return [*parts, words(values, y + 12, self.value(line, bar),
                              font_weight="bold" if bar[1] < 1 else "normal")]

    def arrow(self, y, fill):
        """The end of a bar that is cut."""
        end, low, high = self.x + BARS, y, y + ROW - 1
        return [element("path", d=f"M{end} {low} L{end + 9} {(low + high) / 2} L{end} {high} Z", fill=fill)]

    def whisker(self, y, bar):
        """From the lowest to the highest ratio in a round; without an end where that is beyond."""
        low, _, high = bar
        if low == high:
            return []
        middle_of = y + (ROW - 1) / 2
        ends = [ratio for ratio in (low, high) if ratio <= self.end]
        return [stroke(self.at(low), middle_of, self.at(high), middle_of),
                *(stroke(self.at(end), middle_of - 3, self.at(end), middle_of + 3) for end in ends)]

    def value(self, line, bar):
        """The figure that the table has, and its spread."""
        if line.is_reference:
            return absolute(line.median(self.about.figure), self.about.figure)
        low, median, high = bar
        return times(median) if low == high else f"{times(median)} ({times(low)}–{times(high)})"


def plot(rows, workloads, facts):
    """plot.svg: a panel of bars per workload."""
    panels = [Panel(name, workloads[name], rows) for name in present_in(rows, workloads)]
    y, parts = TOP, []
    for pair in (panels[at:at + 2] for at in range(0, len(panels), 2)):
        for number, panel in enumerate(pair):
            parts += panel.draw(MARGIN + number * (COLUMN + GAP), y)
        y += max(panel.height for panel in pair)
    y += MARGIN
    start = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
             f'viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" role="img">')
    # The background makes it readable on a dark page, too.
    return "\n".join([start, element("title", TITLE),
                      element("rect", width=WIDTH, height=y, fill="#ffffff"), *legend(facts), *parts,
                      "</svg>"]) + "\n"


def legend(facts):
    """Above the panels: what is shown, of which commit and where, and how to read it."""
    kernels = [kernel.split(" #")[0] for kernel in facts["kernel"]]
    of = "; ".join([*(f"commit {commit}" for commit in facts["commit"]), *kernels, *facts["cpu"]])
    parts = [words(MARGIN, 22, TITLE, 16, font_weight="bold")]
    if of:
        parts.append(words(WIDTH - MARGIN, 22, cut(of, FACTS_LENGTH), fill=FAINT, text_anchor="end"))
    parts += [words(MARGIN, 42 + 14 * number, line, fill=FAINT)
              for number, line in enumerate(HOW_TO_READ)]
    for number, (fill, meaning) in enumerate(SWATCHES.items()):
        x = MARGIN + 110 * number
        parts += [element("rect", x=x, y=80, width=12, height=12, fill=fill), words(x + 18, 90, meaning)]
    return parts
