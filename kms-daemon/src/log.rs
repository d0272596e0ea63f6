//! Log lines on standard error. They hold no secrets: what is logged is named field by field.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::LogFormat;

/// Starts logging in the given form.
///
/// `filter` is a list like `info,host_driver=debug`; what does not parse is answered with the
/// default, `info`, and a warning.
pub fn start(format: LogFormat, filter: Option<&str>) {
    let parsed = filter.map(str::parse::<Targets>).transpose();
    let malformed = parsed.is_err();
    let info = || Targets::new().with_default(tracing::Level::INFO);
    let targets = parsed.ok().flatten().unwrap_or_else(info);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // A second start, in tests, keeps the first.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    if malformed {
        tracing::warn!("STRONGROOM_LOG is not a list like info,host_driver=debug; using info");
    }
}
