//! `kmsctl cluster`: clusters of PKCS#11 tokens, which custom key stores of type AWS_CLOUDHSM are on.

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

#[derive(Debug, clap::Args)]
struct Place {
    /// Account whose custom key stores may be on it, 12 digits [default: the first one].
    #[arg(long, value_name = "ACCOUNT")]
    owner: Option<String>,
    /// Region of these stores.
    #[arg(long, default_value = "us-east-1")]
    region: String,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Register tokens as a cluster, and print its id. Every key of a store on it will be in all of them. Needs
    /// a running daemon that was started with --pkcs11-module, and the access key of the first account's root,
    /// as all of these commands do.
    Add {
        /// The module, as in kmsd --pkcs11-module.
        #[arg(long, value_name = "PATH")]
        module: String,
        /// Label of a token; two or more.
        #[arg(long = "token", value_name = "LABEL", required = true)]
        tokens: Vec<String>,
        /// File with the certificate, PEM, that owners of stores have to show.
        #[arg(long, value_name = "FILE")]
        trust_anchor: PathBuf,
        /// One token is enough: its keys are lost with it.
        #[arg(long)]
        single: bool,
        #[command(flatten)]
        place: Place,
    },
    /// List the clusters.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show a cluster, the store that is on it, and which of its tokens are there: a token that is another one than
    /// it was is REPLACED.
    Show {
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Use a token that has taken the place of another one of the same label. It has to have all keys of the store.
    Accept {
        id: String,
        /// Label of the token.
        #[arg(long, value_name = "LABEL")]
        token: String,
        /// Serial number of the new token, as `kmsctl cluster show` has it.
        #[arg(long, value_name = "NUMBER")]
        serial: String,
        /// Also without keys that the store has already: these are used in the other tokens only, and are lost
        /// with them.
        #[arg(long)]
        without_keys: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a cluster that no store is on. Nothing in its tokens is changed.
    Remove {
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let call = |operation: &str, place: &Place, more: &[(&str, Option<&str>)]| {
        let of_place =
            [("AccountId", place.owner.as_deref()), ("RegionName", Some(place.region.as_str()))];
        arguments.account.call(STRONGROOM, operation, &[&of_place[..], more].concat())
    };
    let result = match &arguments.command {
        Command::Add { module, tokens, trust_anchor, single, place } => {
            let anchor = read(trust_anchor)?;
            let names: Vec<String> =
                (1..=tokens.len()).map(|number| format!("Tokens.member.{number}")).collect();
            let mut parameters = vec![
                ("Module", Some(module.as_str())),
                ("TrustAnchor", Some(&*anchor)),
                ("Single", single.then_some("true")),
            ];
            let named = names.iter().zip(tokens);
            parameters.extend(named.map(|(name, label)| (name.as_str(), Some(label.as_str()))));
            call("RegisterCluster", place, &parameters)?["Cluster"].take()
        }
        Command::List { place } => call("ListClusters", place, &[])?["Clusters"].take(),
        Command::Show { id, place } => {
            call("GetCluster", place, &[("ClusterId", Some(id))])?["Cluster"].take()
        }
        Command::Accept { id, token, serial, without_keys, place } => {
            let parameters = [
                ("ClusterId", Some(id.as_str())),
                ("Token", Some(token.as_str())),
                ("SerialNumber", Some(serial.as_str())),
                ("WithoutKeys", without_keys.then_some("true")),
            ];
            call("AcceptToken", place, &parameters)?
        }
        Command::Remove { id, place } => call("RemoveCluster", place, &[("ClusterId", Some(id))])?,
    };
    print(output, &result)?;
    Ok(Outcome::Good)
}
