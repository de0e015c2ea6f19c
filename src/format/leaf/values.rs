//! The values of one column of a decoded page.

/// A column in memory: the narrowest of three forms.
#[derive(Debug)]
pub(super) enum Column {
    Constant(u64),
    Narrow(Box<[u32]>),
    Wide(Box<[u64]>),
}

impl Column {
    pub(super) fn new(values: &[u64]) -> Self {
        let first = values.first().copied().unwrap_or(0);
        if values.iter().all(|&value| value == first) {
            return Self::Constant(first);
        }
        let narrow: Option<Box<[u32]>> = values
            .iter()
            .map(|&value| u32::try_from(value).ok())
            .collect();
        narrow.map_or_else(|| Self::Wide(values.into()), Self::Narrow)
    }

    pub(super) fn get(&self, index: usize) -> u64 {
        match self {
            Self::Constant(value) => *value,
            Self::Narrow(values) => values.get(index).copied().map_or(0, u64::from),
            Self::Wide(values) => values.get(index).copied().unwrap_or(0),
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Constant(_) => 0,
            Self::Narrow(values) => values.len() * 4,
            Self::Wide(values) => values.len() * 8,
        }
    }
}
