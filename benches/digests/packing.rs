//! A whole build of very many files of some bytes.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

use crate::Arguments;
use crate::memory::{cpu_seconds, status_kib};
use dgfs::Result;
use dgfs::build::{
    BuildOptions, Builder, Compression, Contents, DEFAULT_MEMORY, Dedup, LogObserver, NewEntry,
};
use dgfs::entry::{Kind, Metadata};
use std::path::Path;
use std::time::Instant;

/// Packs without looking for equal contents, then with it.
pub(crate) fn compare(arguments: &Arguments, directory: &Path) -> Result<()> {
    for (name, dedup) in [("none", Dedup::None), ("files", Dedup::Files)] {
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        let options = BuildOptions {
            memory: arguments.memory.map_or(DEFAULT_MEMORY, |mib| mib << 20),
            threads: usize::try_from(arguments.threads).unwrap_or(2),
            compression: Compression::None,
            dedup,
            force: true,
            ..BuildOptions::default()
        };
        let mut builder = Builder::new(&directory.join("image.dgfs"), options)?;
        for number in 0..arguments.count {
            add(number, arguments.repeated, &mut builder)?;
        }
        println!(
            "{name:<9}{} files added in {:.1} s, {:.1} s of processor",
            arguments.count,
            begun.elapsed().as_secs_f64(),
            cpu_seconds() - cpu
        );
        let report = builder.finish(&mut LogObserver)?;
        println!(
            "         packed after {:.1} s, {:.1} s of processor; {} files shared, volume of {} bytes, peak so far {} KiB",
            begun.elapsed().as_secs_f64(),
            cpu_seconds() - cpu,
            report.header.shared_files,
            report.volume_bytes.iter().sum::<u64>(),
            status_kib(None, "VmHWM")
        );
    }
    Ok(())
}

fn add(number: u64, repeated: u64, builder: &mut Builder) -> Result<()> {
    let (upper, lower) = (number / 10_000, number / 100 % 100);
    let path = format!("{upper:04}/{lower:02}/{:02}", number % 100);
    let is_repeated = number % repeated == 1;
    let contents = if is_repeated { number / 2 } else { number };
    builder.add(NewEntry {
        path: path.as_bytes(),
        metadata: Metadata::new(Kind::File, 0o644),
        contents: Contents::Bytes(format!("contents of file {contents}").as_bytes()),
        target: b"",
        identity: None,
    })
}
