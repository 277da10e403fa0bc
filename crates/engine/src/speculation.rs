//! How many tokens to draft: as many as pay, none where none does.
//!
//! A step with drafts costs more and may yield more tokens. Both are measured all the time: what a step costs by its rows, what a pass
//! of the draft block costs, how often the i-th draft is right once those before it were. Now and then another depth than the best is
//! tried, so that the measurements stay young; where drafting does not pay, that becomes rare.

use crate::TokenId;
use crate::kv::DRAFTS_MAX;
use crate::scheduler::Follower;

/// Weight that a measurement keeps when the next one comes.
const MEMORY: f64 = 0.99;
/// Decisions at the beginning that alternate between no draft and one.
const BEGINNING: u64 = 16;
/// Decisions between two trials of another depth, at least and at most.
const TRIAL_EVERY: [u64; 2] = [64, 512];
/// Decisions that a trial lasts.
const TRIAL: u64 = 4;
/// A best depth that promises no more than this over no drafts is not worth it.
const GAIN_MIN: f64 = 1.02;
/// How often a first draft is taken to be right before any was seen, and the number of drafts that this counts for.
const PRIOR: (f64, f64) = (0.7, 2.0);
/// Times what was expected that one measurement can count for at most: the machine may have been busy with something else.
const OUTLIER: f64 = 4.0;

/// What drafts came to. Counters never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DraftStats {
    /// Drafts evaluated, by their place behind the certain token.
    pub drafted: [u64; DRAFTS_MAX],
    /// Those of them that were right, as all before them.
    pub accepted: [u64; DRAFTS_MAX],
    /// Seconds in the draft block.
    pub seconds: f64,
    /// Depth of the last decision.
    pub depth: usize,
}

impl DraftStats {
    /// Takes note of what became of `drafted` drafts in a row.
    fn judged(&mut self, drafted: usize, accepted: usize) {
        self.drafted.iter_mut().take(drafted).for_each(|n| *n += 1);
        self.accepted.iter_mut().take(accepted).for_each(|n| *n += 1);
    }
}

/// A line through measurements, the newest counting most.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Line {
    fn add(&mut self, x: f64, y: f64) {
        let y = if self.weight > OUTLIER { y.min(OUTLIER * self.at(x)) } else { y };
        for sum in [&mut self.weight, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy] {
            *sum *= MEMORY;
        }
        self.weight += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
    }

    /// The value at `x`; more never costs less. From one x alone, costs are taken to be in proportion.
    fn at(&self, x: f64) -> f64 {
        if self.weight == 0.0 {
            return 0.0;
        }
        let (mean_x, mean_y) = (self.x / self.weight, self.y / self.weight);
        let spread = self.xx / self.weight - mean_x * mean_x;
        let slope = if spread > 1e-6 * mean_x * mean_x {
            ((self.xy / self.weight - mean_x * mean_y) / spread).max(0.0)
        } else {
            mean_y / mean_x
        };
        // Noise may tilt it below any cost that was seen.
        (mean_y + slope * (x - mean_x)).max(0.1 * mean_y)
    }
}

/// How often something was so, the newest counting most.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    yes: f64,
    all: f64,
}

impl Share {
    fn add(&mut self, is_so: bool) {
        self.yes = MEMORY * self.yes + f64::from(u8::from(is_so));
        self.all = MEMORY * self.all + 1.0;
    }

    /// With what was expected counting for a few.
    fn or(&self, expected: f64) -> f64 {
        (self.yes + expected * PRIOR.1) / (self.all + PRIOR.1)
    }
}

/// Decides how many tokens to draft, and keeps the books.
#[derive(Clone, Debug)]
pub struct Speculation {
    most: usize,
    is_adaptive: bool,
    shares: [Share; DRAFTS_MAX],
    /// Seconds of a step by its rows.
    steps: Line,
    /// Seconds of a pass of the draft block, always at x = 1.
    passes: Line,
    decisions: u64,
    next_trial: u64,
    trial_every: u64,
    trials: u64,
    /// Depth of the trial that is under way, and decisions that are left of it.
    trial: (usize, u64),
    stats: DraftStats,
}

