//! How far a piece of work is. Whoever watches it may draw it, send it, or stop the work.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use umbra_program::{ClientSpec, Program};

/// Kinds of work that take long enough to be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Evaluation keys are made.
    Keys,
    /// Encrypted images are evaluated.
    Evaluation,
    /// A data set is classified in the clear.
    Plain,
    /// A data set is classified in a simulation.
    Simulated,
    /// A data set is classified encrypted.
    Encrypted,
}

impl Phase {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "making keys",
            Self::Evaluation => "evaluating",
            Self::Plain => "plain",
            Self::Simulated => "simulated",
            Self::Encrypted => "encrypted",
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// What is done.
    pub phase: Phase,
    /// Keys, steps or images that are done.
    pub done: usize,
    /// All of them.
    pub total: usize,
    /// Part of the whole time that is over, from 0 to 1, by the estimates of what is done and what is left.
    pub part: f64,
    /// Time since the beginning.
    pub elapsed: Duration,
    /// What was done last, where it has a name: nodes of the network.
    pub item: Option<&'a str>,
}

impl Progress<'_> {
    /// The time that is left, should the rest go on as it began; nothing before anything is done.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let seconds = self.elapsed.as_secs_f64() * (1.0 - self.part) / self.part;
        if self.part > 0.0 { Duration::try_from_secs_f64(seconds.max(0.0)).ok() } else { None }
    }
}

/// Is told of progress, and stops the work with [`ControlFlow::Break`].
pub type Watch<'a> = &'a mut (dyn FnMut(&Progress<'_>) -> ControlFlow<()> + Send);

/// Watches nothing: pass `&mut unwatched`.
pub fn unwatched(_: &Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Measures progress against estimates.
#[derive(Clone, Debug)]
pub struct Meter {
    phase: Phase,
    total: usize,
    /// For each item the part of the whole that is over with it; none where items are equal.
    ends: Vec<f64>,
    start: Instant,
}

impl Meter {
    /// Of items that take the same time each. The time counts from now.
    #[must_use]
    pub fn items(phase: Phase, total: usize) -> Self {
        Self { phase, total, ends: Vec::new(), start: Instant::now() }
    }

    /// Of the keys that a client makes: their time is that of their bytes.
    #[must_use]
    pub fn keys(spec: &ClientSpec) -> Self {
        Self::weighted(Phase::Keys, spec.keys.iter().map(|key| key.bytes(&spec.parameters) as f64).collect())
    }

    /// Of the steps of a program, by their estimates.
    #[must_use]
    pub fn steps(program: &Program) -> Self {
        Self::weighted(Phase::Evaluation, program.steps.iter().map(|step| step.estimate.seconds).collect())
    }

    /// Without sensible weights, items are equal.
    fn weighted(phase: Phase, weights: Vec<f64>) -> Self {
        let sum: f64 = weights.iter().sum();
        let mut meter = Self::items(phase, weights.len());
        if sum.is_finite() && sum > 0.0 && weights.iter().all(|weight| *weight >= 0.0) {
            let over = |over: &mut f64, weight: f64| {
                *over += weight;
                Some(*over / sum)
            };
            meter.ends = weights.into_iter().scan(0.0, over).collect();
        }
        meter
    }

    /// Where `done` items are done, the last of them `item`.
    #[must_use]
    pub fn at<'a>(&self, done: usize, item: Option<&'a str>) -> Progress<'a> {
        let part = match done {
            0 => 0.0,
            done => self.ends.get(done - 1).copied().unwrap_or(done as f64 / self.total.max(1) as f64),
        };
        self.within(done, part, item)
    }

    /// Where `done` items are done, and this part of the whole.
    pub(crate) fn within<'a>(&self, done: usize, part: f64, item: Option<&'a str>) -> Progress<'a> {
        let &Self { phase, total, start, .. } = self;
        Progress { phase, done, total, part: part.clamp(0.0, 1.0), elapsed: start.elapsed(), item }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_estimates() {
        let meter = Meter::weighted(Phase::Evaluation, vec![1.0, 0.0, 3.0]);
        assert_eq!([0, 1, 2, 3].map(|done| meter.at(done, None).part), [0.0, 0.25, 0.25, 1.0]);
        // Without estimates.
        for meter in [Meter::items(Phase::Keys, 4), Meter::weighted(Phase::Keys, vec![0.0; 4])] {
            assert_eq!([0, 1, 4].map(|done| meter.at(done, None).part), [0.0, 0.25, 1.0]);
        }
        assert_eq!(Meter::items(Phase::Keys, 0).at(0, None).part, 0.0);
    }

    #[test]
    fn the_time_left_is_in_proportion() {
        let elapsed = Duration::from_secs(3);
        let at = |part| Progress { phase: Phase::Keys, done: 1, total: 4, part, elapsed, item: None };
        assert_eq!(at(0.25).left(), Some(Duration::from_secs(9)));
        assert_eq!(at(1.0).left(), Some(Duration::ZERO));
        assert_eq!(at(0.0).left(), None);
    }
}
