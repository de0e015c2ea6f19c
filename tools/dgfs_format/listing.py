"""The text of a listing: one line an entry."""

import datetime
import os
import re
import stat

from .paths import join


def escape(text):
    """Bytes as a line shows them: control characters, backslash and what is no UTF-8 in octal."""
    shown = text.decode("utf-8", "surrogateescape").replace("\\", "\\\\")
    return re.sub("[\0-\x1f\x7f\udc80-\udcff]", lambda match: f"\\{ord(match[0]) & 0xFF:03o}", shown)


def show_path(parent, entry):
    if parent is None:  # a far run in a damaged image
        return f"entry {entry.ordinal}"
    return escape(join(parent, entry.name)) or "."


def show_time(entry):
    try:
        time = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=entry.mtime)
        return f"{time.isoformat()}.{entry.nanoseconds:09}Z"
    except OverflowError:
        return f"@{entry.mtime}.{entry.nanoseconds:09}"


def show_line(image, parent, entry):
    links, size, arrow = entry.links + 1, entry.size, ""
    if entry.is_directory:
        links, size = 2 + entry.subdirectories, entry.children
    elif entry.is_symlink:
        target = image.target(entry)
        size, arrow = len(target), " -> " + escape(target)
    elif entry.type in (stat.S_IFCHR, stat.S_IFBLK):
        size = f"{os.major(entry.device)},{os.minor(entry.device)}"
    mode = stat.filemode(entry.mode)
    path = show_path(parent, entry)
    return f"{mode} {links} {entry.uid} {entry.gid} {size} {show_time(entry)} {path}{arrow}\n"
