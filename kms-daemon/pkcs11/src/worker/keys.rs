//! Keys in the token: AES keys of 256 bits, which are found by `CKA_ID` and used with AES-GCM (SP 800-38D).

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::open::Opened;
use crate::Fault;
use crate::message::{Answer, MAX_DATA, MAX_RANDOM, Reply, Request};
use crate::reply::EXPONENT;

/// Length of a key, in bytes.
const KEY: u64 = 32;
/// Length of a tag, in bytes.
const TAG: usize = 16;
/// Length of a tag, in bits.
const TAG_BITS: u64 = 128;
/// Length of the modulus that keys are moved under, in bits: 128 bits of security (SP 800-57 part 1, table 2).
const MODULUS: u64 = 3072;
/// Most handles that are remembered.
const MAX_FOUND: usize = 4096;

impl Opened {
    pub(super) fn use_keys(&mut self, request: Request) -> Answer {
        match request {
            Request::MakeKey { key, label, extractable } => {
                if self.look_for(&key)?.is_some() {
                    return Err(Fault::WrongKey);
                }
                let mut template = template(&key, &label, extractable);
                template.push(Attribute::ValueLen(Ulong::from(KEY)));
                let made = self.session()?.generate_key(&Mechanism::AesKeyGen, &template)?;
                self.remember(key, made);
                Ok(Reply::Done)
            }
            Request::Transport => self.transport(),
            Request::Export { key, modulus, exponent } => {
                let key = self.key(&key)?;
                export(self.session()?, key, (modulus, exponent))
            }
            Request::Import { key, label, wrapped } => {
                if self.look_for(&key)?.is_some() {
                    return Err(Fault::WrongKey);
                }
                let (_, private) = self.transport.ok_or(Fault::NoKey)?;
                let template = template(&key, &label, false);
                let session = self.session()?;
                let made = with_hash(|hash| {
                    session.unwrap_key(&oaep(hash), private, &wrapped, &template)
                })?;
                self.remember(key, made);
                Ok(Reply::Done)
            }
            Request::Close { key } => {
                let handle = self.key(&key)?;
                self.session()?.update_attributes(handle, &[Attribute::Extractable(false)])?;
                Ok(Reply::Done)
            }
            Request::Check { key } => {
                let handle = self.key(&key)?;
                check(self.session()?, handle)?;
                Ok(Reply::Done)
            }
            Request::Encrypt { key, iv, aad, plaintext } => {
                bounded(plaintext.len())?;
                self.retry(&key, |session, key| encrypt(session, key, iv, &aad, &plaintext))
            }
            Request::Decrypt { key, iv, aad, ciphertext } => {
                bounded(ciphertext.len().saturating_sub(TAG))?;
                self.retry(&key, |session, key| decrypt(session, key, iv, &aad, &ciphertext))
            }
            Request::Random { length } => {
                if !(1..=MAX_RANDOM).contains(&length) {
                    return Err(Fault::Malformed);
                }
                let made = self.session()?.generate_random_vec(u32::from(length))?;
                Ok(Reply::Bytes(made))
            }
            Request::Destroy { key } => {
                self.found.remove(&key);
                let session = self.session()?;
                for handle in session.find_objects(&[Attribute::Id(key)])? {
                    session.destroy_object(handle)?;
                }
                Ok(Reply::Done)
            }
            Request::Open { .. } | Request::Login { .. } | Request::Probe => Err(Fault::Malformed),
        }
    }

    /// Uses a key. A handle may have become another object's, or none, since it was found.
    fn retry(&mut self, id: &[u8], run: impl Fn(&Session, ObjectHandle) -> Answer) -> Answer {
        let key = self.key(id)?;
        match run(self.session()?, key) {
            Err(Fault::NoKey) => {
                self.found.remove(id);
                let key = self.key(id)?;
                run(self.session()?, key)
            }
            answer => answer,
        }
    }

    fn remember(&mut self, id: Vec<u8>, handle: ObjectHandle) {
        if self.found.len() >= MAX_FOUND {
            self.found.clear();
        }
        self.found.insert(id, handle);
    }

    fn look_for(&self, id: &[u8]) -> Result<Option<ObjectHandle>, Fault> {
        let wanted = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Id(id.to_vec())];
        match self.session()?.find_objects(&wanted)?[..] {
            [] => Ok(None),
            [key] => Ok(Some(key)),
            _ => Err(Fault::WrongKey),
        }
    }

    /// Finds a key, which has to be one that cannot leave the token, or is on its way to others just now.
    fn key(&mut self, id: &[u8]) -> Result<ObjectHandle, Fault> {
        if let Some(handle) = self.found.get(id) {
            return Ok(*handle);
        }
        let handle = self.look_for(id)?.ok_or(Fault::NoKey)?;
        check(self.session()?, handle)?;
        self.remember(id.to_vec(), handle);
        Ok(handle)
    }

    /// The public half of a key pair that is made once in a session, and ends with it.
    fn transport(&mut self) -> Answer {
        if self.transport.is_none() {
            let public = [
                Attribute::Token(false),
                Attribute::ModulusBits(Ulong::from(MODULUS)),
                Attribute::PublicExponent(EXPONENT.to_vec()),
                Attribute::Wrap(true),
            ];
            let private = [
                Attribute::Token(false),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Unwrap(true),
            ];
            let session = self.session()?;
            let mechanism = Mechanism::RsaPkcsKeyPairGen;
            self.transport = Some(session.generate_key_pair(&mechanism, &public, &private)?);
        }
        let (public, _) = self.transport.ok_or(Fault::NoKey)?;
        let wanted = [AttributeType::Modulus, AttributeType::PublicExponent];
        let found = self.session()?.get_attributes(public, &wanted)?;
        match <[Attribute; 2]>::try_from(found) {
            Ok([Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)]) => {
                Ok(Reply::Public { modulus, exponent })
            }
            _ => Err(Fault::Malformed),
        }
    }
}

