//! Progress with the time left: on a terminal, nothing elsewhere.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use umbra::progress::{Phase, Progress};

use crate::stop;

/// Positions of a bar: enough for a smooth one.
const UNITS: u64 = 10_000;

/// A bar on standard error; invisible where that is no terminal. There is none before the first progress.
#[derive(Default)]
pub struct Bar {
    shown: Option<(Phase, ProgressBar)>,
    /// When the work will be done.
    end: Arc<Mutex<Option<Instant>>>,
}

impl Bar {
    /// Draws progress; stops the work where the user asks for it.
    pub fn show(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = progress.left().map(|left| Instant::now() + left);
        let bar = match self.shown.take() {
            Some((phase, bar)) if phase == progress.phase => bar,
            before => {
                if let Some((_, bar)) = before {
                    bar.finish_and_clear();
                }
                self.begin(progress.phase)
            }
        };
        bar.set_position((progress.part * UNITS as f64) as u64);
        bar.set_prefix(progress.item.map_or_else(|| format!("{}/{}", progress.done, progress.total), str::to_string));
        self.shown = Some((progress.phase, bar));
        stop::asked()
    }

    fn begin(&self, phase: Phase) -> ProgressBar {
        let end = self.end.clone();
        let left = move |_: &ProgressState, out: &mut dyn Write| {
            let left = end.lock().unwrap_or_else(PoisonError::into_inner).map(|end| end - Instant::now());
            // A bar without it is a bar all the same.
            let _ = left.map_or(Ok(()), |left| write!(out, ", {} left", crate::text::seconds(left.as_secs() as f64)));
        };
        let style = ProgressStyle::with_template("{msg:<12} [{bar:30}] {percent}% {elapsed}{left}  {prefix}");
        drawn(ProgressBar::new(UNITS).with_message(phase.name()), style.map(|style| style.with_key("left", left)))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((_, bar)) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// A bar of equal items.
pub struct Items(ProgressBar);

impl Items {
    /// So many of them.
    pub fn new(what: &'static str, count: usize) -> Self {
        let style = ProgressStyle::with_template("{msg:<12} [{bar:30}] {pos}/{len} {elapsed}, {eta} left");
        Self(drawn(ProgressBar::new(count as u64).with_message(what), style))
    }

    /// `done` of them are done.
    pub fn set(&self, done: usize) {
        self.0.set_position(done as u64);
    }

    /// One more is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn drawn(bar: ProgressBar, style: Result<ProgressStyle, indicatif::style::TemplateError>) -> ProgressBar {
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    // The library panics where its thread is not started.
    if !bar.is_hidden() && std::thread::Builder::new().spawn(|| ()).is_ok() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

#[cfg(test)]
mod tests {
    use umbra::progress::Meter;

    use super::*;

    #[test]
    fn a_bar_follows_the_work_from_phase_to_phase() {
        let mut bar = Bar::default();
        for phase in [Phase::Keys, Phase::Evaluation] {
            let meter = Meter::items(phase, 4);
            for done in 1..=4 {
                assert!(bar.show(&meter.at(done, None)).is_continue());
            }
            let (shown, drawn) = bar.shown.as_ref().unwrap();
            assert_eq!((*shown, drawn.position(), drawn.message().as_str()), (phase, UNITS, phase.name()));
            assert_eq!(drawn.prefix(), "4/4");
        }
    }
}
