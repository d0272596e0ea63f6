//! `kmsctl iam policy`: the policies of users, groups and roles.

use std::path::PathBuf;

use crate::management::{Account, IAM, print, read};
use crate::{Failure, Output};

/// Whose policy it is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Holder {
    /// A user.
    #[arg(long)]
    user: Option<String>,
    /// A group: of all its users.
    #[arg(long)]
    group: Option<String>,
    /// A role.
    #[arg(long)]
    role: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Add an inline policy, or replace it.
    Put {
        #[command(flatten)]
        holder: Holder,
        name: String,
        /// File with the document.
        file: PathBuf,
    },
    /// List the inline policies.
    List {
        #[command(flatten)]
        holder: Holder,
    },
    /// Show an inline policy.
    Show {
        #[command(flatten)]
        holder: Holder,
        name: String,
    },
    /// Delete an inline policy.
    Delete {
        #[command(flatten)]
        holder: Holder,
        name: String,
    },
    /// Attach a managed policy.
    Attach {
        #[command(flatten)]
        holder: Holder,
        /// ARN of the policy.
        arn: String,
    },
    /// List the managed policies that are attached.
    Attached {
        #[command(flatten)]
        holder: Holder,
    },
    /// Detach a managed policy.
    Detach {
        #[command(flatten)]
        holder: Holder,
        /// ARN of the policy.
        arn: String,
    },
}

pub(super) fn run(
    command: &Command,
    account: &Account,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let on = |holder: &Holder, (verb, noun): (&str, &str), name: (&'static str, &str)| {
        let (operation, holder) = holder.operation(verb, noun);
        account.call(IAM, &operation, &[holder, (name.0, Some(name.1))])
    };
    let result = match command {
        Command::Put { holder, name, file } => {
            let document = read(file)?;
            let (operation, holder) = holder.operation("Put", "Policy");
            let policy = [("PolicyName", Some(&**name)), ("PolicyDocument", Some(&*document))];
            account.call(IAM, &operation, &[&[holder], &policy[..]].concat())?
        }
        Command::List { holder } => {
            let (operation, holder) = holder.operation("List", "Policies");
            account.list(IAM, &operation, &[holder], "PolicyNames")?
        }
        Command::Show { holder, name } => on(holder, ("Get", "Policy"), ("PolicyName", name))?,
        Command::Delete { holder, name } => on(holder, ("Delete", "Policy"), ("PolicyName", name))?,
        Command::Attach { holder, arn } => on(holder, ("Attach", "Policy"), ("PolicyArn", arn))?,
        Command::Attached { holder } => {
            let (operation, holder) = holder.operation("ListAttached", "Policies");
            account.list(IAM, &operation, &[holder], "AttachedPolicies")?
        }
        Command::Detach { holder, arn } => on(holder, ("Detach", "Policy"), ("PolicyArn", arn))?,
    };
    print(output, &result)
}

impl Holder {
    /// The operation for it, and the parameter that names it.
    fn operation(&self, verb: &str, noun: &str) -> (String, (&'static str, Option<&str>)) {
        let (kind, parameter, name) = match (&self.user, &self.group, &self.role) {
            (Some(name), ..) => ("User", "UserName", Some(name)),
            (_, Some(name), _) => ("Group", "GroupName", Some(name)),
            (.., role) => ("Role", "RoleName", role.as_ref()),
        };
        (format!("{verb}{kind}{noun}"), (parameter, name.map(String::as_str)))
    }
}