/// What a key is in its token.
fn template(id: &[u8], label: &str, extractable: bool) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ]
}

/// Checks that a key is one that [`template`] describes, and cannot be taken from the token.
fn check(session: &Session, key: ObjectHandle) -> Result<(), Fault> {
    let wanted = [
        AttributeType::Class,
        AttributeType::KeyType,
        AttributeType::Token,
        AttributeType::Private,
        AttributeType::Sensitive,
        AttributeType::Extractable,
    ];
    let found = session.get_attributes(key, &wanted)?;
    let good = |attribute: &Attribute| match attribute {
        Attribute::Class(class) => *class == ObjectClass::SECRET_KEY,
        Attribute::KeyType(kind) => *kind == KeyType::AES,
        Attribute::Token(it) | Attribute::Private(it) | Attribute::Sensitive(it) => *it,
        Attribute::Extractable(it) => !it,
        _ => false,
    };
    // Of keys that were unwrapped, SoftHSM2 says that they have no bytes. These have to open what the first token
    // has encrypted, whose key has a length.
    let lengths = session.get_attributes(key, &[AttributeType::ValueLen])?;
    let long = |attribute: &Attribute| match attribute {
        Attribute::ValueLen(length) => [0, KEY].contains(&u64::from(*length)),
        _ => false,
    };
    match found.len() == wanted.len() && found.iter().all(good) && lengths.iter().all(long) {
        true => Ok(()),
        false => Err(Fault::WrongKey),
    }
}

fn bounded(length: usize) -> Result<(), Fault> {
    if length <= MAX_DATA { Ok(()) } else { Err(Fault::Malformed) }
}

fn encrypt(
    session: &Session,
    key: ObjectHandle,
    mut iv: [u8; 12],
    aad: &[u8],
    plaintext: &[u8],
) -> Answer {
    let ciphertext = {
        let parameters = GcmParams::new(&mut iv, aad, Ulong::from(TAG_BITS))?;
        session.encrypt(&Mechanism::AesGcm(parameters), key, plaintext)?
    };
    match ciphertext.len() == plaintext.len() + TAG {
        // Some tokens choose the IV themselves, and write it where ours was.
        true => Ok(Reply::Sealed { iv, ciphertext }),
        false => Err(Fault::Malformed),
    }
}

fn decrypt(
    session: &Session,
    key: ObjectHandle,
    mut iv: [u8; 12],
    aad: &[u8],
    ciphertext: &[u8],
) -> Answer {
    let parameters = GcmParams::new(&mut iv, aad, Ulong::from(TAG_BITS))?;
    match session.decrypt(&Mechanism::AesGcm(parameters), key, ciphertext) {
        Ok(plaintext) if plaintext.len() + TAG == ciphertext.len() => Ok(Reply::Bytes(plaintext)),
        Ok(_) => Err(Fault::Malformed),
        // Not every token has a return value of its own for a wrong tag, or for a wrong length. If the key works, it
        // was that: whoever sends wrong ciphertexts must not make the token look lost.
        Err(error) => match Fault::from(error) {
            fault @ (Fault::NoKey | Fault::NoToken) => Err(fault),
            _ if works(session, key) => Err(Fault::Ciphertext),
            fault => Err(fault),
        },
    }
}

/// Whether a key opens what it has encrypted.
fn works(session: &Session, key: ObjectHandle) -> bool {
    let (plaintext, mut iv) = ([0; 16], [0; 12]);
    if getrandom::fill(&mut iv).is_err() {
        return false;
    }
    let Ok(Reply::Sealed { mut iv, ciphertext }) = encrypt(session, key, iv, &[], &plaintext)
    else {
        return false;
    };
    let Ok(parameters) = GcmParams::new(&mut iv, &[], Ulong::from(TAG_BITS)) else { return false };
    let opened = session.decrypt(&Mechanism::AesGcm(parameters), key, &ciphertext);
    opened.is_ok_and(|opened| opened == plaintext)
}

/// Encrypts a key under the public key of another token (PKCS #11 2.40, 5.14.3).
fn export(session: &Session, key: ObjectHandle, (modulus, exponent): (Vec<u8>, Vec<u8>)) -> Answer {
    let public = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Wrap(true),
        Attribute::Modulus(modulus),
        Attribute::PublicExponent(exponent),
    ];
    let public = session.create_object(&public)?;
    let wrapped = with_hash(|hash| session.wrap_key(&oaep(hash), public, key));
    session.destroy_object(public)?;
    Ok(Reply::Bytes(wrapped?))
}

/// RSAES-OAEP (RFC 8017, 7.1) with a hash function.
fn oaep(hash: MechanismType) -> Mechanism<'static> {
    let mgf = match hash {
        MechanismType::SHA256 => PkcsMgfType::MGF1_SHA256,
        _ => PkcsMgfType::MGF1_SHA1,
    };
    Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty()))
}

/// Runs with SHA-256, or with SHA-1 at tokens that do not have OAEP with anything else. OAEP does not need its hash
/// function to resist collisions. Both tokens have to be of the same mind, else the import fails.
fn with_hash<T>(
    run: impl Fn(MechanismType) -> cryptoki::error::Result<T>,
) -> cryptoki::error::Result<T> {
    match run(MechanismType::SHA256) {
        Err(Error::Pkcs11(
            RvError::ArgumentsBad | RvError::MechanismParamInvalid | RvError::MechanismInvalid,
            _,
        )) => run(MechanismType::SHA1),
        other => other,
    }
}
