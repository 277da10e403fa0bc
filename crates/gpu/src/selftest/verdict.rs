//! How far results are from a reference.

/// What comparisons found: the largest error, as a part of what is allowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Largest error divided by what is allowed there: above 1 the result is wrong. No number counts as [`WORST`].
    pub worst: f64,
    /// What was the first that is wrong.
    pub finding: Option<String>,
    /// Values compared.
    pub compared: u64,
}

/// The largest error that is told apart.
pub const WORST: f64 = 1e9;

impl Verdict {
    /// An error where `allowed` is allowed; `at` says where and what was found.
    pub fn see(&mut self, error: f64, allowed: f64, at: impl FnOnce() -> String) {
        let part = if error == 0.0 { 0.0 } else { error / allowed };
        self.compared += 1;
        if (part > 1.0 || part.is_nan()) && self.finding.is_none() {
            self.finding = Some(at());
        }
        self.worst = self.worst.max(if part.is_nan() { WORST } else { part.min(WORST) });
    }

    /// Something that must hold.
    pub fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.see(if holds { 0.0 } else { f64::INFINITY }, 1.0, what);
    }

    /// Whether nothing is wrong, and something was looked at.
    pub fn is_right(&self) -> bool {
        self.finding.is_none() && self.compared > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_finding_and_the_largest_error_stay() {
        let mut verdict = Verdict::default();
        assert!(!verdict.is_right());
        verdict.see(0.5, 1.0, || unreachable!());
        verdict.see(0.0, 0.0, || unreachable!());
        assert!(verdict.is_right());
        assert_eq!(verdict.worst, 0.5);
        verdict.see(3.0, 2.0, || "first".to_owned());
        verdict.see(f64::NAN, 2.0, || "second".to_owned());
        verdict.require(true, || unreachable!());
        assert_eq!(verdict, Verdict { worst: WORST, finding: Some("first".to_owned()), compared: 5 });
    }

    #[test]
    fn what_is_no_number_is_wrong() {
        for (error, allowed) in [(f64::NAN, 1.0), (1.0, f64::NAN), (1.0, 0.0), (f64::INFINITY, 1.0)] {
            let mut verdict = Verdict::default();
            verdict.see(error, allowed, || "wrong".to_owned());
            assert!(!verdict.is_right());
        }
    }
}
