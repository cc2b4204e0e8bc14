//! Progress with the time left: on a terminal, nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error; invisible where that is no terminal.
pub struct Progress(ProgressBar);

/// Units of weighted steps: enough for a smooth bar.
const UNITS: f64 = 1e4;

impl Progress {
    /// A bar of `count` equal items.
    pub fn items(what: &'static str, count: usize) -> Self {
        Self::new(what, count as u64, "{pos}/{len}")
    }

    /// A bar over the whole of something whose parts have weights that sum to 1; see [`Self::advance`].
    pub fn weighted(what: &'static str) -> Self {
        Self::new(what, UNITS as u64, "{percent}%")
    }

    fn new(what: &'static str, length: u64, counter: &str) -> Self {
        let bar = ProgressBar::new(length).with_message(what);
        let template = format!("{{msg:<12}} [{{bar:30}}] {counter} {{elapsed}}, {{eta}} left  {{prefix}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// `done` of the items are done.
    pub fn set(&self, done: usize) {
        self.0.set_position(done as u64);
    }

    /// One more item is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// This part of the whole is done, last of it `what`.
    pub fn advance(&self, part: f64, what: &str) {
        self.0.set_position((part * UNITS) as u64);
        self.0.set_prefix(what.to_string());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