impl Speculation {
    /// At most `most` drafts, and fewer where they do not pay.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.min(DRAFTS_MAX),
            is_adaptive: true,
            shares: [Share::default(); DRAFTS_MAX],
            steps: Line::default(),
            passes: Line::default(),
            decisions: 0,
            next_trial: BEGINNING + TRIAL_EVERY[0],
            trial_every: TRIAL_EVERY[0],
            trials: 0,
            trial: (0, 0),
            stats: DraftStats::default(),
        }
    }

    /// Always `depth` drafts, for measurements.
    pub fn always(depth: usize) -> Self {
        Self { is_adaptive: false, ..Self::new(depth) }
    }

    /// What drafts came to.
    pub fn stats(&self) -> DraftStats {
        self.stats
    }

    /// Drafts for each of `sequences` in their next step.
    pub fn depth(&mut self, sequences: usize) -> usize {
        let depth = if self.is_adaptive { self.decide(sequences as f64) } else { self.most };
        self.stats.depth = depth;
        depth
    }

    fn decide(&mut self, sequences: f64) -> usize {
        self.decisions += 1;
        if self.decisions <= BEGINNING {
            return (self.decisions % 2) as usize;
        }
        if self.trial.1 > 0 {
            self.trial.1 -= 1;
            return self.trial.0;
        }
        let best = self.best(sequences);
        if self.decisions < self.next_trial {
            return best;
        }
        self.trials += 1;
        self.trial_every = if best == 0 { (2 * self.trial_every).min(TRIAL_EVERY[1]) } else { TRIAL_EVERY[0] };
        self.next_trial = self.decisions + self.trial_every;
        // One more as often as none, since costs are a line through both.
        let is_deeper = best == 0 || (self.trials % 2 == 1 && best < self.most);
        self.trial = (if is_deeper { best + 1 } else { 0 }, TRIAL - 1);
        self.trial.0
    }

    /// The depth with the most tokens a second.
    fn best(&self, sequences: f64) -> usize {
        let rate = |depth: usize, tokens: f64| {
            let rows = sequences * (1 + depth) as f64;
            sequences * tokens / (self.steps.at(rows) + depth as f64 * self.passes.at(1.0))
        };
        let without = rate(0, 1.0);
        let (mut best, mut best_rate) = (0, GAIN_MIN * without);
        let (mut share, mut all_right, mut tokens) = (PRIOR.0, 1.0, 1.0);
        for depth in 1..=self.most {
            share = self.shares[depth - 1].or(share);
            all_right *= share;
            tokens += all_right;
            let rate = rate(depth, tokens);
            if rate > best_rate {
                (best, best_rate) = (depth, rate);
            }
        }
        best
    }

    /// The draft block took `seconds` for `passes` passes. What it had to catch up on before is none of their cost: `has_caught_up`.
    pub fn drafted(&mut self, passes: usize, seconds: f64, has_caught_up: bool) {
        self.stats.seconds += seconds;
        if passes > 0 && !has_caught_up {
            self.passes.add(1.0, seconds / passes as f64);
        }
    }

    /// A step of `rows` rows that only decoded took `seconds`.
    pub fn stepped(&mut self, rows: usize, seconds: f64) {
        self.steps.add(rows as f64, seconds);
    }

    /// Of `drafted` drafts of a sequence the first `accepted` were right.
    pub fn judged(&mut self, drafted: usize, accepted: usize) {
        self.stats.judged(drafted, accepted);
        let seen = drafted.min(accepted + 1);
        for (i, share) in self.shares.iter_mut().take(seen).enumerate() {
            share.add(i < accepted);
        }
    }
}

/// Lets `follower` choose from the logits of consecutive rows, the first those before any of `drafts`, as long as it chooses what was drafted.
/// Returns its last choice, and how many drafts came before it.
///
/// This is rejection sampling with a proposal that is certain: a draft is accepted with the probability that the follower's own
/// distribution gives it, and otherwise the follower's choice, which is then distributed as without the draft, takes its place. So penalties,
/// masks and whatever else a follower does are part of the distribution, and its random numbers are the same with and without drafts.
pub fn choose(follower: &mut dyn Follower, rows: Vec<&mut [f32]>, drafts: &[TokenId]) -> (Option<TokenId>, usize) {
    let (mut next, mut accepted) = (None, 0);
    for logits in rows {
        next = follower.next(logits);
        if next.is_none() || next != drafts.get(accepted).copied() {
            break;
        }
        accepted += 1;
    }
    (next, accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decisions on a machine where a step costs `fixed + rows·row`, a pass `pass`, and a draft is right `right` of the time.
    fn depths(fixed: f64, row: f64, pass: f64, right: f64, decisions: usize) -> Vec<usize> {
        let mut speculation = Speculation::new(4);
        let mut state = 1u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        let mut decide = || {
            let depth = speculation.depth(1);
            speculation.drafted(depth, depth as f64 * pass, false);
            speculation.stepped(1 + depth, (fixed + (1 + depth) as f64 * row) * (0.8 + 0.4 * uniform()));
            let accepted = (0..depth).take_while(|_| uniform() < right).count();
            speculation.judged(depth, accepted);
            depth
        };
        (0..decisions).map(|_| decide()).collect()
    }

    fn share(depths: &[usize], holds: impl Fn(usize) -> bool) -> f64 {
        depths.iter().filter(|depth| holds(**depth)).count() as f64 / depths.len() as f64
    }

    #[test]
    fn drafts_pay_where_rows_are_cheap() {
        let depths = depths(1.0, 0.05, 0.03, 0.85, 2000);
        assert!(share(&depths[200..], |depth| depth >= 3) > 0.9, "{depths:?}");
    }

    #[test]
    fn drafting_ends_where_it_does_not_pay_and_is_tried_again() {
        for (fixed, row, right) in [(1.0, 0.05, 0.0), (0.0, 1.0, 0.9)] {
            let depths = depths(fixed, row, 0.05, right, 4000);
            let late = &depths[1000..];
            assert!(share(late, |depth| depth == 0) > 0.98, "{late:?}");
            assert!(late.iter().any(|depth| *depth > 0), "it is still tried");
        }
    }

    #[test]
    fn a_fixed_depth_is_fixed() {
        let mut speculation = Speculation::always(3);
        speculation.stepped(4, 1e9);
        assert_eq!((0..100).map(|_| speculation.depth(1)).min(), Some(3));
        speculation.judged(3, 1);
        speculation.judged(2, 2);
        assert_eq!(speculation.stats().drafted[..4], [2, 2, 1, 0]);
        assert_eq!(speculation.stats().accepted[..4], [2, 1, 0, 0]);
    }
}
