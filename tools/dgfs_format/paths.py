"""Section 2.3: paths and their order."""

# Longer parent paths are far in leaf pages and cut in separators.
LONGEST_PATH = 1024


def join(parent, name):
    return parent + b"/" + name if parent else name


def path_order(path):
    """Bytes that sort as the format sorts paths: `/` below every other byte. No path holds a NUL."""
    return path.replace(b"/", b"\0")
