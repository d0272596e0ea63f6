//! `kmsctl usage`: the requests and keys of a month.

use std::io::{self, Write};
use std::path::PathBuf;

use time::Date;

use super::{Failure, Outcome, Output};
use kms_audit::{Usage, parse_month, usage};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The audit directory, for example `DIR/audit` of the daemon's data directory.
    dir: PathBuf,
    /// The month, YYYY-MM [default: this one, in UTC].
    #[arg(long, value_name = "MONTH", value_parser = month)]
    month: Option<Date>,
}

fn month(text: &str) -> Result<Date, String> {
    parse_month(text).ok_or_else(|| "a month is YYYY-MM, such as 2026-11".to_owned())
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let used = usage(&arguments.dir, arguments.month)?;
    output.print(&used, print)?;
    Ok(if used.unreadable == 0 { Outcome::Good } else { Outcome::Bad })
}

fn print(out: &mut dyn Write, usage: &Usage) -> io::Result<()> {
    let row = |out: &mut dyn Write, name: &str, count: u64, price: i128| {
        let sign = if price < 0 { "-" } else { "" };
        let (dollars, rest) = (price.unsigned_abs() / 1_000_000, price.unsigned_abs() % 1_000_000);
        writeln!(out, "{name:<32}{count:>12}  {sign:>1}{dollars:>7}.{:04}", rest / 100)
    };
    writeln!(out, "{:<32}{:>12}  {:>13}", usage.month, "", "USD at AWS")?;
    row(out, "keys", usage.keys as u64, usage.keys_price.into())?;
    for (class, requests) in &usage.requests {
        row(out, class.name(), requests.count, requests.price.into())?;
    }
    row(out, "free requests", 0, -i128::from(usage.free))?;
    row(out, "failed requests", usage.failed, 0)?;
    row(out, "together", usage.requests.values().map(|r| r.count).sum(), usage.price.into())?;
    writeln!(out, "\nrequests by operation")?;
    for (name, count) in &usage.operations {
        writeln!(out, "  {name:<30}{count:>12}")?;
    }
    if usage.removed > 0 {
        let last = usage.removed;
        writeln!(
            out,
            "\nrecords 1 to {last} were removed: keys that appear only in them are not counted"
        )?;
    }
    if usage.unreadable > 0 {
        let lines = usage.unreadable;
        writeln!(out, "\n{lines} lines cannot be read; run `kmsctl audit verify`")?;
    }
    writeln!(
        out,
        "\nList prices of us-east-1 in 2026, an estimate. Strongroom costs you nothing of it."
    )
}
