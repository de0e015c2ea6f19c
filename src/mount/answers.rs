//! What all answers have in common: a request is counted, and a failure becomes an error number, a
//! count and a line in the log.

use super::adapter::Adapter;
use super::counters::Operation;
use super::faults::Subject;
use super::replies::Listing;
use crate::Result;
use crate::entry::Ino;
use fuser::{Errno, INodeNo};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Adapter {
    /// Counts a request for `ino` and does its `work`. A failure is counted and logged, and comes back as its error
    /// number.
    ///
    /// A panic is a failure like others, `EIO`: the thread that serves one request serves the next. What `work`
    /// shares with other requests are caches, whose entries are there as a whole or not at all.
    pub(super) fn answer<T>(
        &self,
        operation: Operation,
        ino: INodeNo,
        work: impl FnOnce() -> Result<T>,
    ) -> std::result::Result<T, Errno> {
        self.answer_about(operation, ino, None, work)
    }

    /// As [`Adapter::answer`], about the entry `name` of `ino`.
    pub(super) fn answer_about<T>(
        &self,
        operation: Operation,
        ino: INodeNo,
        name: Option<&OsStr>,
        work: impl FnOnce() -> Result<T>,
    ) -> std::result::Result<T, Errno> {
        self.counters.count(operation);
        let subject = || Subject {
            operation,
            ino: Ino(ino.0),
            name: name.map(|name| name.as_bytes().to_vec()),
        };
        // Finding the path for the log reads the image too, so it must not be outside.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            work().map_err(|error| {
                self.faults.report(&self.fs, &subject(), &error);
                Errno::from_i32(error.errno())
            })
        }));
        outcome.unwrap_or_else(|payload| {
            self.faults.report_panic(&subject(), payload.as_ref());
            Err(Errno::EIO)
        })
    }

    /// Counts a request for a listing of `ino` from `cookie` on and collects it in `sink`.
    ///
    /// A failure behind the first entry is none yet: it comes up again when the kernel asks for the rest.
    pub(super) fn collect(
        &self,
        operation: Operation,
        ino: INodeNo,
        cookie: u64,
        sink: &mut dyn Listing,
    ) -> std::result::Result<(), Errno> {
        self.answer(operation, ino, || {
            let listed = self.fs.list(Ino(ino.0), cookie, sink);
            if sink.is_empty() { listed } else { Ok(()) }
        })
    }

    /// The answer to every request that would change something.
    pub(super) fn refuse(&self, operation: Operation) -> Errno {
        self.counters.count(operation);
        Errno::EROFS
    }

    /// The answer to a request that the kernel shall not repeat.
    pub(super) fn decline(&self, operation: Operation) -> Errno {
        self.counters.count(operation);
        Errno::ENOSYS
    }
}

/// Handlers that answer alike whatever is asked: `handler(types of its arguments; type of its reply) kind of request`.
macro_rules! always {
    ($answer:ident: $($handler:ident($($argument:ty),*; $reply:ty) $operation:ident,)+) => {$(
        fn $handler(&self, _: &Request, $(_: $argument,)* reply: $reply) {
            reply.error(self.$answer(Operation::$operation));
        }
    )+};
}
pub(super) use always;
