//! A bar on standard error, only where a person can see it.

use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::Duration;

/// How often the bar is redrawn while nothing moves, so that a long chunk does not look like a hang.
const TICK: Duration = Duration::from_millis(250);

/// The bar; it disappears when dropped.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shows `label` and how many of `total` things are done.
    pub fn start(label: impl Into<Cow<'static, str>>, things: &'static str, total: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let template = format!("{{msg}} [{{bar:32}}] {{human_pos}}/{{human_len}} {things}, {{eta}} left");
        let style = ProgressStyle::with_template(&template);
        let bar = ProgressBar::new(total as u64).with_message(label);
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// So many more are done.
    pub fn add(&self, more: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(more as u64);
        }
    }

    /// So many are done, of as many as are known now.
    pub fn set_of(&self, done: usize, total: usize) {
        if let Some(bar) = &self.0 {
            bar.set_length(total as u64);
        }
        self.set(done);
    }

    /// So many are done in all.
    pub fn set(&self, done: usize) {
        if let Some(bar) = &self.0 {
            bar.set_position(done as u64);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
