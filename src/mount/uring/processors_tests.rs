//! Not in the file itself, since `benches/null_file_system` compiles that, too.

use super::processors::{bind, parse};
use rustix::thread::CpuSet;

#[test]
fn lists_are_numbers_and_ranges() {
    assert_eq!(parse("0\n").unwrap(), [0]);
    assert_eq!(parse("0-3\n").unwrap(), [0, 1, 2, 3]);
    assert_eq!(parse("0-1,4,6-7").unwrap(), [0, 1, 4, 6, 7]);
    for wrong in ["", "a", "0-", "0,,1", "70000"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_thread_stays_where_it_is_bound() {
    std::thread::spawn(|| {
        let before = rustix::thread::sched_getaffinity(None).unwrap();
        let allowed = (0..CpuSet::MAX_CPU).rfind(|number| before.is_set(*number));
        bind(u16::try_from(allowed.unwrap()).unwrap()).unwrap();
        let after = rustix::thread::sched_getaffinity(None).unwrap();
        assert_eq!((after.count(), after.is_set(allowed.unwrap())), (1, true));
    })
    .join()
    .unwrap();
    assert!(bind(u16::MAX).is_err());
}
