//! What single operations cost: pages encoded and decoded, lookups, listings, packing.
//!
//! `cargo bench --bench operations` runs all of them, `-- lookup` those with that in their name. Three trees: `regular`, 100 x
//! 100 directories of numbered files with one time, `irregular`, names, sizes and times as source trees have them, and
//! `compressed`, the same with contents that compress.

mod contents;
mod lookups;
mod packing;
mod pages;
mod sample;

fn main() {
    divan::main();
}
