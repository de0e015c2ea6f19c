#!/usr/bin/env python3
"""A second reader of dgfs images, written from docs/format.md alone.

It shares no code with the Rust crate, so that the two can check each other, and it is meant to be read beside
the format document: dgfs_format/ has one file for each part of it. One page is decoded at a time.

Needs Python 3.11 and a Zstandard module: compression.zstd (Python 3.14) or zstandard
(python3-zstandard in Debian).
"""

import argparse
import hashlib
import os
import sys

from dgfs_format.contents import contents
from dgfs_format.faults import Fault, require, warn
from dgfs_format.image import Image
from dgfs_format.listing import escape, show_line, show_path
from dgfs_format.search import find
from dgfs_format.tree import scan
from dgfs_format.verify import Verify


def refuse(cause):
    raise cause


def list_entries(image, arguments):
    for parent, entry in scan(image, refuse):
        inode = f"{entry.inode} " if arguments.inode else ""
        sys.stdout.write(inode + show_line(image, parent, entry))


def read(image, entry, path):
    try:
        yield from contents(image, entry)
    except Fault as fault:
        raise Fault(f"{path}: {fault}", fault.path) from None


def write_contents(image, arguments):
    parts = os.fsencode(arguments.path).split(b"/")
    path = b"/".join(part for part in parts if part not in (b"", b"."))
    entry = find(image, path)
    require(entry, f"{escape(path)}: no such entry")
    require(entry.is_file, f"{escape(path) or '.'}: not a regular file")
    for chunk in read(image, entry, escape(path)):
        sys.stdout.buffer.write(chunk)


def write_sums(image, _):
    for parent, entry in scan(image, refuse):
        if entry.is_file:
            path, digest = show_path(parent, entry), hashlib.sha256()
            for chunk in read(image, entry, path):
                digest.update(chunk)
            sys.stdout.write(f"{digest.hexdigest()}  {path}\n")


def main():
    parser = argparse.ArgumentParser(
        prog="dgfs_reader", description="Reads dgfs images by docs/format.md alone."
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="PATH", help="a volume that lies elsewhere"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, action, text in (
        ("ls", list_entries, "list every entry in key order"),
        ("cat", write_contents, "write the contents of a file"),
        ("sums", write_sums, "print the SHA-256 of every regular file"),
        ("verify", lambda image, _: Verify(image).run(), "check every page, table, blob and extent"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        command.add_argument(
            "--data", action="append", default=argparse.SUPPRESS, metavar="PATH", help=argparse.SUPPRESS
        )
        command.add_argument("image", metavar="IMAGE", help="an index, or a volume 0 with a copy of it")
        if name == "ls":
            command.add_argument("-i", "--inode", action="store_true", help="print the inode number first")
        if name == "cat":
            command.add_argument("path", metavar="PATH", help="relative to the root")
    arguments = parser.parse_args()
    # The output is UTF-8 whatever the locale; what is not has been escaped.
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        image = Image(arguments.image, arguments.data, strict=arguments.command == "verify")
        status = arguments.action(image, arguments) or 0
        sys.stdout.flush()
    except Fault as fault:
        sys.stdout.flush()
        warn(fault.path or arguments.image, fault)
        status = 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    return status


if __name__ == "__main__":
    sys.exit(main())
