//! Walks a directory tree and yields its entries.
