//! `kmsctl xks`: external key stores, with which another KMS uses keys of this installation.

use std::path::PathBuf;

use super::management::{Account, STRONGROOM, print, read};
use super::{Failure, Outcome, Output};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    account: Account,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a store, and print its credential, which is not shown again. With --json, the output is the
    /// file that AWS's console imports. Needs a running daemon with --xks-listen, and the access key of the
    /// account's root, as all of these commands do.
    Create {
        /// What its path begins with: 1 to 64 letters, digits, - and _.
        prefix: String,
        /// Key that the store has: a symmetric key for encryption, by key id, key ARN or alias; repeatable.
        #[arg(long = "key", value_name = "KEY")]
        keys: Vec<String>,
        /// File with the policy of the store: what requests may do with its keys [default: everything].
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Region of the keys.
        #[arg(long, default_value = "us-east-1")]
        region: String,
    },
    /// List the stores of the account.
    List,
    /// Show a store: its keys, the access key ids of its credentials, and its policy.
    Show { prefix: String },
    /// Let a store use a further key.
    AddKey {
        prefix: String,
        /// Key id, key ARN or alias.
        key: String,
    },
    /// Take a key away from a store. Ciphertexts of the other KMS stay closed until it is added again.
    RemoveKey {
        prefix: String,
        /// Key id or key ARN.
        key: String,
    },
    /// Replace the policy of a store, or remove it.
    Policy {
        prefix: String,
        /// File with the document.
        #[arg(required_unless_present = "remove")]
        file: Option<PathBuf>,
        /// Remove it: requests may then do everything.
        #[arg(long, conflicts_with = "file")]
        remove: bool,
    },
    /// Make a second credential and print it once. The former one is good until it is retired.
    RotateCredential { prefix: String },
    /// Refuse a credential from now on. The last one of a store cannot be retired.
    RetireCredential {
        prefix: String,
        /// Access key id of the credential.
        access_key_id: String,
    },
    /// Delete a store with its credentials. Its keys stay; the other KMS cannot use them any more.
    Delete { prefix: String },
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let call = |operation: &str, parameters: &[(&str, Option<&str>)]| {
        arguments.account.call(STRONGROOM, operation, parameters)
    };
    let changed = |operation: &str, parameters: &[(&str, Option<&str>)]| {
        Ok::<_, Failure>(call(operation, parameters)?["ExternalKeyStore"].take())
    };
    let result = match &arguments.command {
        Command::Create { prefix, keys, policy, region } => {
            let policy = policy.as_deref().map(read).transpose()?;
            let names: Vec<String> =
                (1..=keys.len()).map(|number| format!("KeyIds.member.{number}")).collect();
            let mut parameters = vec![
                ("Prefix", Some(prefix.as_str())),
                ("RegionName", Some(region.as_str())),
                ("PolicyDocument", policy.as_deref()),
            ];
            let named = names.iter().zip(keys);
            parameters.extend(named.map(|(name, key)| (name.as_str(), Some(key.as_str()))));
            call("CreateExternalKeyStore", &parameters)?
        }
        Command::List => call("ListExternalKeyStores", &[])?["ExternalKeyStores"].take(),
        Command::Show { prefix } => changed("GetExternalKeyStore", &[("Prefix", Some(prefix))])?,
        Command::AddKey { prefix, key } => {
            changed("AddExternalKeyStoreKey", &[("Prefix", Some(prefix)), ("KeyId", Some(key))])?
        }
        Command::RemoveKey { prefix, key } => {
            changed("RemoveExternalKeyStoreKey", &[("Prefix", Some(prefix)), ("KeyId", Some(key))])?
        }
        Command::Policy { prefix, file: Some(file), .. } => {
            let document = read(file)?;
            let parameters = [("Prefix", Some(&**prefix)), ("PolicyDocument", Some(&*document))];
            changed("PutExternalKeyStorePolicy", &parameters)?
        }
        Command::Policy { prefix, file: None, .. } => {
            changed("DeleteExternalKeyStorePolicy", &[("Prefix", Some(prefix))])?
        }
        Command::RotateCredential { prefix } => {
            call("RotateExternalKeyStoreCredential", &[("Prefix", Some(prefix))])?
        }
        Command::RetireCredential { prefix, access_key_id } => {
            let parameters = [("Prefix", Some(&**prefix)), ("AccessKeyId", Some(&**access_key_id))];
            changed("RetireExternalKeyStoreCredential", &parameters)?
        }
        Command::Delete { prefix } => call("DeleteExternalKeyStore", &[("Prefix", Some(prefix))])?,
    };
    print(output, &result)?;
    Ok(Outcome::Good)
}
