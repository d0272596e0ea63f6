//! Command-line arguments of a subcommand.

use crate::failure::{Failure, Result};

/// The code of a subcommand.
pub(crate) type Run = fn(Args) -> Result<()>;

/// Arguments not yet consumed. Whatever is left at [`Args::finish`] is an error.
pub(crate) struct Args(Vec<String>);

impl Args {
    pub(crate) fn new(args: impl IntoIterator<Item = String>) -> Self {
        Self(args.into_iter().collect())
    }

    /// Removes `--name`; true if it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let found = self.own().iter().position(|arg| arg == name);
        found.map(|at| self.0.remove(at)).is_some()
    }

    /// Removes `--name value` or `--name=value`.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>> {
        let prefix = format!("{name}=");
        let Some(at) = self.own().iter().position(|arg| arg == name || arg.starts_with(&prefix))
        else {
            return Ok(None);
        };
        let arg = self.0.remove(at);
        if let Some(value) = arg.strip_prefix(&prefix) {
            return Ok(Some(value.to_owned()));
        }
        if at == self.0.len() || self.0[at].starts_with("--") {
            return Err(Failure::new(format!("{name} needs a value")));
        }
        Ok(Some(self.0.remove(at)))
    }

    /// Removes the first argument that is not an option.
    pub(crate) fn positional(&mut self) -> Option<String> {
        let at = self.own().iter().position(|arg| !arg.starts_with('-'))?;
        Some(self.0.remove(at))
    }

    /// Removes everything after `--`, meant for another program.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let at = self.own().len();
        let mut rest = self.0.split_off(at);
        if !rest.is_empty() {
            rest.remove(0);
        }
        rest
    }

    /// Fails if something was not understood.
    pub(crate) fn finish(self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some(arg) => Err(Failure::new(format!("unexpected argument `{arg}`"))
                .help("`cargo xtask help` lists the commands and their options")),
        }
    }

    /// The arguments before `--`.
    fn own(&self) -> &[String] {
        let end = self.0.iter().position(|arg| arg == "--").unwrap_or(self.0.len());
        &self.0[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_positionals_and_the_rest() {
        let mut args = args("--json --board a filter --toolchain=b -- --listen c");
        assert!(args.flag("--json"));
        assert!(!args.flag("--listen"));
        assert_eq!(args.value("--board"), Ok(Some("a".into())));
        assert_eq!(args.value("--toolchain"), Ok(Some("b".into())));
        assert_eq!(args.value("--listen"), Ok(None));
        assert_eq!(args.positional(), Some("filter".into()));
        assert_eq!(args.positional(), None);
        assert_eq!(args.rest(), ["--listen", "c"]);
        assert_eq!(args.finish(), Ok(()));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(args("--board").value("--board").is_err());
        assert!(args("--board --json").value("--board").is_err());
        assert!(args("--bored").finish().is_err());
    }
}
