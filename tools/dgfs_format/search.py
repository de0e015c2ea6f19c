"""The searches at the end of section 2.8.

Each picks one child of every inner page on its way down to one leaf page, and there the segment.
"""

import bisect
import itertools

from .paths import LONGEST_PATH, path_order


def descend(image, count):
    """`count` tells how many of the children of an inner page begin at or before what is sought."""
    node = image.load(image.header.root)
    while node.level:
        child = node.rows[max(0, count(node.rows) - 1)]
        node = image.load(child.page, child)
    return node


def find_by_path(image, parent, name):
    """For parent paths of up to 1024 bytes."""
    key = (path_order(parent), 0, name)
    leaf = descend(
        image, lambda rows: bisect.bisect([(path_order(c.path), c.cut, c.name) for c in rows], key)
    )
    for segment, after in itertools.zip_longest(leaf.segments, leaf.heads[1:]):
        # A separator says that the last run goes on in the segment after, and from which name on.
        is_after = after and after.separator and after.separator <= name
        for run in segment.runs[:-1] if is_after else segment.runs:
            found = named(run.entries, name) if run.path == parent else None
            if found:
                return found
    return None


def named(entries, name):
    return next((entry for entry in entries if entry.name == name), None)


def find_in_directory(image, directory, name):
    first, beyond = directory.first_child, directory.first_child + directory.children

    def begins_before(ordinal, separator):
        return ordinal <= first or ordinal < beyond and separator <= name

    leaf = descend(image, lambda rows: sum(begins_before(c.ordinal, c.name) for c in rows))
    begun = sum(begins_before(head.ordinal, head.separator) for head in leaf.heads)
    segment = leaf.segment(max(0, begun - 1))
    return named([entry for entry in segment.entries if first <= entry.ordinal < beyond], name)


def find(image, path):
    """The entry with this path relative to the root, or None."""
    parent, _, name = path.rpartition(b"/")
    if len(parent) <= LONGEST_PATH:
        return find_by_path(image, parent, name)
    # By path as far as that leads, then from directory to directory.
    near = path[: max(0, path.rfind(b"/", 0, LONGEST_PATH + 1))]
    entry = find(image, near)
    for name in path[len(near) :].strip(b"/").split(b"/"):
        if entry is None or not entry.is_directory:
            return None
        entry = find_in_directory(image, entry, name)
    return entry
