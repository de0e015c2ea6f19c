//! The table alone.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

use crate::Arguments;
use crate::memory::cpu_seconds;
use dgfs::sort::{Key, SpillingTable};
use dgfs::{Error, Result};
use std::path::Path;
use std::time::Instant;

/// A digest: numbers of a fixed generator (the mixer of `SplitMix64`).
fn digest(number: u64) -> Key {
    let word = |salt: u64| {
        let mut z = number.wrapping_mul(4).wrapping_add(salt);
        z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    [word(0), word(1), word(2), 4096 + word(3) % 8192]
}

/// Prints what `count` lookups cost since `begun`, `cpu` seconds of processor and `reads` ago.
fn say(what: &str, count: u64, (begun, cpu, reads): (Instant, f64, u64), table: &SpillingTable) {
    let (seconds, used) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (count, reads) = (count as f64, (table.reads() - reads) as f64);
    println!(
        "{what:<9}{count} digests in {seconds:.1} s, {used:.1} s of processor: {:.0} a second, {:.2} us of processor and \
         {:.4} reads each",
        count / seconds,
        used / count * 1e6,
        reads / count
    );
}

pub(crate) fn measure(arguments: &Arguments, scratch: &Path) -> Result<()> {
    let count = arguments.count;
    let memory = arguments.memory.unwrap_or(96) << 20;
    let expected = arguments.expected.unwrap_or(count);
    let table = SpillingTable::new(scratch, memory, expected);
    let now = || (Instant::now(), cpu_seconds(), table.reads());
    let begun = now();
    let mut tenth = now();
    for number in 0..count {
        if number > 0 && number.is_multiple_of(count / 10) {
            say("added", count / 10, tenth, &table);
            tenth = now();
        }
        let is_repeated = number % arguments.repeated == 1;
        let digest = digest(if is_repeated { number / 2 } else { number });
        if table.get(&digest)?.is_none() {
            table.insert(digest, [number, 1])?;
        }
    }
    say("all", count, begun, &table);
    println!("runs     {:?}", table.runs());
    for threads in [1, arguments.threads] {
        for (what, offset) in [("new", count), ("known", 0)] {
            let begun = now();
            look_for(arguments, threads, offset, &table)?;
            say(what, threads * arguments.lookups, begun, &table);
        }
        println!("         with {threads} threads");
    }
    Ok(())
}

/// Has threads look for digests from `offset` on, here and there.
fn look_for(arguments: &Arguments, threads: u64, offset: u64, table: &SpillingTable) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    for turn in 0..arguments.lookups {
                        let place = (turn * 64 + thread).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                        let place = place % arguments.count / arguments.repeated;
                        let found = table.get(&digest(offset + place * arguments.repeated))?;
                        if found.is_some() != (offset == 0) {
                            return Err(Error::corrupt("the table does not know what it was told"));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let died = |_| Err(Error::corrupt("a thread died"));
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(died));
        ended.collect()
    })
}
