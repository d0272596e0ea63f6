//! `kmsctl domain hand-over`: an operator hands their own share over to one device.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use host_driver::recovery::{self, ShareKey};
use hsm_protocol::ErrorCode;
use serde::Serialize;

use super::super::hsm::confirm;
use super::super::operator::SignerArguments;
use super::super::passphrase::passphrase_of;
use super::super::{Failure, Outcome, Output};
use super::expect_digest;
use kms_base::hex;
use kms_ceremony::{
    HandoverFile, HandoverRequest, KeyFile, KeyPurpose, ShareFile, describe, fingerprint,
};

#[derive(Debug, clap::Args)]
pub(super) struct HandOver {
    /// The file that `restore begin` or `drill begin` wrote.
    #[arg(value_name = "REQUEST")]
    request: PathBuf,
    /// The operator's share of that backup.
    #[arg(long, value_name = "FILE")]
    share: PathBuf,
    /// The operator's share key, as `kmsctl operator new-share` wrote it.
    #[arg(long, value_name = "FILE")]
    share_key: PathBuf,
    /// File whose first line is the passphrase of the share key. Without it, kmsctl asks on the terminal.
    #[arg(long, value_name = "FILE")]
    share_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    signer: SignerArguments,
    /// Hand over only if this is the request's fingerprint, as the person who restores has told you; nothing
    /// is asked then.
    #[arg(long, value_name = "FINGERPRINT")]
    expect: Option<String>,
    /// Where to write the handover; no such file may exist.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HandedOver {
    operator: String,
    number: u8,
    device: String,
    drill: bool,
    file: PathBuf,
}

/// Everything that an operator has to see first, except for the fingerprint.
pub(super) fn in_words(request: &HandoverRequest) -> String {
    let mut text = String::new();
    let device = fingerprint(request.identity.device_id().as_bytes());
    let what = match request.is_drill {
        true => "A DRILL: the device is to open the backup and some keys, and to keep nothing.",
        false => "A RESTORE: the device is to become the domain, with every key of it.",
    };
    let of = &request.of;
    let _ = writeln!(text, "{what}\n");
    let _ = writeln!(text, "Your share goes to the device {device}, and opens there only.");
    let _ =
        writeln!(text, "Compare that with what the device itself shows: kmsctl hsm status LINE.");
    if request.certificate.is_none() {
        let _ =
            writeln!(text, "Nobody but the device itself vouches for that: look at the device.");
    }
    let _ = writeln!(
        text,
        "Whoever owns that device owns every key once enough shares are handed over.\n"
    );
    let _ = writeln!(text, "The backup, said to be of {}, is of this domain:\n", of.created);
    text.push_str(&describe(&of.state));
    let hash = of.state.hash().map(|hash| hex::encode(&hash)).unwrap_or_default();
    let _ = writeln!(text, "  Hash of this state: {hash}");
    text
}

pub(super) fn run(it: &HandOver, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let request = HandoverRequest::load(&it.request)?;
    let own = ShareFile::load(&it.share)?;
    if own.of.backup != request.of.backup || own.of.state != request.of.state {
        return Err(Failure(format!(
            "{} is a share of another backup than the one that is to be restored; use the share that was made \
             together with it. Nothing was handed over",
            it.share.display()
        )));
    }
    let digest = request.digest();
    match &it.expect {
        Some(expected) => expect_digest(expected, &digest)?,
        None if io::stdin().is_terminal() => {
            confirm::on_terminal(&hex::encode(&digest), &in_words(&request), "request", false)?;
        }
        None => {
            let text = "there is no terminal to show this on; give the fingerprint that the person \
                        who restores has told you: --expect FINGERPRINT";
            return Err(Failure(text.to_owned()));
        }
    }
    let file = KeyFile::load(&it.share_key, KeyPurpose::Share)?;
    let (named, option) = (it.share_passphrase_file.as_deref(), "--share-passphrase-file");
    let passphrase = passphrase_of(named, &it.share_key, option)?;
    let key = file.open(&passphrase, &it.share_key)?;
    let key = ShareKey::from_bytes(&key.to_bytes());
    let key = key.ok_or_else(|| Failure("the share key is invalid".to_owned()))?;
    let signer = it.signer.open()?;
    let operator = signer.public().operator_id();
    // The message of a token that does not sign is meant for its holder.
    let mut unsigned = None;
    let sign = |message: &[u8]| {
        signer.sign(message).map_err(|failure| {
            unsigned = Some(failure);
            ErrorCode::SIGNATURE_INVALID
        })
    };
    let handed = recovery::hand_over(
        (&own.of.backup, &own.share),
        &own.of.state,
        (&request.identity, request.certificate.as_ref()),
        (operator, &key),
        sign,
    );
    let handed = match unsigned {
        Some(failure) => return Err(failure),
        None => handed?,
    };
    HandoverFile(handed).save_new(&it.output)?;
    let told = HandedOver {
        operator: fingerprint(operator.as_bytes()),
        number: own.share.header.number,
        device: request.identity.device_id().to_string(),
        drill: request.is_drill,
        file: it.output.clone(),
    };
    output.print(&told, |out, told| {
        let HandedOver { number, operator, device, file, .. } = told;
        writeln!(out, "share {number} of {operator} is wrapped to device {device}")?;
        writeln!(out, "  {}", file.display())
    })?;
    Ok(Outcome::Good)
}
