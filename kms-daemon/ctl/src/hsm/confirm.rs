//! Asks a person to confirm a destructive command with the first characters of a fingerprint.

use std::io::{BufRead, IsTerminal, Write};

use super::super::{Failure, table};

/// Characters of a fingerprint that have to be typed.
const TYPED: usize = 8;

/// Where confirmations come from.
pub(super) struct Person<'p> {
    /// What is typed.
    pub input: &'p mut dyn BufRead,
    /// What they see; never the result of the command.
    pub screen: &'p mut dyn Write,
    /// Whether somebody is there to type.
    pub present: bool,
}

/// Asks on the terminal.
pub(in super::super) fn on_terminal(
    fingerprint: &str,
    warning: &str,
    what: &str,
    yes: bool,
) -> Result<(), Failure> {
    let person = &mut Person {
        input: &mut std::io::stdin().lock(),
        screen: &mut std::io::stderr(),
        present: std::io::stdin().is_terminal(),
    };
    confirm(person, fingerprint, warning, what, yes)
}

/// Shows `warning`, then has the beginning of `fingerprint`, which is that of a `what`, typed.
///
/// # Errors
/// If something else is typed, or nobody can type and `yes` was not given.
fn confirm(
    person: &mut Person<'_>,
    fingerprint: &str,
    warning: &str,
    what: &str,
    yes: bool,
) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !person.present {
        let sure = if what == "device" { ", and --device to be sure of the device" } else { "" };
        let text = format!("there is no terminal to confirm this on; in a script add --yes{sure}");
        return Err(Failure(text));
    }
    let wanted = fingerprint.get(..TYPED).unwrap_or(fingerprint);
    table::folded(person.screen, warning)?;
    write!(
        person.screen,
        "To continue, type the first {TYPED} characters of the {what}'s fingerprint: "
    )?;
    person.screen.flush()?;
    let mut typed = String::new();
    person.input.read_line(&mut typed)?;
    if typed.trim().eq_ignore_ascii_case(wanted) {
        Ok(())
    } else {
        Err(Failure("that is not its fingerprint; nothing was changed".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "0123abcd4567ef890123abcd4567ef89";

    fn ask(typed: &str, present: bool, yes: bool) -> (Result<(), Failure>, String) {
        let mut screen = Vec::new();
        let person = &mut Person { input: &mut typed.as_bytes(), screen: &mut screen, present };
        let answer = confirm(person, FINGERPRINT, "All is lost.", "device", yes);
        (answer, String::from_utf8(screen).unwrap())
    }

    #[test]
    fn only_the_fingerprint_confirms() {
        for right in ["0123abcd\n", " 0123ABCD \n", "0123abcd"] {
            assert!(ask(right, true, false).0.is_ok(), "{right:?}");
        }
        for wrong in
            ["", "\n", "y\n", "yes\n", "0123abc\n", "0123abce\n", "0123abcd4\n", FINGERPRINT]
        {
            let error = ask(wrong, true, false).0.unwrap_err();
            assert!(error.0.contains("nothing was changed"), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn what_is_lost_is_said_before_and_the_answer_is_not_given_away() {
        let (_, screen) = ask("\n", true, false);
        assert!(screen.starts_with("All is lost.\n"), "{screen}");
        assert!(!screen.contains("0123"), "{screen}");
    }

    #[test]
    fn without_a_terminal_only_yes_will_do() {
        let (answer, screen) = ask("0123abcd\n", false, false);
        assert!(answer.unwrap_err().0.contains("--yes"));
        assert_eq!(screen, "");
        assert!(ask("", false, true).0.is_ok());
    }
}
