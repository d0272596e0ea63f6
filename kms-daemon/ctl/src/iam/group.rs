//! `kmsctl iam group`: groups and their members.

use crate::management::{Account, IAM, print};
use crate::{Failure, Output};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a group.
    Create {
        name: String,
        /// Path, for example /team/.
        #[arg(long)]
        path: Option<String>,
    },
    /// List the groups, or those that a user is in.
    List {
        /// The user.
        #[arg(long)]
        user: Option<String>,
    },
    /// List the users in a group.
    Members { name: String },
    /// Add a user to a group, whose policies then apply to the user at once.
    Add { name: String, user: String },
    /// Remove a user from a group.
    Remove { name: String, user: String },
    /// Delete a group, once it has no members and no policies.
    Delete { name: String },
}

pub(super) fn run(
    command: &Command,
    account: &Account,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let member = |operation: &str, name: &str, user: &str| {
        account.call(IAM, operation, &[("GroupName", Some(name)), ("UserName", Some(user))])
    };
    let result = match command {
        Command::Create { name, path } => {
            let parameters = [("GroupName", Some(&**name)), ("Path", path.as_deref())];
            account.call(IAM, "CreateGroup", &parameters)?["Group"].take()
        }
        Command::List { user: None } => account.list(IAM, "ListGroups", &[], "Groups")?,
        Command::List { user } => {
            let parameters = [("UserName", user.as_deref())];
            account.list(IAM, "ListGroupsForUser", &parameters, "Groups")?
        }
        Command::Members { name } => {
            account.list(IAM, "GetGroup", &[("GroupName", Some(name))], "Users")?
        }
        Command::Add { name, user } => member("AddUserToGroup", name, user)?,
        Command::Remove { name, user } => member("RemoveUserFromGroup", name, user)?,
        Command::Delete { name } => {
            account.call(IAM, "DeleteGroup", &[("GroupName", Some(name))])?
        }
    };
    print(output, &result)
}
