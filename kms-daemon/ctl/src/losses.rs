//! Describes what would be lost with a device, in lines of 80 columns.

use std::io::{self, Write};

use serde_json::Value;

use super::table;
use kms_installation::loss::Loss;

/// Prints the last backup of a status document, as one of its rows.
pub(super) fn print_last_backup(out: &mut dyn Write, report: &Value) -> io::Result<()> {
    let last = &report["lastBackup"];
    let text = match last["created"].as_str() {
        Some(created) => created.to_owned(),
        None if report.get("lastBackup").is_some() => "none".to_owned(),
        None => return Ok(()),
    };
    writeln!(out, "  {:<25} {text}", "lastBackup")?;
    let Some(path) = last["path"].as_str() else { return Ok(()) };
    match path.chars().count() + 28 <= table::WIDTH {
        true => writeln!(out, "  {:<25} {path}", "lastBackupFile"),
        false => table::wrapped(out, &format!("lastBackupFile {path}")),
    }
}

/// Prints what a status document says would be lost.
pub(super) fn print(out: &mut dyn Write, report: &Value) -> io::Result<()> {
    let losses = report.get("losses").cloned().unwrap_or_default();
    let losses: Vec<Loss> = serde_json::from_value(losses).unwrap_or_default();
    if !losses.is_empty() {
        writeln!(out, "\nAT RISK")?;
    }
    losses.iter().try_for_each(|loss| table::wrapped(out, &loss.text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_fit() {
        let text = "If soft-0 is lost, all 100000 keys of ap-northeast-1 are permanently lost: no \
                    other device and no backup has the domain key. Make a backup: kmsctl backup \
                    FILE --with-devices --passphrase-file FILE";
        let loss = json!({ "region": "x", "keys": 1, "devices": ["soft-0"], "text": text });
        let report = json!({ "lastBackup": null, "losses": [loss] });
        let mut out = Vec::new();
        print_last_backup(&mut out, &report).unwrap();
        print(&mut out, &report).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.len() <= table::WIDTH), "{out}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let told = out.split_once("AT RISK").unwrap();
        assert_eq!(words(told.1), words(text));
        assert_eq!(words(told.0), ["lastBackup", "none"]);
        let long = format!("/backup/{}", "x".repeat(40));
        for path in ["/backup/a", &long] {
            let last = json!({ "created": "2026-11-28T03:00:00Z", "path": path });
            let mut out = Vec::new();
            print_last_backup(&mut out, &json!({ "lastBackup": last })).unwrap();
            let out = String::from_utf8(out).unwrap();
            let expected = ["lastBackup", "2026-11-28T03:00:00Z", "lastBackupFile", path];
            assert_eq!(words(&out), expected);
            assert!(out.lines().all(|line| line.len() <= table::WIDTH), "{out}");
        }
    }
}
