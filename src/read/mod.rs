//! Reads an image: lookups, listings, contents, verification.
