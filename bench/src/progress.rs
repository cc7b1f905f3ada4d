//! What is being done, for whoever waits at a terminal; without one nothing is written.
//!
//! One line for the whole program, for it does one thing at a time.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the line is drawn.
const TICK: Duration = Duration::from_millis(200);

static LINE: LazyLock<ProgressBar> = LazyLock::new(|| {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let line = ProgressBar::new_spinner().with_style(style.expect("the template is well formed"));
    line.enable_steady_tick(TICK);
    line
});

/// What is done now.
pub(crate) fn say(what: impl Into<Cow<'static, str>>) {
    if !LINE.is_hidden() {
        LINE.set_message(what);
    }
}

/// How far a measurement is.
pub(crate) fn measuring(name: &str, elapsed: Duration, time: Duration, rate: u64) {
    if !LINE.is_hidden() {
        let (elapsed, seconds) = (elapsed.as_secs(), time.as_secs());
        LINE.set_message(format!(
            "measuring {name}: {elapsed} of {seconds} s, {rate} msg/s"
        ));
    }
}

/// Takes the line away, for good.
pub(crate) fn end() {
    LINE.finish_and_clear();
}
