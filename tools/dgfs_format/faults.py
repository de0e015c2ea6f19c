"""What the reader says when an image is not as the format demands."""

import sys


class Fault(Exception):
    """Something the format tells a reader to refuse. `path` names the file if it is not the image itself."""

    def __init__(self, cause, path=None):
        super().__init__(cause)
        self.path = path


def require(condition, cause):
    if not condition:
        raise Fault(cause)


def warn(path, text):
    print(f"dgfs_reader: {path}: {text}", file=sys.stderr)
