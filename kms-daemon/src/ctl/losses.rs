//! What would be lost with a device, for people: in lines of 80 columns.

use std::io::{self, Write};

use serde_json::Value;

use crate::loss::Loss;

/// Columns of a line.
const WIDTH: usize = 80;

/// Prints the last backup of a status document, as one of its rows.
pub(super) fn print_last_backup(out: &mut dyn Write, report: &Value) -> io::Result<()> {
    let last = &report["lastBackup"];
    let text = match last["created"].as_str() {
        Some(created) => created.to_owned(),
        None if report.get("lastBackup").is_some() => "none".to_owned(),
        None => return Ok(()),
    };
    writeln!(out, "  {:<18}{text}", "lastBackup")
}

/// Prints what a status document says would be lost.
pub(super) fn print(out: &mut dyn Write, report: &Value) -> io::Result<()> {
    let losses = report.get("losses").cloned().unwrap_or_default();
    let losses: Vec<Loss> = serde_json::from_value(losses).unwrap_or_default();
    if !losses.is_empty() {
        writeln!(out, "\nAT RISK")?;
    }
    losses.iter().try_for_each(|loss| print_wrapped(out, "  ", &loss.text))
}

/// Prints a text in lines that fit, each behind `indent`. A word that is longer has its own.
pub(super) fn print_wrapped(out: &mut dyn Write, indent: &str, text: &str) -> io::Result<()> {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let length = |line: &str| line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && indent.len() + length(&line) > WIDTH {
            writeln!(out, "{indent}{line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{indent}{line}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_fit() {
        let text = "If soft-0 is lost, all 100000 keys of ap-northeast-1 are lost for ever: no other \
                    device and no backup has the domain key. Make a backup: kmsctl backup FILE \
                    --with-devices --passphrase-file FILE";
        let loss = json!({ "region": "x", "keys": 1, "devices": ["soft-0"], "text": text });
        let report = json!({ "lastBackup": null, "losses": [loss] });
        let mut out = Vec::new();
        print_last_backup(&mut out, &report).unwrap();
        print(&mut out, &report).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.len() <= WIDTH), "{out}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let told = out.split_once("AT RISK").unwrap();
        assert_eq!(words(told.1), words(text));
        assert_eq!(words(told.0), ["lastBackup", "none"]);
    }
}
