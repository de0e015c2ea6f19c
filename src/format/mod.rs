//! What the bytes of an image mean.
