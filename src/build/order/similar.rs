//! Files that are probably alike, by what their names say.

use crate::build::classes;
use crate::build::plan::PlannedEntry;

/// Where a file stands among those that are probably like it, as parent and name of a path that sorts so: by the class
/// of its name, then by all of it, then by size. Files that agree in these keep the order of their paths.
pub(super) fn place(entry: &PlannedEntry) -> (Vec<u8>, Vec<u8>) {
    let name = &entry.record.name;
    // A class may be empty, which a part of a path may not.
    let mut likeness = vec![b':'];
    likeness.extend(classes::key(name));
    likeness.push(b'/');
    likeness.extend(name);
    let (size, ordinal) = (entry.record.size, entry.ordinal);
    (likeness, format!("{size:016x}{ordinal:016x}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], size: u64, ordinal: u64) -> PlannedEntry {
        let mut entry = PlannedEntry::empty();
        entry.record.name = name.to_vec();
        entry.record.size = size;
        entry.ordinal = ordinal;
        entry
    }

    #[test]
    fn alike_is_of_one_class_then_of_one_name_then_of_one_size() {
        // Bytes of names decide, whatever their case.
        let expected = [
            entry(b"B.c", 10, 6),
            entry(b"b.c", 9, 7),
            entry(b"a.h", 1, 2),
            entry(b"b.h", 1, 1),
            entry(b"b.h", 1, 3),
            entry(b"b.h", 300, 0),
            entry(b"..x", 5, 9),
            entry(b"makefile", 0, 0),
        ];
        let places = expected.each_ref().map(place);
        let mut sorted = places.clone();
        sorted.sort();
        assert_eq!(places, sorted);
        // Of no class is a class, too.
        let (likeness, _) = place(&entry(b"a-name-of-no-class", 5, 9));
        assert_eq!(likeness, b":/a-name-of-no-class");
    }
}
