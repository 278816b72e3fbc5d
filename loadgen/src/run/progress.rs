//! The line on the terminal while the run lasts.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::clock::{NEVER, SECOND};
use crate::base::format;
use crate::plan::Plan;
use crate::plan::workload::Length;
use crate::run::control::Control;
use crate::run::seconds::Seconds;

/// Silent unless standard error is a terminal.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: Instant,
    last_received: u64,
    rate: f64,
}

const REFRESH: Duration = Duration::from_millis(250);

impl Progress {
    pub(crate) fn new(plan: &Plan) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        // A document on the same terminal stands alone.
        let document = plan.output.json && std::io::stdout().is_terminal();
        let wanted = std::io::stderr().is_terminal() && !plan.output.quiet && !dumb && !document;
        let bar = wanted.then(|| {
            let length = match plan.window.length {
                Length::Time(time) => plan.window.warmup + time,
                Length::Messages(_) => plan.window.warmup,
            };
            let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
            // Colour only where it is wanted (https://no-color.org).
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let bar_of = if plain { "{bar:30}" } else { "{bar:30.cyan}" };
            let template = format!("{bar_of} {{prefix}}\n{{msg}}");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, last: Instant::now(), last_received: 0, rate: 0.0 }
    }

    pub(crate) fn show_dialling(&mut self, control: &Control) {
        let Some(bar) = self.due() else { return };
        let (opened, failed) = (control.sum(|g| &g.opened), control.sum(|g| &g.failed));
        bar.set_prefix("connecting");
        bar.set_message(format!("{opened} open, {failed} failed"));
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    pub(crate) fn show(&mut self, control: &Control, seconds: &Seconds) {
        let since = self.last.elapsed();
        if self.due().is_none() {
            return;
        }
        let received = control.sum(|g| &g.received);
        self.rate = (received - self.last_received) as f64 / since.as_secs_f64();
        self.last_received = received;
        let Some(bar) = &self.bar else { return };
        let (now, window) = (control.clock.now(), control.window());
        let begin = control.begin();
        if begin != NEVER {
            bar.set_position(now.saturating_sub(begin) / 1_000_000);
        }
        let stage = match now {
            _ if now < begin => "waiting for the time to start",
            _ if now < window.start => "warm-up",
            _ => "measuring",
        };
        // A number of messages has no time at which it is over.
        let left = window.end.saturating_sub(now).div_ceil(SECOND);
        let left = if window.end >= NEVER - 1 { String::new() } else { format!(", {left} s left") };
        bar.set_prefix(format!("{stage}{left}"));
        let latency = seconds.latest([50.0, 99.0, 99.9]).map_or_else(String::new, |times| {
            let [p50, p99, p999] = times.map(format::time);
            format!("p50 {p50}  p99 {p99}  p99.9 {p999}  ")
        });
        bar.set_message(format!(
            "{}/s  {latency}{} open  {} errors",
            format::count(self.rate),
            control.sum(|g| &g.live),
            control.sum(|g| &g.errors),
        ));
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn due(&mut self) -> Option<&ProgressBar> {
        if self.last.elapsed() < REFRESH {
            return None;
        }
        self.last = Instant::now();
        self.bar.as_ref()
    }
}
