//! `kmsctl operator` and `kmsctl device-ca`: keys of people, in files encrypted under a passphrase.

use std::path::{Path, PathBuf};

use host_driver::OperatorKey;
use host_driver::attest::DeviceCa;
use host_driver::device::{Device, Options};
use host_driver::endpoint::Endpoint;
use host_driver::recovery::ShareKey;
use hsm_protocol::DomainId;
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::identity::{PublicKey, Signature};
use serde::Serialize;

use super::passphrase::{KeyPassphrase, TokenArguments, new_passphrase, of_file};
use super::{Failure, Outcome, Output};
use kms_base::{durable, hex};
use kms_ceremony::{
    CertificateFile, HolderText, KeyFile, KeyPurpose, PublicText, TokenKey, TokenPlace, fingerprint,
};

/// Keys of operators.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make an operator's key: FILE, encrypted under a passphrase, and its public half in FILE with the
    /// ending .pub. Make it on the machine where it stays; only the .pub leaves. With --pkcs11 the key is
    /// made in a token, which it never leaves, and FILE is its public half.
    New {
        #[command(flatten)]
        new: NewKey,
        #[command(flatten)]
        token: TokenArguments,
    },
    /// Make the key to which an operator's recovery shares of a domain are wrapped: FILE, encrypted under
    /// a passphrase, and the operator's signature over it, in FILE with the ending .holder. Only the
    /// .holder leaves: it goes into `kmsctl domain propose --recovery NUMBER --holder FILE`.
    NewShare(NewShare),
    /// Print the public half of a key, and the fingerprint by which domains and people know it.
    Show(Show),
}

#[derive(Debug, clap::Args)]
pub(super) struct NewShare {
    /// Where to write the share key; no such file may exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The domain, as `kmsctl domain show` names it.
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// File whose first line is the passphrase of the share key, 12 bytes or more. Without it, kmsctl asks
    /// on the terminal.
    #[arg(long, value_name = "FILE")]
    share_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    signer: SignerArguments,
}

