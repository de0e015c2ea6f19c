//! What the kernel says of the memory and processor time of a process.

use std::path::PathBuf;

/// A line of `/proc/PID/status` in KiB, such as `VmHWM`; `None` stands for this process.
pub(crate) fn status_kib(pid: Option<u32>, line: &str) -> u64 {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let path: PathBuf = ["/proc", &process, "status"].iter().collect();
    let status = std::fs::read_to_string(path).unwrap_or_default();
    status
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Processor seconds of all threads of this process so far.
pub(crate) fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let whole = std::time::Duration::from_secs(time.tv_sec.unsigned_abs());
    (whole + std::time::Duration::from_nanos(time.tv_nsec.unsigned_abs())).as_secs_f64()
}
