//! `kmsctl iam boundary`: permissions boundaries of users and roles.

use crate::management::{Account, IAM, print};
use crate::{Failure, Output};

/// Whom it limits.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Bounded {
    /// A user.
    #[arg(long)]
    user: Option<String>,
    /// A role.
    #[arg(long)]
    role: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Limit a user or role to what a managed policy allows, in place of its present boundary.
    /// `user show` and `role show` print the boundary.
    Set {
        #[command(flatten)]
        bounded: Bounded,
        /// ARN of the policy.
        arn: String,
    },
    /// Remove the boundary.
    Remove {
        #[command(flatten)]
        bounded: Bounded,
    },
}

pub(super) fn run(
    command: &Command,
    account: &Account,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let (verb, bounded, arn) = match command {
        Command::Set { bounded, arn } => ("Put", bounded, Some(arn.as_str())),
        Command::Remove { bounded } => ("Delete", bounded, None),
    };
    let (kind, name) = match (&bounded.user, &bounded.role) {
        (Some(user), _) => ("User", Some(user)),
        (None, role) => ("Role", role.as_ref()),
    };
    let named = format!("{kind}Name");
    let parameters = [(&*named, name.map(String::as_str)), ("PermissionsBoundary", arn)];
    let operation = format!("{verb}{kind}PermissionsBoundary");
    print(output, &account.call(IAM, &operation, &parameters)?)
}
