//! Budgets in `hsm-firmware/boards.toml`: what an image may use. Raising a number there is a decision that shows in review.

use toml::{Table, Value};

use crate::{
    failure::{Failure, Result},
    firmware::{BOARDS, Image},
    term,
};

/// The limits of one image.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    board: &'a str,
    limits: &'a Table,
}

/// One measured value against its limit.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl Budget<'static> {
    /// The budget of an image.
    pub(crate) fn of(image: &Image) -> Result<Self> {
        let board = &*image.board.name;
        let budget = image.board.budgets.iter().find(|(set, _)| *set == image.algorithms);
        let (_, limits) = budget.ok_or_else(|| {
            let set = image.algorithms.name();
            Failure::new(format!("{BOARDS} needs a table [{board}.budget.{set}]"))
        })?;
        Ok(Self { board, limits })
    }
}

impl Budget<'_> {
    /// `used` with the limit of that name.
    pub(crate) fn row(&self, name: &'static str, used: u64) -> Result<Row> {
        let limit = self.limits.get(name).and_then(Value::as_integer);
        let limit = limit.and_then(|limit| u64::try_from(limit).ok()).ok_or_else(|| {
            Failure::new(format!("{BOARDS} has no `{name}` for {}", self.board))
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
        .help(format!("make it smaller, or raise the number in {BOARDS} and say why")))
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

    #[test]
    fn limits_are_found_by_name() {
        let limits: Table = "text = 1000\n".parse().unwrap();
        let budget = Budget { board: "pdp11", limits: &limits };
        let row = budget.row("text", 995).unwrap();
        assert_eq!(row.shown(), "text                 995      1000   100");
        assert!(budget.row("data", 1).is_err());
    }

    #[test]
    fn the_limit_itself_is_within_budget() {
        let row = |used| Row { name: "text", used, limit: 1000 };
        assert!(check(&[row(1000)]).is_ok());
        let failure = check(&[row(1000), row(1001)]).unwrap_err();
        assert!(failure.to_string().starts_with("over budget: text\n"));
    }
}
