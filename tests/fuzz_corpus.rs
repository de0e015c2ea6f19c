//! What fuzzing has found and kept, through the same checks.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be prepared has failed"
)]

#[path = "../fuzz/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::Path;

/// Runs a target with every input of its corpus, and with damaged forms of each.
fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut names: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        println!("{}", name.display());
        run(&fs::read(&name).unwrap());
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name), harness::$name::run);
            }
        )*
    };
}

targets!(header leaf inner tables extent cut_table codecs frame image);
