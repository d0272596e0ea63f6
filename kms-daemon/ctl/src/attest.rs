//! `kmsctl attest`: requests and checks statements of devices about keys and themselves.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_driver::attest::with_certificate;
use hsm_protocol::attestation::NONCE;
use hsm_protocol::identity::PublicKey;
use serde::Serialize;
use serde_json::Value;

use super::management::{Account, STRONGROOM};
use super::{Failure, Outcome, Output};
use kms_base::{durable, hex};
use kms_ceremony::CertificateFile;

mod verify;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Have a device state what it knows about a key: public half, origin, whether it was ever outside, who
    /// approves its use, the domain, the device and its firmware. Writes the statement to a file.
    Key {
        /// Key id, key ARN, alias or alias ARN.
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Have a device state what it is, and which domain it is in.
    Device {
        /// Fingerprint of the device [default: any device in service].
        #[arg(value_name = "DEVICE")]
        device: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Check a statement, on any machine: needs no daemon, device or network. The exit code is 0 if a device
    /// that the device CA vouches for has made it, 1 if not, and 4 if no device CA was named: nobody vouches
    /// then.
    Verify(verify::Arguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// Nonce of the statement, 8 to 64 bytes in hexadecimal: the verifier chooses it, and so knows that the
    /// statement is not an old one [default: 32 random bytes, which are printed].
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Option<Nonce>,
    /// Where to write the statement; no such file may exist [default: KEY.statement or DEVICE.statement].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The device's certificate, made by kmsctl device-ca certify, if the domain does not have it.
    #[arg(long, value_name = "FILE", requires = "device_ca")]
    certificate: Option<PathBuf>,
    /// The device CA that has issued it: its .pub file.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    device_ca: Option<PathBuf>,
    /// Region of the key or device.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    #[command(flatten)]
    account: Account,
}

/// What a statement answers to.
#[derive(Debug, Clone)]
pub(super) struct Nonce(pub(super) Vec<u8>);

/// Reads a nonce in hexadecimal.
fn nonce(text: &str) -> Result<Nonce, String> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.contains('+'))?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = match digits.len() % 2 {
        0 => digits.chunks(2).map(byte).collect(),
        _ => None,
    };
    let bytes = bytes.filter(|bytes| NONCE.contains(&bytes.len()));
    bytes.map(Nonce).ok_or_else(|| "must be 8 to 64 bytes in hexadecimal".to_owned())
}

pub(super) fn run(command: &Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::Key { key, asked } => ask("AttestKey", ("KeyId", Some(key)), asked, output),
        Command::Device { device, asked } => {
            ask("AttestDevice", ("DeviceId", device.as_ref()), asked, output)
        }
        Command::Verify(arguments) => verify::run(arguments, output),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    file: PathBuf,
    device: String,
    nonce: String,
    certified: bool,
}

fn ask(
    operation: &str,
    (name, subject): (&str, Option<&String>),
    asked: &Asked,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let nonce = match &asked.nonce {
        Some(Nonce(nonce)) => nonce.clone(),
        None => kms_base::random_nonce()?.to_vec(),
    };
    let encoded = STANDARD.encode(&nonce);
    let region = match subject.and_then(|key| key.strip_prefix("arn:")?.split(':').nth(2)) {
        Some(named) => named,
        None => asked.region.as_str(),
    };
    let parameters = [
        ("RegionName", Some(region)),
        (name, subject.map(String::as_str)),
        ("Nonce", Some(encoded.as_str())),
    ];
    let answer = asked.account.call(STRONGROOM, operation, &parameters)?;
    let malformed = || Failure("the daemon's response cannot be read".to_owned());
    let text = |member: &str| answer[member].as_str().ok_or_else(malformed);
    let mut statement = STANDARD.decode(text("Statement")?).map_err(|_| malformed())?;
    let device = text("DeviceId")?.to_owned();
    let mut certified = answer["Certified"] == Value::Bool(true);
    if let (Some(path), Some(ca)) = (&asked.certificate, &asked.device_ca) {
        statement = add_certificate(&statement, path, &verify::device_ca(ca)?)?;
        certified = true;
    }
    let file = asked.output.clone().unwrap_or_else(|| {
        let subject = subject.map_or(device.as_str(), String::as_str);
        let name = subject.rsplit(['/', ':']).next().unwrap_or(subject);
        PathBuf::from(format!("{name}.statement"))
    });
    durable::write_new(&file, &statement)
        .map_err(|error| Failure(format!("cannot write {}: {error}", file.display())))?;
    let written = Written { file, device, nonce: hex::encode(&nonce), certified };
    output.print(&written, |out, written| {
        writeln!(out, "device {} has stated it:", written.device)?;
        writeln!(out, "  file   {}", written.file.display())?;
        writeln!(out, "  nonce  {}", written.nonce)?;
        if !written.certified {
            writeln!(
                out,
                "No known device CA vouches for the device: whoever checks the statement has to \
                 trust the device by its fingerprint, or needs its certificate (--certificate)."
            )?;
        }
        writeln!(
            out,
            "Check it: kmsctl attest verify {} --device-ca ROOT --nonce {}",
            written.file.display(),
            written.nonce
        )
    })?;
    Ok(Outcome::Good)
}

fn add_certificate(
    statement: &[u8],
    path: &std::path::Path,
    ca: &PublicKey,
) -> Result<Vec<u8>, Failure> {
    let file = CertificateFile::load(path)?;
    file.verify(ca)?;
    let der = file.certificate.to_der(ca, &file.identity)?;
    Ok(with_certificate(statement, &der)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_whole_bytes() {
        assert_eq!(nonce("0001020304050607").unwrap().0, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(nonce(&"fF".repeat(64)).unwrap().0, [255; 64]);
        for bad in
            ["", "00010203040506", "000102030405060", "000102030405060g", "+1020304050607080"]
        {
            assert!(nonce(bad).is_err(), "{bad}");
        }
        assert!(nonce(&"00".repeat(65)).is_err());
        assert!(nonce("ää0102030405060").is_err());
    }
}
