//! `hsm-firmware/budget.toml`: what a board's image may use. Raising a number there is a decision that shows in review.

use std::fs;

use toml::Table;

use crate::{
    command,
    failure::{Doing, Failure, Result},
    firmware::Board,
    term,
};

const FILE: &str = "hsm-firmware/budget.toml";

/// The limits of one board.
pub(crate) struct Budget {
    board: &'static str,
    limits: Table,
}

/// One measured value against its limit.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl Budget {
    /// Reads the table of `board`.
    pub(crate) fn read(board: &'static Board) -> Result<Self> {
        let text =
            fs::read_to_string(command::root().join(FILE)).doing(format_args!("read {FILE}"))?;
        Self::parse(&text, &board.name)
    }

    fn parse(text: &str, board: &'static str) -> Result<Self> {
        let broken = |why: String| Failure::new(format!("{FILE} is not understood")).help(why);
        let mut table: Table = text.parse().map_err(|e| broken(format!("{e}")))?;
        match table.remove(board) {
            Some(toml::Value::Table(limits)) => Ok(Self { board, limits }),
            _ => Err(broken(format!("it needs a table [{board}]"))),
        }
    }

    /// `used` with the limit of that name.
    pub(crate) fn row(&self, name: &'static str, used: u64) -> Result<Row> {
        let limit = self.limits.get(name).and_then(toml::Value::as_integer);
        let limit = limit.and_then(|limit| u64::try_from(limit).ok()).ok_or_else(|| {
            Failure::new(format!("{FILE} has no `{name}` for {}", self.board))
                .help(format!("the image uses {used}"))
        })?;
        Ok(Row { name, used, limit })
    }
}

/// Prints the table; fails if anything is over its limit.
pub(crate) fn check(rows: &[Row]) -> Result<()> {
    term::note(format!("{:<14}{:>10}{:>10}{:>6}", "", "used", "budget", "%"));
    for row in rows {
        term::note(row.shown());
    }
    let over: Vec<_> = rows.iter().filter(|row| row.used > row.limit).collect();
    if over.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = over.iter().map(|row| row.name).collect();
    Err(Failure::new(format!("over budget: {}", names.join(", ")))
        .help(format!("make it smaller, or raise the number in {FILE} and say why")))
}

impl Row {
    fn shown(&self) -> String {
        let percent = self.used.saturating_mul(100).div_ceil(self.limit.max(1));
        format!("{:<14}{:>10}{:>10}{percent:>6}", self.name, self.used, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[qemu_riscv32]\ntext = 1000\n";

    #[test]
    fn limits_are_found_by_board_and_name() {
        let budget = Budget::parse(TEXT, "qemu_riscv32").unwrap();
        let row = budget.row("text", 995).unwrap();
        assert_eq!(row.shown(), "text                 995      1000   100");
        assert!(budget.row("data", 1).is_err());
        assert!(Budget::parse(TEXT, "rp2040").is_err());
    }

    #[test]
    fn the_limit_itself_is_within_budget() {
        let row = |used| Row { name: "text", used, limit: 1000 };
        assert!(check(&[row(1000)]).is_ok());
        let failure = check(&[row(1000), row(1001)]).unwrap_err();
        assert!(failure.to_string().starts_with("over budget: text\n"));
    }
}
