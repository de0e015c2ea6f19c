//! The files that make up an image: their names and where they are found.
