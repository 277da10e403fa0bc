//! One parameter after the other.

use super::{End, Parameter, Tried, Tuned};
use crate::ops::linear::Tuning;
use ds4_engine::Result;

/// Part of its time by which a tuning must be faster than the best before it: less may be noise.
pub(super) const MARGIN: f64 = 0.03;

/// The best of what `parameters` can be, from `start`. `end` is told how many of how many values were tried, and says whether that is enough;
/// `ratio` measures the time of a tuning as a part of another's.
pub(super) fn search(
    start: Tuning,
    parameters: &[(Parameter, Vec<u32>)],
    end: &mut dyn FnMut(usize, usize) -> Option<End>,
    ratio: &mut dyn FnMut(Parameter, Tuning, Tuning) -> Result<f64>,
) -> Tuned {
    let others: Vec<(Parameter, u32)> = parameters
        .iter()
        .flat_map(|(parameter, values)| values.iter().map(|value| (*parameter, *value)))
        .filter(|(parameter, value)| *value != parameter.of(&start))
        .collect();
    let mut found = Tuned { tuning: start, tried: Vec::new(), end: End::Whole };
    for (parameter, value) in &others {
        if let Some(end) = end(found.tried.len(), others.len()) {
            return Tuned { end, ..found };
        }
        let other = parameter.with(found.tuning, *value);
        // What does not compile or run here is not chosen.
        let ratio = ratio(*parameter, found.tuning, other).ok().filter(|ratio| ratio.is_finite());
        let is_better = ratio.is_some_and(|ratio| ratio < 1.0 - MARGIN);
        if is_better {
            found.tuning = other;
        }
        found.tried.push(Tried { parameter: *parameter, value: *value, ratio, is_better });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use ds4_engine::{Error, Precision};

    fn usual() -> Tuning {
        Tuning::of(Precision::Fast)
    }

    fn parameters() -> Vec<(Parameter, Vec<u32>)> {
        vec![
            (Parameter::TeamRows, vec![2, 1, 4]),
            (Parameter::LatticeCopies, vec![4, 1, 8]),
            (Parameter::ExpandThreads, vec![1024, 512, 256]),
        ]
    }

    fn go_on(_: usize, _: usize) -> Option<End> {
        None
    }

    #[test]
    fn what_is_better_by_less_than_the_margin_changes_nothing() {
        let mut noise = [0.98, 1.02, 0.971, 1.0, 0.99, 0.975].into_iter();
        let found = search(usual(), &parameters(), &mut go_on, &mut |_, _, _| Ok(noise.next().unwrap()));
        assert_eq!((found.tuning, found.end, found.tried.len()), (usual(), End::Whole, 6));
        assert!(found.tried.iter().all(|tried| !tried.is_better));
    }

    #[test]
    fn the_fastest_of_each_is_kept_for_the_next() {
        // Seconds of a device that likes one row a team and eight copies, where 512 threads do better than 1024, and 256 no better than 512.
        let seconds = |t: Tuning| {
            let of = |likes: bool, seconds: f64| if likes { seconds } else { 1.0 };
            let copies = match t.lattice_copies {
                8 => 0.5,
                1 => 0.8,
                _ => 1.0,
            };
            of(t.team_rows == 1, 0.9) * copies * of(t.expand_threads < 1024, 0.9)
        };
        let mut asked = Vec::new();
        let found = search(usual(), &parameters(), &mut go_on, &mut |parameter, best, other| {
            asked.push((parameter, best.team_rows, other.lattice_copies));
            Ok(seconds(other) / seconds(best))
        });
        let expected = Tuning { team_rows: 1, lattice_copies: 8, expand_threads: 512, ..usual() };
        assert_eq!(found.tuning, expected);
        assert_eq!(asked[3], (Parameter::LatticeCopies, 1, 8));
        let better: Vec<bool> = found.tried.iter().map(|tried| tried.is_better).collect();
        assert_eq!(better, [true, false, true, true, true, false]);
    }

    #[test]
    fn what_does_not_run_is_not_chosen() {
        let mut outcomes =
            [Err(Error::Device("no".to_owned())), Ok(f64::NAN), Ok(0.0), Ok(1.0), Ok(1.0), Ok(1.0)].into_iter();
        let found = search(usual(), &parameters(), &mut go_on, &mut |_, _, _| outcomes.next().unwrap());
        assert_eq!(found.tuning, Tuning { lattice_copies: 1, ..usual() });
        assert_eq!(found.tried[..2].iter().map(|tried| tried.ratio).collect::<Vec<_>>(), [None, None]);
    }

    #[test]
    fn what_was_found_before_the_end_stands() {
        for end in [End::Limit, End::Stopped] {
            let mut told = Vec::new();
            let found = search(
                usual(),
                &parameters(),
                &mut |done, total| {
                    told.push((done, total));
                    (done == 2).then_some(end)
                },
                &mut |_, _, _| Ok(0.5),
            );
            assert_eq!((found.tuning, found.end), (Tuning { team_rows: 4, ..usual() }, end));
            assert_eq!(told, [(0, 6), (1, 6), (2, 6)]);
        }
    }
}
