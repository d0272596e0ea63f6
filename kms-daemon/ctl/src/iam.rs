//! `kmsctl iam`: users, groups, roles, access keys and policies of an account.

use std::path::PathBuf;

use super::management::{Account, IAM, print, print_key, read};
use super::{Failure, Outcome, Output};

mod boundary;
mod group;
mod managed;
mod policy;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Users. Needs a running daemon and an access key that may manage them.
    User {
        #[command(subcommand)]
        command: User,
        #[command(flatten)]
        account: Account,
    },
    /// Groups of users. Needs a running daemon and an access key that may manage them.
    Group {
        #[command(subcommand)]
        command: group::Command,
        #[command(flatten)]
        account: Account,
    },
    /// Roles. Needs a running daemon and an access key that may manage them.
    Role {
        #[command(subcommand)]
        command: Role,
        #[command(flatten)]
        account: Account,
    },
    /// Access keys of users. Needs a running daemon and an access key that may manage them.
    Key {
        #[command(subcommand)]
        command: Key,
        #[command(flatten)]
        account: Account,
    },
    /// Policies of users, groups and roles: inline policies, and attached managed policies. Needs a
    /// running daemon and an access key that may manage them.
    Policy {
        #[command(subcommand)]
        command: policy::Command,
        #[command(flatten)]
        account: Account,
    },
    /// Managed policies, to be attached to several users, groups and roles. Needs a running daemon
    /// and an access key that may manage them.
    Managed {
        #[command(subcommand)]
        command: managed::Command,
        #[command(flatten)]
        account: Account,
    },
    /// Permissions boundaries of users and roles. Needs a running daemon and an access key that may
    /// manage them.
    Boundary {
        #[command(subcommand)]
        command: boundary::Command,
        #[command(flatten)]
        account: Account,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum User {
    /// Make a user.
    Create {
        name: String,
        /// Path, for example /team/.
        #[arg(long)]
        path: Option<String>,
    },
    /// List the users.
    List,
    /// Show a user.
    Show { name: String },
    /// Delete a user, once its access keys and policies are deleted and it is in no group.
    Delete { name: String },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Role {
    /// Make a role.
    Create {
        name: String,
        /// File with the trust policy: who may assume the role.
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
        /// Path, for example /team/.
        #[arg(long)]
        path: Option<String>,
        /// Longest session, in seconds [default: 3600].
        #[arg(long, value_name = "SECONDS")]
        max_session: Option<String>,
    },
    /// List the roles.
    List,
    /// Show a role.
    Show { name: String },
    /// Replace the trust policy of a role.
    Trust {
        name: String,
        /// File with the trust policy.
        file: PathBuf,
    },
    /// Delete a role, once its policies are deleted or detached. Its sessions end at once.
    Delete { name: String },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Key {
    /// Make an access key, and print it as a profile of a credentials file. The secret is not
    /// shown again.
    Create { user: String },
    /// List the access keys of a user.
    List { user: String },
    /// Refuse a key from now on.
    Disable { user: String, key: String },
    /// Let a key be used again.
    Enable { user: String, key: String },
    /// Delete a key. Sessions made with it end at once.
    Delete { user: String, key: String },
}

pub(super) fn run(command: &Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::User { command, account } => user(command, account, output)?,
        Command::Role { command, account } => role(command, account, output)?,
        Command::Key { command, account } => key(command, account, output)?,
        Command::Group { command, account } => group::run(command, account, output)?,
        Command::Policy { command, account } => policy::run(command, account, output)?,
        Command::Managed { command, account } => managed::run(command, account, output)?,
        Command::Boundary { command, account } => boundary::run(command, account, output)?,
    }
    Ok(Outcome::Good)
}

fn user(command: &User, account: &Account, output: &mut Output<'_>) -> Result<(), Failure> {
    let call =
        |operation: &str, name: &str| account.call(IAM, operation, &[("UserName", Some(name))]);
    let result = match command {
        User::Create { name, path } => {
            let parameters = [("UserName", Some(&**name)), ("Path", path.as_deref())];
            account.call(IAM, "CreateUser", &parameters)?["User"].take()
        }
        User::List => account.list(IAM, "ListUsers", &[], "Users")?,
        User::Show { name } => call("GetUser", name)?["User"].take(),
        User::Delete { name } => call("DeleteUser", name)?,
    };
    print(output, &result)
}

fn role(command: &Role, account: &Account, output: &mut Output<'_>) -> Result<(), Failure> {
    let result = match command {
        Role::Create { name, trust, path, max_session } => {
            let trust = read(trust)?;
            let parameters = [
                ("RoleName", Some(&**name)),
                ("AssumeRolePolicyDocument", Some(&*trust)),
                ("Path", path.as_deref()),
                ("MaxSessionDuration", max_session.as_deref()),
            ];
            account.call(IAM, "CreateRole", &parameters)?["Role"].take()
        }
        Role::List => account.list(IAM, "ListRoles", &[], "Roles")?,
        Role::Show { name } => {
            account.call(IAM, "GetRole", &[("RoleName", Some(name))])?["Role"].take()
        }
        Role::Trust { name, file } => {
            let document = read(file)?;
            let parameters = [("RoleName", Some(&**name)), ("PolicyDocument", Some(&*document))];
            account.call(IAM, "UpdateAssumeRolePolicy", &parameters)?
        }
        Role::Delete { name } => account.call(IAM, "DeleteRole", &[("RoleName", Some(name))])?,
    };
    print(output, &result)
}

fn key(command: &Key, account: &Account, output: &mut Output<'_>) -> Result<(), Failure> {
    let update = |user: &str, key: &str, status: &str| {
        let parameters =
            [("UserName", Some(user)), ("AccessKeyId", Some(key)), ("Status", Some(status))];
        account.call(IAM, "UpdateAccessKey", &parameters)
    };
    let result = match command {
        Key::Create { user } => {
            let made = account.call(IAM, "CreateAccessKey", &[("UserName", Some(user))])?;
            return print_key(output, &made, user);
        }
        Key::List { user } => {
            let parameters = [("UserName", Some(&**user))];
            account.list(IAM, "ListAccessKeys", &parameters, "AccessKeyMetadata")?
        }
        Key::Disable { user, key } => update(user, key, "Inactive")?,
        Key::Enable { user, key } => update(user, key, "Active")?,
        Key::Delete { user, key } => {
            let parameters = [("UserName", Some(&**user)), ("AccessKeyId", Some(&**key))];
            account.call(IAM, "DeleteAccessKey", &parameters)?
        }
    };
    print(output, &result)
}
