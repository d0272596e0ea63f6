//! The certificate that the daemon makes for itself.
//!
//! It is issued by an authority of this data directory, which can vouch only for these names and those below
//! them (RFC 5280 section 4.2.1.10). Clients trust the authority, so the certificate can be renewed without
//! their knowledge. `certificate.pem` is the authority's, `served.pem` the one that is served.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::x509::{self, Facts};
use super::{Pair, TlsError};
use kms_base::{durable, hex};

/// How long a certificate is good: no longer than what browsers take (398 days).
pub(super) const LIFETIME: Duration = Duration::from_secs(397 * 24 * 60 * 60);
/// How long before its end it is renewed.
pub(super) const RENEWAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long its authority is good.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// How long before it was made it begins: clocks of clients are slow.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// In the subject of every certificate that was made here.
const MARK: &str = "Strongroom kmsd";
/// In that of an authority.
const AUTHORITY: &str = "Strongroom kmsd authority";

/// The daemon's own certificate.
#[derive(Debug)]
pub(super) struct Own {
    dir: PathBuf,
    /// Sorted, each once.
    names: Vec<String>,
}

/// What became of the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It is good still.
    Kept,
    /// There is a new one, of the same authority: clients need nothing.
    Renewed,
    /// There is a new one of a new authority: clients need the file.
    New(Why),
}

/// Why clients need a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// There was none.
    Missing,
    /// It was for other names.
    Names,
    /// It has no authority, as those of earlier versions, or the authority nears its end.
    Authority,
    /// Certificate and keys do not fit.
    Broken,
}

/// Whose certificate it is to be.
enum Look {
    Good,
    /// A new one of this authority.
    Renew(KeyPair),
    Remake(Why),
}

impl Own {
    /// The certificate in `DIR/tls`, for `localhost` and these names.
    pub(super) fn new(data: &Path, names: impl IntoIterator<Item = String>) -> Self {
        let always = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut names: Vec<String> = always.into_iter().chain(names).collect();
        names.sort();
        names.dedup();
        Self { dir: data.join("tls"), names }
    }

    /// What is served.
    pub(super) fn pair(&self) -> Pair {
        Pair { certificate: self.dir.join("served.pem"), key: self.dir.join("key.pem") }
    }

    /// What clients trust.
    pub(super) fn authority_path(&self) -> PathBuf {
        self.dir.join("certificate.pem")
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Makes a certificate if there is none that is good for these names and for a while.
    pub(super) fn ensure(&self, now: SystemTime) -> Result<Made, TlsError> {
        match self.look(now)? {
            Look::Good => Ok(Made::Kept),
            Look::Renew(authority) => {
                self.issue(&authority, now)?;
                Ok(Made::Renewed)
            }
            Look::Remake(why) => {
                durable::create_private_dir(&self.dir).map_err(file(&self.dir))?;
                let authority = KeyPair::generate()?;
                let pem = self.authority(&authority, now).self_signed(&authority)?.pem();
                write_key(&self.dir.join("ca-key.pem"), &authority)?;
                let path = self.authority_path();
                durable::write(&path, pem.as_bytes(), 0o644).map_err(file(&path))?;
                self.issue(&authority, now)?;
                Ok(Made::New(why))
            }
        }
    }

    /// What is there.
    fn look(&self, now: SystemTime) -> Result<Look, TlsError> {
        let path = self.authority_path();
        if !path.try_exists().map_err(file(&path))? {
            return Ok(Look::Remake(Why::Missing));
        }
        let authority = super::chain(&path).ok().and_then(|chain| x509::read(chain.first()?));
        let is_ours = |facts: &Facts| contains(&facts.subject, MARK.as_bytes());
        let Some(authority) = authority.filter(is_ours) else {
            return Err(TlsError::NotOurs(path));
        };
        let outlives = authority.not_after >= now + LIFETIME;
        let is_authority = contains(&authority.subject, AUTHORITY.as_bytes());
        let is_of_ours = authority.not_after <= authority.not_before + AUTHORITY_LIFETIME;
        if !outlives || !is_authority || !is_of_ours {
            return Ok(Look::Remake(Why::Authority));
        }
        let Some(key) = self.authority_key(&authority)? else {
            return Ok(Look::Remake(Why::Broken));
        };
        let served = super::chain(&self.pair().certificate).ok();
        let Some(served) = served.and_then(|chain| x509::read(chain.first()?)) else {
            // It is not known for which names its authority can vouch.
            return Ok(Look::Remake(Why::Broken));
        };
        if served.names != self.names {
            return Ok(Look::Remake(Why::Names));
        }
        let is_sound = super::load(&self.pair()).is_ok();
        let is_current = served.not_before <= now && now + RENEWAL <= served.not_after;
        Ok(if is_sound && is_current { Look::Good } else { Look::Renew(key) })
    }

    /// The authority's key, if it is there and fits.
    fn authority_key(&self, authority: &Facts) -> Result<Option<KeyPair>, TlsError> {
        let path = self.dir.join("ca-key.pem");
        let pem = match fs::read_to_string(&path).map(Zeroizing::new) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file(&path)(error)),
        };
        let key = KeyPair::from_pem(&pem).ok();
        Ok(key.filter(|key| key.subject_public_key_info() == authority.public_key))
    }

    /// Makes and stores a certificate and its key.
    fn issue(&self, authority: &KeyPair, now: SystemTime) -> Result<(), TlsError> {
        let mut parameters = CertificateParams::new(self.names.clone())?;
        parameters.distinguished_name.push(DnType::CommonName, MARK);
        parameters.not_before = (now - BACKDATED).into();
        parameters.not_after = (now - BACKDATED + LIFETIME).into();
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let issuer = Issuer::new(self.authority(authority, now), authority);
        let made = parameters.signed_by(&key, &issuer)?;
        let Pair { certificate: path, key: key_path } = self.pair();
        // The certificate last: if that fails, key and certificate do not fit, and are made anew.
        write_key(&key_path, &key)?;
        durable::write(&path, made.pem().as_bytes(), 0o644).map_err(file(&path))
    }

    /// What the authority with this key is.
    fn authority(&self, key: &KeyPair, now: SystemTime) -> CertificateParams {
        let subtree = |name: &String| match name.parse::<IpAddr>() {
            Ok(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits))
            }
            Err(_) => GeneralSubtree::DnsName(name.clone()),
        };
        let id = hex::encode(&Sha256::digest(key.subject_public_key_info())[..4]);
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, format!("{AUTHORITY} {id}"));
        parameters.not_before = (now - BACKDATED).into();
        parameters.not_after = (now - BACKDATED + AUTHORITY_LIFETIME).into();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.name_constraints = Some(NameConstraints {
            permitted_subtrees: self.names.iter().map(subtree).collect(),
            excluded_subtrees: Vec::new(),
        });
        parameters
    }
}

fn write_key(path: &Path, key: &KeyPair) -> Result<(), TlsError> {
    let pem = Zeroizing::new(key.serialize_pem());
    durable::write(path, pem.as_bytes(), 0o600).map_err(file(path))
}

fn file(path: &Path) -> impl Fn(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { path: path.clone(), source }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
