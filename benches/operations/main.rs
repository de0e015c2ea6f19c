//! What single operations cost: pages encoded and decoded, lookups, listings, packing.
//!
//! `cargo bench --bench operations` runs all of them, `-- lookup` those with that in their name. Two trees: `regular`, 100 x 100
//! directories of numbered files with one time, and `irregular`, names, sizes and times as source trees have them.

mod lookups;
mod packing;
mod pages;
mod sample;

fn main() {
    divan::main();
}
