//! Writes an image from sorted entries.
