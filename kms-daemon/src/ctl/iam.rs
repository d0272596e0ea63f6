//! `kmsctl iam`: users, roles, access keys and policies of an account.

use std::path::PathBuf;

use super::management::{Account, IAM, print, print_key, read};
use super::{Failure, Outcome, Output};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Users. Needs a running daemon and the access key of the account's root.
    User {
        #[command(subcommand)]
        command: User,
        #[command(flatten)]
        account: Account,
    },
    /// Roles. Needs a running daemon and the access key of the account's root.
    Role {
        #[command(subcommand)]
        command: Role,
        #[command(flatten)]
        account: Account,
    },
    /// Access keys of users. Needs a running daemon and the access key of the account's root.
    Key {
        #[command(subcommand)]
        command: Key,
        #[command(flatten)]
        account: Account,
    },
    /// Inline policies of users and roles. Needs a running daemon and the access key of the
    /// account's root.
    Policy {
        #[command(subcommand)]
        command: Policy,
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
    /// Delete a user, once its access keys and policies are deleted.
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
    /// Delete a role, once its policies are deleted. Its sessions end at once.
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

/// Whose policy it is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Holder {
    /// A user.
    #[arg(long)]
    user: Option<String>,
    /// A role.
    #[arg(long)]
    role: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Policy {
    /// Add a policy, or replace it.
    Put {
        #[command(flatten)]
        holder: Holder,
        name: String,
        /// File with the document.
        file: PathBuf,
    },
    /// List the policies.
    List {
        #[command(flatten)]
        holder: Holder,
    },
    /// Show a policy.
    Show {
        #[command(flatten)]
        holder: Holder,
        name: String,
    },
    /// Delete a policy.
    Delete {
        #[command(flatten)]
        holder: Holder,
        name: String,
    },
}

pub(super) fn run(command: &Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::User { command, account } => user(command, account, output)?,
        Command::Role { command, account } => role(command, account, output)?,
        Command::Key { command, account } => key(command, account, output)?,
        Command::Policy { command, account } => policy(command, account, output)?,
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

fn policy(command: &Policy, account: &Account, output: &mut Output<'_>) -> Result<(), Failure> {
    let result = match command {
        Policy::Put { holder, name, file } => {
            let document = read(file)?;
            let (operation, holder) = holder.operation("Put", "Policy");
            let policy = [("PolicyName", Some(&**name)), ("PolicyDocument", Some(&*document))];
            account.call(IAM, &operation, &[&[holder], &policy[..]].concat())?
        }
        Policy::List { holder } => {
            let (operation, holder) = holder.operation("List", "Policies");
            account.list(IAM, &operation, &[holder], "PolicyNames")?
        }
        Policy::Show { holder, name } => {
            let (operation, holder) = holder.operation("Get", "Policy");
            account.call(IAM, &operation, &[holder, ("PolicyName", Some(name))])?
        }
        Policy::Delete { holder, name } => {
            let (operation, holder) = holder.operation("Delete", "Policy");
            account.call(IAM, &operation, &[holder, ("PolicyName", Some(name))])?
        }
    };
    print(output, &result)
}

impl Holder {
    /// The operation for it, and the parameter that names it.
    fn operation(&self, verb: &str, noun: &str) -> (String, (&'static str, Option<&str>)) {
        match &self.user {
            Some(name) => (format!("{verb}User{noun}"), ("UserName", Some(name))),
            None => (format!("{verb}Role{noun}"), ("RoleName", self.role.as_deref())),
        }
    }
}
