//! The FUSE service: the only place that knows the kernel's protocol.
