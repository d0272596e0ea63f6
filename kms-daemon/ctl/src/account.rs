//! `kmsctl account`: accounts of an installation.

use super::management::{Account, STRONGROOM, print, print_key};
use super::{Failure, Outcome, Output};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make an account, and print the access key of its root as a profile of a credentials file.
    /// The secret is not shown again. Needs a running daemon and the access key of its first
    /// account's root.
    Create {
        /// Account number, 12 digits [default: a random one].
        #[arg(long)]
        id: Option<String>,
        /// Free text.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        account: Account,
    },
    /// List the accounts. Needs a running daemon and the access key of its first account's root.
    List {
        #[command(flatten)]
        account: Account,
    },
}

pub(super) fn run(command: &Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::Create { id, name, account } => {
            let parameters = [("AccountId", id.as_deref()), ("Name", name.as_deref())];
            let made = account.call(STRONGROOM, "CreateAccount", &parameters)?;
            let id = made["Account"]["Id"].as_str().unwrap_or_default();
            print_key(output, &made, id)?;
        }
        Command::List { account } => {
            print(output, &account.list(STRONGROOM, "ListAccounts", &[], "Accounts")?)?;
        }
    }
    Ok(Outcome::Good)
}
