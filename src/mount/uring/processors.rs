//! The processors that this machine has or might get, each of which has a queue of requests.

use rustix::thread::CpuSet;
use std::io;

/// Processors that might ever be there, and those that are.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The numbers of a machine's processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Processors {
    /// How many the kernel reckons with; there are as many queues.
    pub(crate) possible: u16,
    /// Those that run.
    online: Vec<u16>,
}

impl Processors {
    /// Asks the kernel.
    pub(crate) fn of_this_machine() -> io::Result<Self> {
        let read = |path| parse(&std::fs::read_to_string(path)?);
        let possible = read(POSSIBLE)?;
        Ok(Self {
            possible: u16::try_from(possible.len()).map_err(io::Error::other)?,
            online: read(ONLINE)?,
        })
    }

    /// Whether the processor of this number runs.
    pub(crate) fn is_online(&self, number: u16) -> bool {
        self.online.contains(&number)
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.online.len()
    }
}

/// Binds the calling thread to a processor.
pub(crate) fn bind(number: u16) -> rustix::io::Result<()> {
    let number = usize::from(number);
    if number >= CpuSet::MAX_CPU {
        return Err(rustix::io::Errno::INVAL);
    }
    let mut set = CpuSet::new();
    set.set(number);
    rustix::thread::sched_setaffinity(None, &set)
}

/// Numbers and ranges of them, separated by commas.
pub(super) fn parse(list: &str) -> io::Result<Vec<u16>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "no list of processors");
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let mut numbers = Vec::new();
    for part in list.trim().split(',') {
        match part.split_once('-') {
            Some((from, to)) => numbers.extend(number(from)?..=number(to)?),
            None => numbers.push(number(part)?),
        }
    }
    Ok(numbers)
}
