//! The `dgfs` command.

fn main() {}
