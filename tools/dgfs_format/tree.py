"""Section 2.3: all entries in key order, with every check that needs more than one page."""

import collections
import itertools

from .faults import Fault, require
from .listing import escape
from .paths import LONGEST_PATH, join, path_order

Directory = collections.namedtuple(
    "Directory", "parent name ordinal first_child children subdirectories deeper"
)


class Tree:
    """Follows the runs of the pages in order: each must be the one that the directories before it announce.

    Holds the directories whose runs are still to come. After a fault it is `lost`: it lets everything pass.
    """

    def __init__(self, entries):
        self.pending, self.last_key, self.lost = [], None, False
        # The root entry is the run of a directory that does not exist.
        self.begin(Directory(b"", b"", -1, 0, 1, 1, entries - 1))

    def begin(self, directory):
        self.current, self.path, self.seen = directory, join(directory.parent, directory.name), 0
        self.directories, self.found = 0, []

    def add_page(self, leaf):
        """Checks the runs and gives each far one its path.

        Returns what the separator of the page must fit: the key before the page, the first key of the page,
        and whether that lies inside a run.
        """
        if self.lost:
            return None
        self.lost = True
        first = leaf.segment(0)
        inside, before = 0 < self.seen < self.current.children, self.last_key
        for head, segment in zip(leaf.heads, leaf.segments):
            self.check_segment(segment, head.separator, segment is first)
            for run in segment.runs:
                if self.seen == self.current.children:
                    require(self.pending, "entries behind the last run")
                    self.begin(self.pending.pop())
                else:
                    require(run is segment.runs[0], "run ends before its last entry")
                self.add_run(run)
        self.lost = False
        return before, (first.runs[0].path, first.entries[0].name), inside

    def check_segment(self, segment, separator, is_first):
        if not is_first and 0 < self.seen < self.current.children:
            fits = self.last_key[1] < separator <= segment.entries[0].name
        else:
            fits = not separator
        require(fits, "separator of a segment does not separate")

    def add_run(self, run):
        directory = self.current
        if run.far:
            require(len(self.path) > LONGEST_PATH, "far run with a path of up to 1024 bytes")
            require(
                run.parent == directory.ordinal, f"far run names parent {run.parent}, not {directory.ordinal}"
            )
            run.path = self.path
        require(run.path == self.path, f"run of {escape(run.path)} instead of {escape(self.path)}")
        require(
            run.entries[0].ordinal == directory.first_child + self.seen,
            "run does not begin where its directory says",
        )
        require(
            not self.seen or self.last_key[1] < run.entries[0].name, "names not in order"
        )
        self.last_key = (self.path, run.entries[-1].name)
        for entry in run.entries:
            self.seen += 1
            self.directories += entry.is_directory
            if entry.children:
                self.found.append(
                    Directory(
                        self.path,
                        entry.name,
                        entry.ordinal,
                        entry.first_child,
                        entry.children,
                        entry.subdirectories,
                        entry.deeper,
                    )
                )
        require(self.seen <= directory.children, "run with more entries than its directory says")
        if self.seen == directory.children:
            self.end_run()

    def end_run(self):
        directory = self.current
        require(self.directories == directory.subdirectories, "count of sub-directories is wrong")
        at = directory.first_child + directory.children
        for below in self.found:
            require(below.first_child == at, f"children of entry {below.ordinal} do not begin at {at}")
            at += below.children + below.deeper
        beyond = directory.first_child + directory.children + directory.deeper
        require(at == beyond, f"entries below entry {directory.ordinal} end at {at}, not {beyond}")
        self.pending.extend(reversed(self.found))

    def finish(self):
        require(self.lost or not self.pending and self.seen == self.current.children, "tree ends early")


def child_rows(image, fault):
    """Yields for pages 1, 2, … what the parent says of each; None for the root page, or if unknown.

    The children of the inner pages, taken in the order of these, are all pages of the tree but the root.
    """
    page, known = 1, True
    for number in range(image.header.leaves + 1, image.header.root + 1):
        try:
            inner = image.load(number)
            require(
                not known or inner.first_child == page, f"page {number}: its first child is not page {page}"
            )
        except Fault as cause:
            fault(cause)
            known = False
            continue
        if inner.first_child >= page:
            yield from itertools.repeat(None, inner.first_child - page)
            yield from inner.rows
            page, known = inner.first_child + len(inner.rows), True
    if known and page != image.header.root:
        fault(Fault("inner pages do not lead to every page"))
    yield from itertools.repeat(None)


def check_separator(child, before, key, inside):
    """`before` and `key` are the last key before the page and its first."""
    if before is None:
        fits = child.path == child.name == b""
    else:
        path, low, high = path_order(child.path), path_order(before[0]), path_order(key[0])
        if inside:
            fits = path == high[:LONGEST_PATH] and before[1] < child.name <= key[1]
        elif child.cut:
            fits = low[:LONGEST_PATH] <= path <= high[:LONGEST_PATH] and len(high) > LONGEST_PATH
        else:
            fits = low < path <= high and not child.name
    require(fits, "separator does not separate")


def scan(image, fault):
    """Yields (parent path, entry) in key order. `fault` is called with each Fault, and may raise it."""
    tree, bounds = Tree(image.header.entries), {}
    for number, child in zip(range(1, image.header.root + 1), child_rows(image, fault)):
        try:
            node = image.load(number, child, whole=True)
        except Fault as cause:
            fault(cause)
            tree.lost |= number <= image.header.leaves
            continue
        try:
            bound = bounds.pop(node.first_child, None) if node.level else tree.add_page(node)
            if child and bound:
                check_separator(child, *bound)
                if child.first:
                    bounds[number] = bound
        except Fault as cause:
            fault(Fault(f"page {number}: {cause}"))
        if node.level == 0:
            for run in (run for segment in node.segments for run in segment.runs):
                for entry in run.entries:
                    yield run.path, entry
    try:
        tree.finish()
    except Fault as cause:
        fault(cause)
