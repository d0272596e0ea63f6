//! Records as a table that fits the terminal.

use std::io::{self, IsTerminal};

use serde_json::Value;

use kms_audit::resources;

/// Width of a terminal that does not tell its own.
const USUAL: usize = 80;
/// Width where it does not matter: in a file, or for another program.
const WIDE: usize = 160;

/// The columns, by the width that there is: time, who, action, key, result, source.
const LAYOUTS: [(usize, [usize; 6]); 3] = [
    (WIDE, [19, 28, 35, 36, 22, 15]),
    (120, [19, 20, 26, 13, 22, 15]),
    (0, [19, 13, 15, 13, 16, 0]),
];

/// How rows are laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    columns: [usize; 6],
}

impl Table {
    /// As wide as the terminal; as wide as it gets if there is none. `COLUMNS` decides if it is set.
    pub(super) fn of_terminal() -> Self {
        let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let terminal = || {
            let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
            size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
        };
        let is_terminal = io::stdout().is_terminal();
        let width = set.or_else(terminal).unwrap_or(if is_terminal { USUAL } else { WIDE });
        Self::of_width(width)
    }

    fn of_width(width: usize) -> Self {
        let fits = |(least, columns): &(usize, [usize; 6])| (width >= *least).then_some(*columns);
        let mut columns = LAYOUTS.iter().find_map(fits).unwrap_or(LAYOUTS[2].1);
        if width < USUAL {
            // The time, and as much of the rest as there is room for.
            let rest = width.saturating_sub(columns[0] + 4).max(8) / 4;
            columns = [columns[0], rest, rest, rest, rest, 0];
        }
        Self { columns }
    }

    /// The first line.
    pub(super) fn heading(self) -> String {
        self.line(["TIME (UTC)", "WHO", "ACTION", "KEY", "RESULT", "SOURCE"].map(str::to_owned))
    }

    /// A record.
    pub(super) fn row(self, record: &Value) -> String {
        let text = |name: &str| record[name].as_str().unwrap_or_default();
        let time = text("eventTime").trim_end_matches('Z').replacen('T', " ", 1);
        let source = text("sourceIPAddress").to_owned();
        let key = key(record, self.columns[3]);
        self.line([time, who(record), action(record), key, result(record), source])
    }

    fn line(self, cells: [String; 6]) -> String {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(self.columns).filter(|(_, width)| *width > 0) {
            let cell = shown(cell, width);
            line.push_str(&cell);
            let missing = width.saturating_sub(cell.chars().count());
            line.extend(std::iter::repeat_n(' ', missing + 1));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// What fits, and nothing that a terminal takes for an order.
fn shown(text: &str, width: usize) -> String {
    let is_order = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let clean = text.chars().map(|c| if is_order(c) { '?' } else { c });
    match text.chars().count() > width {
        true => clean.take(width.saturating_sub(1)).chain(['…']).collect(),
        false => clean.collect(),
    }
}

fn who(record: &Value) -> String {
    let identity = &record["userIdentity"];
    let text = |name: &str| identity[name].as_str();
    let last = |text: &str, parts: usize| {
        let start = text.rmatch_indices('/').nth(parts - 1).map_or(0, |(at, _)| at + 1);
        text[start..].to_owned()
    };
    match text("type") {
        Some("Root") => "root".to_owned(),
        Some("AssumedRole") => text("arn").map_or_else(String::new, |arn| last(arn, 2)),
        Some("AWSAccount") => text("accountId").unwrap_or_default().to_owned(),
        Some("Unknown") => format!("? {}", text("accessKeyId").unwrap_or_default()),
        Some(_) => text("userName").or(text("principalId")).unwrap_or_default().to_owned(),
        None => "(service)".to_owned(),
    }
}

fn action(record: &Value) -> String {
    let name = record["eventName"].as_str().unwrap_or_default();
    let source = record["eventSource"].as_str().unwrap_or_default();
    match source.split('.').next().unwrap_or_default() {
        "kms" | "" => name.to_owned(),
        service => format!("{service}:{name}"),
    }
}

/// The alias that was named, or the id of the key.
fn key(record: &Value, width: usize) -> String {
    let parameters = &record["requestParameters"];
    let alias = ["keyId", "aliasName", "destinationKeyId"].into_iter().find_map(|name| {
        let named = parameters[name].as_str()?;
        named.find("alias/").map(|at| named[at..].to_owned())
    });
    let id = || {
        let arn = resources(record).find(|arn| arn.contains(":key/"));
        let id = arn.or(parameters["keyId"].as_str()).unwrap_or("-");
        let id = id.rsplit('/').next().unwrap_or(id);
        // The beginning of an id is one that --key takes.
        let short = width < 36 && id.len() == 36;
        if short { id.chars().take(8).collect() } else { id.to_owned() }
    };
    alias.unwrap_or_else(id)
}

fn result(record: &Value) -> String {
    let details = &record["serviceEventDetails"];
    if let Some(requests) = details["requests"].as_u64() {
        return format!("{requests} refused");
    }
    let code = record["errorCode"].as_str().unwrap_or("ok");
    code.strip_suffix("Exception").unwrap_or(code).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({
            "eventTime": "2026-11-27T23:59:58Z",
            "eventSource": "kms.amazonaws.com",
            "eventName": "GenerateDataKeyPairWithoutPlaintext",
            "userIdentity": {
                "type": "AssumedRole",
                "arn": "arn:aws:sts::000000000000:assumed-role/deploy/s1",
            },
            "sourceIPAddress": "2001:db8:1234:5678:9abc:def0:1234:5678",
            "requestParameters": { "keyId": "1234abcd-12ab-34cd-56ef-1234567890ab" },
            "resources": [{
                "ARN": "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            }],
            "errorCode": "KMSInvalidStateException",
        })
    }

    #[test]
    fn every_width_is_kept_to() {
        for width in 31..250 {
            let table = Table::of_width(width);
            for line in [table.heading(), table.row(&record())] {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let row = Table::of_width(80).row(&record());
        assert_eq!(
            row,
            "2026-11-27 23:59:58 deploy/s1     GenerateDataKe… 1234abcd      KMSInvalidState"
        );
        let row = Table::of_width(160).row(&record());
        assert!(row.contains(" 1234abcd-12ab-34cd-56ef-1234567890ab "), "{row}");
    }

    #[test]
    fn a_terminal_is_given_no_orders() {
        let mut record = record();
        record["eventName"] = json!("\u{1b}]0;owned\u{7}\r\nX\u{202e}");
        record["userIdentity"] = json!({ "type": "IAMUser", "userName": "a\u{9b}31mna" });
        let row = Table::of_width(160).row(&record);
        assert!(!row.chars().any(|c| c.is_control() || c == '\u{202e}'), "{row:?}");
    }

    #[test]
    fn who_did_it() {
        for (identity, shown) in [
            (json!({ "type": "Root", "accountId": "1" }), "root"),
            (json!({ "type": "IAMUser", "userName": "ana" }), "ana"),
            (json!({ "type": "AWSAccount", "accountId": "111122223333" }), "111122223333"),
            (json!({ "type": "Unknown", "accessKeyId": "AKIAX" }), "? AKIAX"),
            (json!({ "invokedBy": "AWS Internal" }), "(service)"),
        ] {
            assert_eq!(who(&json!({ "userIdentity": identity })), shown);
        }
    }
}