/// Keys that vouch for devices.
#[derive(Debug, clap::Subcommand)]
pub(super) enum CaCommand {
    /// Make the key of a device CA: FILE, encrypted under a passphrase, and its public half in FILE with
    /// the ending .pub. Keep FILE offline.
    New(NewKey),
    /// Print the public half of a key, and its fingerprint.
    Show(Show),
    /// Write the CA's own certificate, PEM: the root with which others check statements and devices.
    Root {
        /// The CA's key.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        passphrase: KeyPassphrase,
        /// Where to write the certificate; no such file may exist.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Certify what a device is, after looking at it and comparing its fingerprint.
    Certify {
        /// Line to the device: serial:PATH, tcp:HOST:PORT or unix:PATH.
        #[arg(value_name = "HSM")]
        line: String,
        /// Continue only if it is this device.
        #[arg(long, value_name = "FINGERPRINT")]
        device: String,
        /// The CA's key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        passphrase: KeyPassphrase,
        /// The kind of device.
        #[arg(long, value_enum)]
        kind: Kind,
        /// Where to write the certificate; no such file may exist.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// A microcontroller of its own.
    Hardware,
    /// An emulated machine.
    Emulated,
    /// A part of a daemon.
    InProcess,
}

impl From<Kind> for DeviceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Hardware => Self::Hardware,
            Kind::Emulated => Self::Emulated,
            Kind::InProcess => Self::InProcess,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct NewKey {
    /// Where to write the key; no such file may exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: KeyPassphrase,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The key file, or its .pub file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_file: Option<PathBuf>,
    public: String,
    fingerprint: String,
}

pub(super) fn run(command: &Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::New { new, token } => match token.place() {
            Some(place) => make_in_token(&place, token, &new.file, output),
            None => make(KeyPurpose::Operator, new, output),
        },
        Command::NewShare(new) => make_share(new, output),
        Command::Show(show) => print(KeyPurpose::Operator, show, output),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShareMade {
    file: PathBuf,
    holder_file: PathBuf,
    domain: String,
    operator: String,
    share_key: String,
}

fn make_share(new: &NewShare, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let NewShare { file, domain, share_passphrase_file, signer } = new;
    let id = hex::decode(domain).map(DomainId);
    let id = id.ok_or_else(|| {
        Failure(format!("{domain:?} is not the id of a domain; `kmsctl domain show` prints it"))
    })?;
    let holder_file = file.with_extension("holder");
    for path in [file, &holder_file] {
        if path.exists() {
            return Err(Failure(format!("{} exists and is not replaced", path.display())));
        }
    }
    let signer = signer.open()?;
    let passphrase = match share_passphrase_file {
        Some(path) => of_file(path)?,
        None => new_passphrase(file, "--share-passphrase-file")?,
    };
    let key = OperatorKey::generate();
    let share = ShareKey::from_bytes(&key.to_bytes());
    let share =
        share.ok_or_else(|| Failure("the generated key is invalid; try again".to_owned()))?;
    let operator = signer.public().operator_id();
    // Before anything is written: the token may refuse.
    let holder = share.holder(&id, operator, |message| signer.sign(message))?;
    KeyFile::close(KeyPurpose::Share, &key, &passphrase)?.save(file)?;
    let text = HolderText { domain: id, holder };
    durable::write(&holder_file, format!("{text}\n").as_bytes(), 0o644)?;
    let made = ShareMade {
        file: file.clone(),
        holder_file,
        domain: domain.clone(),
        operator: fingerprint(operator.as_bytes()),
        share_key: fingerprint(share.public().operator_id().as_bytes()),
    };
    output.print(&made, |out, made| {
        writeln!(out, "share key    {} (only its passphrase opens it)", made.file.display())?;
        writeln!(out, "for others   {}", made.holder_file.display())?;
        writeln!(out, "operator     {}", made.operator)?;
        writeln!(out, "fingerprint  {} (of the share key)", made.share_key)
    })?;
    Ok(Outcome::Good)
}

/// The key of an operator who signs.
#[derive(Debug, clap::Args)]
pub(super) struct SignerArguments {
    /// The operator's key.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "pkcs11",
        conflicts_with = "pkcs11"
    )]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: KeyPassphrase,
    #[command(flatten)]
    token: TokenArguments,
}

/// An operator's key, ready to sign.
pub(super) enum Signing {
    /// Out of a file.
    File(OperatorKey),
    /// In a token.
    Token(TokenKey),
}

impl SignerArguments {
    /// Opens it.
    pub(super) fn open(&self) -> Result<Signing, Failure> {
        match (&self.key, self.token.place()) {
            (Some(path), _) => {
                let file = KeyFile::load(path, KeyPurpose::Operator)?;
                Ok(Signing::File(file.open(&self.passphrase.read(path)?, path)?))
            }
            (None, Some(place)) => Ok(Signing::Token(place.open(&self.token.pin(&place)?)?)),
            (None, None) => Err(Failure("name the operator's key: --key FILE".to_owned())),
        }
    }
}

impl Signing {
    /// The public half.
    pub(super) fn public(&self) -> PublicKey {
        match self {
            Self::File(key) => key.public(),
            Self::Token(key) => key.public(),
        }
    }

    /// Signs SHA-256 of a message.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, Failure> {
        Ok(match self {
            Self::File(key) => key.sign(message)?.signature,
            Self::Token(key) => key.sign(message)?.signature,
        })
    }
}

