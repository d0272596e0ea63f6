//! The two forms that a page of metrics can have, and which one a client wants.
//!
//! * OpenMetrics 1.0, which the library writes.
//! * The older text format 0.0.4, for everybody else: a counter has `_total` also where its type
//!   stands, an info is a gauge, and there are neither units nor an end mark.

use std::borrow::Cow;
use std::fmt::Write;

/// A form of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// The one that an `Accept` header prefers (RFC 9110 section 12.5.1); the older one for clients that do
    /// not say.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let (mut open, mut text) = (0, 0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1000, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = thousandths(value),
                    "version" => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            let is = |known: &[&str]| version.is_none_or(|version| known.contains(&version));
            match kind.as_str() {
                "application/openmetrics-text" if is(&["1.0.0", "0.0.1"]) => {
                    open = open.max(weight)
                }
                "text/plain" if is(&["0.0.4"]) => text = text.max(weight),
                "text/*" | "*/*" => text = text.max(weight),
                _ => {}
            }
        }
        if open > text { Self::OpenMetrics } else { Self::Text }
    }

    /// Its `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The page in this form, of that in OpenMetrics.
    #[must_use]
    pub fn of(self, page: String) -> String {
        match self {
            Self::Text => older(&page),
            Self::OpenMetrics => page,
        }
    }
}

/// A weight of `Accept`, in thousandths; an invalid one counts least.
fn thousandths(text: &str) -> u32 {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = format!("{part:0<3}");
    let part = digits.get(..3).and_then(|part| part.parse::<u32>().ok());
    match (whole.parse::<u32>(), part) {
        (Ok(whole), Some(part)) => (whole * 1000 + part).min(1000),
        _ => 0,
    }
}

fn older(page: &str) -> String {
    let kinds: Vec<(&str, &str)> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let renamed = |name: &str| -> Cow<'static, str> {
        match kinds.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind) {
            Some("counter") => format!("{name}_total").into(),
            Some("info") => format!("{name}_info").into(),
            _ => name.to_owned().into(),
        }
    };
    let mut text = String::with_capacity(page.len());
    for line in page.lines() {
        // Writing to a string does not fail.
        let _ = match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some(("UNIT", _)) => Ok(()),
            Some(("HELP", rest)) => {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                writeln!(text, "# HELP {} {help}", renamed(name))
            }
            Some(("TYPE", rest)) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                let kind = match kind {
                    "info" => "gauge",
                    "unknown" => "untyped",
                    kind => kind,
                };
                writeln!(text, "# TYPE {} {kind}", renamed(name))
            }
            _ if line == "# EOF" => Ok(()),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_which_form() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,\
                          text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, form) in [
            (None, Form::Text),
            (Some(""), Form::Text),
            (Some("*/*"), Form::Text),
            (Some("text/plain"), Form::Text),
            (Some("application/json"), Form::Text),
            (Some("application/openmetrics-text"), Form::OpenMetrics),
            (Some("Application/OpenMetrics-Text; Version=\"1.0.0\""), Form::OpenMetrics),
            (Some("application/openmetrics-text; version=2.0.0, */*"), Form::Text),
            (Some("application/openmetrics-text;q=0.1, text/plain;q=0.2"), Form::Text),
            (Some("text/plain;q=0.25, application/openmetrics-text;q=0.3"), Form::OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Form::Text),
            (Some("application/openmetrics-text;q=9999999999999999999999"), Form::Text),
            (Some(";;;q=é,,=,q"), Form::Text),
            (Some(prometheus), Form::OpenMetrics),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept:?}");
        }
    }

    #[test]
    fn the_older_form_of_a_page() {
        let page = "# HELP a Help of it.\n# TYPE a counter\n# UNIT a seconds\na_total{x=\"a\\nb\"} 1\n\
                    # HELP b B.\n# TYPE b info\nb_info{v=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n\
                    # EOF\n";
        let older = "# HELP a_total Help of it.\n# TYPE a_total counter\na_total{x=\"a\\nb\"} 1\n\
                     # HELP b_info B.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n# HELP c C.\n\
                     # TYPE c gauge\nc 2\n";
        assert_eq!(Form::Text.of(page.to_owned()), older);
        assert_eq!(Form::OpenMetrics.of(page.to_owned()), page);
    }
}
