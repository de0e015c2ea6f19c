//! The order in which an image is published.

/// One step; parts are counted from the index, which is 0, through the volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Contents and length of the part are on the device.
    SyncFile(usize),
    /// The names in the part's directory are on the device.
    SyncDirectory(usize),
    /// Last look at the final names before any is taken.
    CheckNames,
    /// The part gets its final name.
    Rename(usize),
}

/// All steps for an image of `parts` parts.
pub(super) fn steps(parts: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend((1..parts).map(Step::SyncFile));
    steps.push(Step::SyncFile(0));
    // The pending names of the volumes have to last: the index may need them as soon as it is there.
    steps.extend((1..parts).map(Step::SyncDirectory));
    steps.push(Step::CheckNames);
    steps.push(Step::Rename(0));
    // Before any volume of the old image goes, the old index must be gone for good.
    steps.push(Step::SyncDirectory(0));
    steps.extend((1..parts).map(Step::Rename));
    steps.extend((1..parts).map(Step::SyncDirectory));
    steps
}

#[cfg(test)]
#[path = "power_loss_tests.rs"]
mod tests;
