//! What came of the checks.

use std::fmt;

/// What came of the checks.
#[derive(Clone, Debug)]
#[must_use = "whether all checks passed is in the report"]
pub struct Report {
    /// What programs and inputs were made from: [`super::run_seeded`] repeats them.
    pub seed: u64,
    /// One a check.
    pub outcomes: Vec<Outcome>,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Name of the check.
    pub check: &'static str,
    /// What came of it.
    pub verdict: Verdict,
}

/// Whether a check passed.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It did.
    Passed,
    /// It did not: the first thing that was wrong.
    Failed(String),
    /// It does not apply to the back end: why.
    Skipped(&'static str),
}

impl Report {
    /// The names of the checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        let failed = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Failed(_));
        self.outcomes.iter().filter(failed).map(|outcome| outcome.check)
    }

    /// Panics with the whole report unless every check passed or was skipped.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.failed().next().is_none(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "conformance, seed {}:", self.seed)?;
        for Outcome { check, verdict } in &self.outcomes {
            match verdict {
                Verdict::Passed => writeln!(f, "  passed   {check}")?,
                Verdict::Failed(why) => writeln!(f, "  FAILED   {check}: {why}")?,
                Verdict::Skipped(why) => writeln!(f, "  skipped  {check}: {why}")?,
            }
        }
        Ok(())
    }
}