pub(super) fn run_ca(command: &CaCommand, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        CaCommand::New(new) => make(KeyPurpose::DeviceCa, new, output),
        CaCommand::Show(show) => print(KeyPurpose::DeviceCa, show, output),
        CaCommand::Root { file, passphrase, output: path } => {
            let key = KeyFile::load(file, KeyPurpose::DeviceCa)?;
            let ca = DeviceCa::new(key.open(&passphrase.read(file)?, file)?);
            durable::write_new(path, ca.root_pem()?.as_bytes())
                .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))?;
            shown(PublicText { purpose: KeyPurpose::DeviceCa, key: ca.public() }, None, output)
        }
        CaCommand::Certify { line, device, key, passphrase, kind, output: path } => {
            let Endpoint::Line(found) = line.parse()? else {
                return Err(Failure(format!(
                    "{line} is a device within a daemon, and no device CA should vouch for it"
                )));
            };
            let reached = Device::open(&*found.connector(), None, Options::default())?;
            let id = reached.id().to_string();
            if !device.eq_ignore_ascii_case(&id) {
                return Err(Failure(format!(
                    "{line} leads to device {id}, not to {device}; nothing was certified"
                )));
            }
            let file = KeyFile::load(key, KeyPurpose::DeviceCa)?;
            let ca = file.open(&passphrase.read(key)?, key)?;
            let made = CertificateFile::certify(&ca, reached.identity(), (*kind).into())?;
            made.save(path)?;
            let told = Certified { device: id, kind: (*kind).into(), file: path.clone() };
            output.print(&told, |out, told| {
                writeln!(out, "device {} is certified as {:?}", told.device, told.kind)?;
                writeln!(out, "  {}", told.file.display())
            })?;
            Ok(Outcome::Good)
        }
    }
}

#[derive(Serialize)]
struct Certified {
    device: String,
    kind: DeviceKind,
    file: PathBuf,
}

fn make(
    purpose: KeyPurpose,
    NewKey { file, passphrase }: &NewKey,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let public_file = file.with_extension("pub");
    for path in [file, &public_file] {
        if path.exists() {
            return Err(Failure(format!("{} exists and is not replaced", path.display())));
        }
    }
    let passphrase = passphrase.read_new(file)?;
    let key = OperatorKey::generate();
    KeyFile::close(purpose, &key, &passphrase)?.save(file)?;
    let public = PublicText { purpose, key: key.public() };
    durable::write(&public_file, format!("{public}\n").as_bytes(), 0o644)?;
    shown(public, Some((file.clone(), public_file)), output)
}

fn make_in_token(
    place: &TokenPlace,
    token: &TokenArguments,
    file: &Path,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    if file.exists() {
        return Err(Failure(format!("{} exists and is not replaced", file.display())));
    }
    let key = place.generate(&token.pin(place)?)?;
    let public = PublicText { purpose: KeyPurpose::Operator, key };
    durable::write(file, format!("{public}\n").as_bytes(), 0o644)?;
    shown(public, None, output)
}

fn print(
    purpose: KeyPurpose,
    Show { file }: &Show,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let public = match read_public(file, purpose) {
        Ok(public) => public,
        Err(failure) => match KeyFile::load(file, purpose) {
            Ok(key) => PublicText { purpose, key: key.public() },
            Err(_) => return Err(failure),
        },
    };
    shown(public, None, output)
}

/// The public key in a `.pub` file.
pub(super) fn read_public(path: &Path, purpose: KeyPurpose) -> Result<PublicText, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
    let public: PublicText =
        text.parse().map_err(|error| Failure(format!("{}: {error}", path.display())))?;
    match public.purpose == purpose {
        true => Ok(public),
        false => Err(Failure(format!("{} is a key for something else", path.display()))),
    }
}

fn shown(
    public: PublicText,
    files: Option<(PathBuf, PathBuf)>,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let (file, public_file) = files.unzip();
    let id = public.key.operator_id();
    let shown = Shown {
        file,
        public_file,
        public: public.to_string(),
        fingerprint: fingerprint(id.as_bytes()),
    };
    output.print(&shown, |out, shown| {
        if let (Some(file), Some(public)) = (&shown.file, &shown.public_file) {
            writeln!(out, "key          {} (only its passphrase opens it)", file.display())?;
            writeln!(out, "public half  {}", public.display())?;
        }
        writeln!(out, "{}", shown.public)?;
        writeln!(out, "fingerprint  {}", shown.fingerprint)
    })?;
    Ok(Outcome::Good)
}
