//! `kmsctl iam managed`: managed policies.

use std::path::PathBuf;

use crate::management::{Account, IAM, print, read};
use crate::{Failure, Output};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a managed policy.
    Create {
        name: String,
        /// File with the document.
        file: PathBuf,
        /// Path, for example /team/.
        #[arg(long)]
        path: Option<String>,
    },
    /// List the managed policies.
    List,
    /// Show a managed policy and the document in force.
    Show { arn: String },
    /// Replace the document by another version, which takes effect at once. There are five at most.
    Update {
        arn: String,
        /// File with the document.
        file: PathBuf,
    },
    /// Delete a managed policy that is attached to no identity and bounds none, with all its
    /// versions.
    Delete { arn: String },
}

pub(super) fn run(
    command: &Command,
    account: &Account,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let of = |operation: &str, arn: &str| account.call(IAM, operation, &[("PolicyArn", Some(arn))]);
    let result = match command {
        Command::Create { name, file, path } => {
            let document = read(file)?;
            let parameters = [
                ("PolicyName", Some(&**name)),
                ("PolicyDocument", Some(&*document)),
                ("Path", path.as_deref()),
            ];
            account.call(IAM, "CreatePolicy", &parameters)?["Policy"].take()
        }
        Command::List => account.list(IAM, "ListPolicies", &[], "Policies")?,
        Command::Show { arn } => {
            let mut policy = of("GetPolicy", arn)?["Policy"].take();
            let version = policy["DefaultVersionId"].as_str();
            let parameters = [("PolicyArn", Some(&**arn)), ("VersionId", version)];
            let mut version = account.call(IAM, "GetPolicyVersion", &parameters)?;
            policy["Document"] = version["PolicyVersion"]["Document"].take();
            policy
        }
        Command::Update { arn, file } => {
            let document = read(file)?;
            let parameters = [
                ("PolicyArn", Some(&**arn)),
                ("PolicyDocument", Some(&*document)),
                ("SetAsDefault", Some("true")),
            ];
            account.call(IAM, "CreatePolicyVersion", &parameters)?["PolicyVersion"].take()
        }
        Command::Delete { arn } => {
            let parameters = [("PolicyArn", Some(&**arn))];
            let versions = account.list(IAM, "ListPolicyVersions", &parameters, "Versions")?;
            for version in versions.as_array().into_iter().flatten() {
                if version["IsDefaultVersion"] == false {
                    let version = version["VersionId"].as_str();
                    let parameters = [("PolicyArn", Some(&**arn)), ("VersionId", version)];
                    account.call(IAM, "DeletePolicyVersion", &parameters)?;
                }
            }
            of("DeletePolicy", arn)?
        }
    };
    print(output, &result)
}
