//! The file system without a kernel: operations on plain types.
