//! Shares the room for dictionaries among classes.

use super::trials::Trial;

/// Which of its trials each class gets, so that dictionaries take at most `room` bytes together: always the step that gains
/// most for a byte. Of the one that has no room any more, what there is room for.
pub(super) fn share(classes: &[&[Trial]], mut room: usize) -> Vec<Option<Trial>> {
    let mut chosen: Vec<Option<Trial>> = vec![None; classes.len()];
    loop {
        let mut best: Option<Step> = None;
        for (class, (trials, now)) in classes.iter().zip(&chosen).enumerate() {
            let steps = trials.iter().filter_map(|&to| Step::new(class, *now, to));
            for step in steps {
                if best.as_ref().is_none_or(|best| step.is_better(best)) {
                    best = Some(step);
                }
            }
        }
        let Some(step) = best.filter(|_| room > 0) else {
            return chosen;
        };
        let taken = step.within(room);
        room -= taken.bytes;
        if let Some(place) = chosen.get_mut(step.class) {
            let (bytes, net) = place.map_or((0, 0), |now| (now.bytes, now.net));
            *place = Some(Trial {
                bytes: bytes + taken.bytes,
                net: net + taken.net,
            });
        }
    }
}

/// What another trial of a class takes and gains beside the one that the class has.
struct Step {
    class: usize,
    more: Trial,
}

impl Step {
    /// From `now` on; `None` if it is not longer, or gains nothing.
    fn new(class: usize, now: Option<Trial>, to: Trial) -> Option<Self> {
        let (bytes, net) = now.map_or((0, 0), |now| (now.bytes, now.net));
        let more = Trial {
            bytes: to.bytes.checked_sub(bytes).filter(|&more| more > 0)?,
            net: to.net - net,
        };
        (more.net > 0).then_some(Self { class, more })
    }

    fn is_better(&self, other: &Self) -> bool {
        self.more.net * other.more.bytes as i128 > other.more.net * self.more.bytes as i128
    }

    /// As much of it as has room.
    fn within(&self, room: usize) -> Trial {
        let bytes = self.more.bytes.min(room);
        Trial {
            bytes,
            net: self.more.net * bytes as i128 / self.more.bytes.max(1) as i128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(of: &[(usize, i128)]) -> Vec<Trial> {
        let trial = |&(bytes, net)| Trial { bytes, net };
        of.iter().map(trial).collect()
    }

    fn shared(classes: &[Vec<Trial>], room: usize) -> Vec<usize> {
        let classes: Vec<&[Trial]> = classes.iter().map(Vec::as_slice).collect();
        let chosen = share(&classes, room).into_iter();
        chosen.map(|trial| trial.map_or(0, |t| t.bytes)).collect()
    }

    #[test]
    fn room_goes_to_who_gains_most_for_it() {
        let classes = [
            trials(&[(400, 1000), (200, 900), (100, 700)]),
            trials(&[(200, 800), (100, 500), (50, 100)]),
            trials(&[]),
            trials(&[(40, 10)]),
        ];
        assert_eq!(shared(&classes, 1000), [400, 200, 0, 40]);
        assert_eq!(shared(&classes, 400), [200, 200, 0, 0]);
        assert_eq!(shared(&classes, 300), [100, 200, 0, 0]);
        assert_eq!(shared(&classes, 225), [100, 125, 0, 0]);
        assert_eq!(shared(&classes, 30), [30, 0, 0, 0]);
    }

    #[test]
    fn longer_ones_that_gain_less_are_left() {
        let classes = [trials(&[(400, 800), (200, 900)])];
        assert_eq!(shared(&classes, 1000), [200]);
    }
}
