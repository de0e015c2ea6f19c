//! How long a read takes.

use std::collections::VecDeque;
use std::time::Duration;

/// What a read cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) time: Duration,
    /// Whether the head had to move or the platter to come round; a sequential or cached read needs neither.
    pub(crate) is_seek: bool,
}

/// A disk as far as its time is concerned.
pub(crate) trait Model: Send {
    /// The cost of reading `length` bytes at `offset` when everything before is done.
    fn read(&mut self, offset: u64, length: u64) -> Cost;
}

/// A solid-state disk: 80 us for any place, then 500 MB/s, as a SATA drive of the middle class.
#[derive(Debug)]
pub(crate) struct Flash;

impl Model for Flash {
    fn read(&mut self, _: u64, length: u64) -> Cost {
        let time = 80e-6 + to_float(length) / 500e6;
        Cost {
            time: Duration::from_secs_f64(time),
            is_seek: true,
        }
    }
}

/// One turn of the platter at 7200 a minute.
const TURN_SECONDS: f64 = 60.0 / 7200.0;

/// Bytes a second at the outer and the inner edge: the data sheet's 105 MB/s, and what the usual ratio of radii gives.
const OUTER_RATE: f64 = 105e6;
const INNER_RATE: f64 = 60e6;

/// Command, controller and 300 MB/s of the wire.
const COMMAND_SECONDS: f64 = 0.1e-3;
const WIRE_RATE: f64 = 300e6;

/// Seek time over the part `d` of the stroke: `SETTLE + ROOT * sqrt(d) + LINEAR * d`. The three numbers give the data sheet's
/// mean of 8.5 ms over random pairs, and with half a turn what was measured on this drive: 13 ms for a random
/// read of the whole disk, 24 ms at worst, 6.5 ms within 1/2000.
const SETTLE: f64 = 1.9e-3;
const ROOT: f64 = 10.3e-3;
const LINEAR: f64 = 3.3e-3;

/// The drive's memory, and in what pieces it keeps what it read.
const CACHE_BYTES: f64 = 33_554_432.0;
const SEGMENT_BYTES: u64 = 16 << 10;

/// The drive's capacity. A smaller disk is stretched to it, and has less memory in proportion: otherwise its memory would
/// hold too much of it.
const CAPACITY: f64 = 1e12;

/// Seagate Barracuda ES.2 ST31000340NS, of any size: offsets are stretched over the stroke, so that a small file system
/// meets the distances of a full disk; tracks and rates stay those of the drive.
#[derive(Debug)]
pub(crate) struct Barracuda {
    size: f64,
    part: f64,
    now: f64,
    radius: f64,
    next: u64,
    segments: VecDeque<u64>,
    segments_max: usize,
}

impl Barracuda {
    /// A disk of `size` bytes on the outer 1/`part` of the stroke, with as many bytes of memory as given, or in
    /// proportion.
    pub(crate) fn new(size: u64, part: f64, memory: Option<u64>) -> Self {
        let (size, part) = (to_float(size.max(1)), part.max(1.0));
        let memory = memory.map_or(CACHE_BYTES * (size * part / CAPACITY).min(1.0), to_float);
        Self {
            size,
            part,
            now: 0.0,
            radius: 1.0,
            next: u64::MAX,
            segments: VecDeque::new(),
            segments_max: whole(memory) / whole(to_float(SEGMENT_BYTES)),
        }
    }

    /// Radius of a place, the outer edge being 1: capacity grows with the area inside.
    fn radius(&self, offset: u64) -> f64 {
        let inner = INNER_RATE / OUTER_RATE;
        let share = (to_float(offset) / self.size).min(1.0) / self.part;
        (1.0 - share * (1.0 - inner * inner)).sqrt()
    }

    /// Whether the drive's memory has all of a read; it does from now on.
    fn is_cached(&mut self, offset: u64, length: u64) -> bool {
        let last = offset.saturating_add(length.saturating_sub(1)) / SEGMENT_BYTES;
        let mut has_all = true;
        for segment in offset / SEGMENT_BYTES..=last {
            if self.segments.contains(&segment) {
                continue;
            }
            has_all = false;
            self.segments.push_back(segment);
            if self.segments.len() > self.segments_max {
                self.segments.pop_front();
            }
        }
        has_all
    }
}

impl Model for Barracuda {
    fn read(&mut self, offset: u64, length: u64) -> Cost {
        let is_sequential = offset == self.next;
        self.next = offset.saturating_add(length);
        let radius = self.radius(offset);
        let rate = OUTER_RATE * radius;
        let begun = self.now;
        if is_sequential {
            // The drive read on while its last answer was on the wire.
            self.is_cached(offset, length);
            self.now += to_float(length) / rate;
        } else if self.is_cached(offset, length) {
            self.now += COMMAND_SECONDS + to_float(length) / WIRE_RATE;
            return self.cost(begun, false);
        } else {
            let inner = INNER_RATE / OUTER_RATE;
            let distance = (radius - self.radius).abs() / (1.0 - inner);
            self.now += COMMAND_SECONDS;
            // Within one track's width the head stays; there are some 180,000 cylinders.
            if distance > 1.0 / 180_000.0 {
                self.now += SETTLE + ROOT * distance.sqrt() + LINEAR * distance;
            }
            // Where on its track a place lies, in turns.
            let stretched = to_float(offset) * CAPACITY / (self.size * self.part);
            let place = (stretched / (rate * TURN_SECONDS)).fract();
            let wait = (place - self.now / TURN_SECONDS).rem_euclid(1.0);
            self.now += wait * TURN_SECONDS + to_float(length) / rate;
        }
        self.radius = radius;
        self.cost(begun, !is_sequential)
    }
}

impl Barracuda {
    fn cost(&self, begun: f64, is_seek: bool) -> Cost {
        Cost {
            time: Duration::from_secs_f64(self.now - begun),
            is_seek,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "positions on disks are far below 2^52"
)]
fn to_float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the drive's memory in bytes"
)]
fn whole(number: f64) -> usize {
    number as usize
}
