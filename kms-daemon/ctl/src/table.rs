//! Tables that fit a terminal.

use std::io::{self, Write};

/// Width of the narrowest terminal that is usual, in columns.
pub(super) const WIDTH: usize = 80;
/// Least width of the column that gives way.
const LEAST: usize = 8;

/// Prints rows in columns as wide as their cells, numbers to the right. Of the column `yields`, what
/// does not fit [`WIDTH`] is left out in the middle, where names differ least.
pub(super) fn print<const N: usize>(
    out: &mut dyn Write,
    rows: &[[String; N]],
    yields: usize,
) -> io::Result<()> {
    for row in fitted(rows, yields) {
        writeln!(out, "{}", row.trim_end())?;
    }
    Ok(())
}

fn fitted<const N: usize>(rows: &[[String; N]], yields: usize) -> Vec<String> {
    let width = |cell: &String| cell.chars().count();
    let mut widths = [0; N];
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let total = widths.iter().sum::<usize>() + N.saturating_sub(1);
    if let Some(width) = widths.get_mut(yields) {
        *width = width.saturating_sub(total.saturating_sub(WIDTH)).max(LEAST.min(*width));
    }
    // A column of numbers has one in every row below its head.
    let is_number =
        |column: usize| rows.iter().skip(1).all(|row| row[column].parse::<u64>().is_ok());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            let cell = shortened(cell, width);
            match is_number(column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            }
        });
        cells.collect::<Vec<_>>().join(" ")
    };
    rows.iter().map(line).collect()
}

/// A text without its middle, if it is too long.
fn shortened(text: &str, width: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (begin, end) = (kept / 2, kept - kept / 2);
    let (begin, end) = (&characters[..begin], &characters[characters.len() - end..]);
    begin.iter().chain(&['…']).chain(end).collect()
}

/// Writes a text in indented lines that fit [`WIDTH`], if its words allow that.
pub(super) fn wrapped(out: &mut dyn Write, text: &str) -> io::Result<()> {
    wrapped_to(WIDTH, out, text)
}

/// The same for lines of another width.
pub(super) fn wrapped_to(width: usize, out: &mut dyn Write, text: &str) -> io::Result<()> {
    fill(width, out, text, ["  ", "  "])
}

/// Writes lines, each with its own indentation, that fit [`WIDTH`] if their words allow that: what is too long
/// goes on below, indented by two more.
pub(super) fn folded(out: &mut dyn Write, lines: &str) -> io::Result<()> {
    for line in lines.lines() {
        let text = line.trim_start();
        let indent = line.strip_suffix(text).unwrap_or_default();
        match line.chars().count() > WIDTH {
            true => fill(WIDTH, out, text, [indent, &format!("{indent}  ")])?,
            false => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

/// Writes the words of a text, the first line and the others behind indentations of their own.
fn fill(
    width: usize,
    out: &mut dyn Write,
    text: &str,
    [mut indent, next]: [&str; 2],
) -> io::Result<()> {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let room = width.saturating_sub(indent.len());
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            writeln!(out, "{indent}{line}")?;
            line.clear();
            indent = next;
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
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn a_table_is_as_narrow_as_it_can_be_and_no_wider_than_a_terminal() {
        let rows = [row(["NAME", "STATE", "N"]), row(["a", "Operational", "12"])];
        assert_eq!(fitted(&rows, 0), ["NAME STATE        N", "a    Operational 12"]);
        let long =
            "serial:/dev/serial/by-id/usb-Strongroom_0123456789ABCDEF-if00-port0-and-more-of-it";
        let rows = [
            row(["DEVICE", "STATE", "ANSWERED"]),
            row([long, "Uninitialised", "18446744073709551615"]),
        ];
        let lines = fitted(&rows, 0);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines[1].starts_with("serial:/dev/serial") && lines[1].contains("more-of-it "));
        assert!(lines[1].ends_with("Uninitialised 18446744073709551615"), "{lines:?}");
    }

    #[test]
    fn texts_are_wrapped() {
        let mut out = Vec::new();
        wrapped(&mut out, &["word"; 40].join(" ")).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.len() <= WIDTH && line.starts_with("  word")), "{out}");
        assert_eq!(out.split_whitespace().count(), 40);
        let mut out = Vec::new();
        wrapped_to(100, &mut out, &["word"; 50].join(" ")).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().count(), 3);
        assert!(out.lines().all(|line| line.len() <= 100 && line.starts_with("  word")), "{out}");
        let mut out = Vec::new();
        wrapped(&mut out, &"x".repeat(200)).unwrap();
        assert_eq!(out.len(), 203, "a word stays whole");
    }

    #[test]
    fn long_lines_go_on_below_and_nothing_is_lost() {
        let long = "word ".repeat(40);
        let token = "x".repeat(100);
        let text = format!("short\n\n    {}\n  1. {long}\n{token}\n", long.trim_end());
        let mut out = Vec::new();
        folded(&mut out, &text).unwrap();
        let out = String::from_utf8(out).unwrap();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&out), words(&text));
        assert!(out.starts_with("short\n\n    word word"), "{out}");
        assert!(out.contains("\n      word word") && out.contains("\n    word word"), "{out}");
        assert!(out.lines().all(|line| line.len() <= WIDTH || line == token), "{out}");
    }
}
