//! Operators' keys in PKCS#11 tokens (version 2.40): generated there, and used only there.

use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use hsm_protocol::domain::Vote;
use hsm_protocol::identity::{PublicKey, Signature};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// `secp256r1` as `CKA_EC_PARAMS` has it: its object identifier in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Length of an uncompressed point.
const POINT: usize = 65;

/// Why a token did not serve.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// What the module said.
    #[error("the PKCS#11 module {module}: {source}")]
    Module {
        /// The module.
        module: PathBuf,
        /// Its answer.
        source: Box<cryptoki::error::Error>,
    },
    /// No token of that label.
    #[error("{module} has no token labelled {label:?}; it has: {found}")]
    NoToken {
        /// The module.
        module: PathBuf,
        /// What was looked for.
        label: String,
        /// The labels that there are.
        found: String,
    },
    /// No P-256 key of that label, or several.
    #[error(
        "the token has {count} P-256 keys labelled {label:?}, not one; make one: kmsctl operator new \
         --pkcs11 MODULE --token LABEL --key-label {label} FILE.pub"
    )]
    NotOneKey {
        /// What was looked for.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// The token's response is not a signature.
    #[error("the token's {0} is not on P-256; use another token")]
    Malformed(&'static str),
}

/// A key in a token.
#[derive(Debug, Clone)]
pub struct TokenPlace {
    /// The module: a shared library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// Label of the key in it.
    pub key: String,
}

/// A session with a token, which ends when it is dropped.
pub struct TokenKey {
    place: TokenPlace,
    session: Session,
    private: ObjectHandle,
    public: PublicKey,
}

impl TokenPlace {
    /// Opens the key.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(&self, pin: &Zeroizing<String>) -> Result<TokenKey, TokenError> {
        let session = self.session(pin, false)?;
        let private = self.find(&session, ObjectClass::PRIVATE_KEY)?;
        let public = self.find(&session, ObjectClass::PUBLIC_KEY)?;
        let public = self.public(&session, public)?;
        Ok(TokenKey { place: self.clone(), session, private, public })
    }

    /// Makes a key in the token, from which it cannot be taken.
    ///
    /// # Errors
    /// [`TokenError`], [`TokenError::NotOneKey`] if there is one of that label already.
    pub fn generate(&self, pin: &Zeroizing<String>) -> Result<PublicKey, TokenError> {
        let session = self.session(pin, true)?;
        let label = Attribute::Label(self.key.clone().into_bytes());
        let there = session.find_objects(std::slice::from_ref(&label));
        let there = there.map_err(|error| self.failed(error))?;
        if !there.is_empty() {
            return Err(TokenError::NotOneKey { label: self.key.clone(), count: there.len() });
        }
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(P256.to_vec()),
            label.clone(),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label,
        ];
        let made = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private);
        let (public, _) = made.map_err(|error| self.failed(error))?;
        self.public(&session, public)
    }

    fn session(&self, pin: &Zeroizing<String>, writes: bool) -> Result<Session, TokenError> {
        let failed = |error| self.failed(error);
        let module = Pkcs11::new(&self.module).map_err(failed)?;
        let flags = CInitializeFlags::OS_LOCKING_OK;
        module.initialize(CInitializeArgs::new(flags)).map_err(failed)?;
        let mut found = Vec::new();
        for slot in module.get_slots_with_initialized_token().map_err(failed)? {
            let label = module.get_token_info(slot).map_err(failed)?.label().trim().to_owned();
            if label == self.token {
                let session = match writes {
                    true => module.open_rw_session(slot),
                    false => module.open_ro_session(slot),
                };
                let session = session.map_err(failed)?;
                let pin = AuthPin::new(pin.as_str().into());
                session.login(UserType::User, Some(&pin)).map_err(failed)?;
                return Ok(session);
            }
            found.push(label);
        }
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let (module, label) = (self.module.clone(), self.token.clone());
        Err(TokenError::NoToken { module, label, found })
    }

    /// The one P-256 key of this class and label.
    fn find(&self, session: &Session, class: ObjectClass) -> Result<ObjectHandle, TokenError> {
        let wanted = [
            Attribute::Class(class),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(P256.to_vec()),
            Attribute::Label(self.key.clone().into_bytes()),
        ];
        let found = session.find_objects(&wanted).map_err(|error| self.failed(error))?;
        match found.as_slice() {
            [one] => Ok(*one),
            more => Err(TokenError::NotOneKey { label: self.key.clone(), count: more.len() }),
        }
    }

    fn public(&self, session: &Session, key: ObjectHandle) -> Result<PublicKey, TokenError> {
        let read = session.get_attributes(key, &[AttributeType::EcPoint]);
        match read.map_err(|error| self.failed(error))?.as_slice() {
            [Attribute::EcPoint(point)] => {
                compressed(point).ok_or(TokenError::Malformed("public key"))
            }
            _ => Err(TokenError::Malformed("public key")),
        }
    }

    fn failed(&self, source: cryptoki::error::Error) -> TokenError {
        TokenError::Module { module: self.module.clone(), source: Box::new(source) }
    }
}

impl TokenKey {
    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs SHA-256 of a message.
    ///
    /// # Errors
    /// [`TokenError`], also if what the token answers does not verify.
    pub fn sign(&self, message: &[u8]) -> Result<Vote, TokenError> {
        let digest = Sha256::digest(message);
        let signed = self.session.sign(&Mechanism::Ecdsa, self.private, &digest);
        let signed = signed.map_err(|error| self.place.failed(error))?;
        let malformed = || TokenError::Malformed("signature");
        let signature = signed.first_chunk().filter(|all| all.len() == signed.len());
        let signature = Signature::from_bytes(signature.ok_or_else(malformed)?);
        signature.verify(&self.public, message).map_err(|_| malformed())?;
        Ok(Vote { operator: self.public.operator_id(), signature })
    }
}

/// The compressed form of `CKA_EC_POINT`: an uncompressed point, in an OCTET STRING or not.
fn compressed(attribute: &[u8]) -> Option<PublicKey> {
    let point = match attribute {
        [0x04, 0x41, point @ ..] if point.len() == POINT => point,
        point => point,
    };
    // Of all forms of SEC 1 2.3.4 only this one; whether it is on the curve is looked at, too.
    if point.len() != POINT || point[0] != 0x04 {
        return None;
    }
    p256::PublicKey::from_sec1_bytes(point).ok().map(|point| PublicKey::from_point(&point))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Where Debian and Ubuntu put SoftHSM2.
    const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

    #[test]
    fn points_in_both_forms_and_nothing_else() {
        let key = host_driver::OperatorKey::generate().public();
        let point = uncompressed(&key);
        assert_eq!(compressed(&point), Some(key));
        assert_eq!(compressed(&[&[0x04, 0x41][..], &point].concat()), Some(key));
        for wrong in [&[][..], &[0x04], &point[1..], &point[..64], &[0x04; 65]] {
            assert_eq!(compressed(wrong), None);
        }
    }

    /// The uncompressed point, by trying both values of y: there is no arithmetic here.
    fn uncompressed(key: &PublicKey) -> Vec<u8> {
        use p256::elliptic_curve::sec1::ToSec1Point;
        key.to_point().unwrap().to_sec1_point(false).as_bytes().to_vec()
    }

    /// With the SoftHSM2 of the machine; said where it is missing. Its configuration is one for the whole
    /// process, so this is one test.
    #[test]
    fn a_key_in_a_token_signs_and_does_not_leave_it() {
        if !Path::new(MODULE).exists() {
            // Not by `eprintln!`, which the test harness captures: what is left out is told in the end.
            let text = "\nSKIPPED token: SoftHSM2 is missing; apt-get install softhsm2";
            let _ = writeln!(std::io::stderr(), "{text}");
            return;
        }
        // In a process of its own, as the module reads its configuration from the environment.
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("softhsm2.conf");
        let tokens = dir.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let text =
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        fs::write(&config, text).unwrap();
        if std::env::var_os("SOFTHSM2_CONF").is_none() {
            let again = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "token::tests::a_key_in_a_token_signs_and_does_not_leave_it"])
                .env("SOFTHSM2_CONF", &config)
                .output()
                .unwrap();
            assert!(again.status.success(), "{again:?}");
            assert!(String::from_utf8_lossy(&again.stdout).contains("1 passed"), "{again:?}");
            return;
        }
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "ada", "--so-pin", "12345678"])
            .args(["--pin", "87654321"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let place = |token: &str, key: &str| TokenPlace {
            module: MODULE.into(),
            token: token.to_owned(),
            key: key.to_owned(),
        };
        let (ada, pin) = (place("ada", "domain"), Zeroizing::new("87654321".to_owned()));
        assert!(matches!(ada.open(&pin), Err(TokenError::NotOneKey { count: 0, .. })));
        let public = ada.generate(&pin).unwrap();
        assert!(matches!(ada.generate(&pin), Err(TokenError::NotOneKey { count: 2, .. })));
        let key = ada.open(&pin).unwrap();
        assert_eq!(key.public(), public);
        let vote = key.sign(b"a change").unwrap();
        assert_eq!(vote.operator, public.operator_id());
        vote.signature.verify(&public, b"a change").unwrap();
        assert!(vote.signature.verify(&public, b"another").is_err());
        let value = key.session.get_attributes(key.private, &[AttributeType::Value]);
        assert!(value.is_err() || value.is_ok_and(|found| found.is_empty()), "the key can be read");
        drop(key);
        let wrong = ada.open(&Zeroizing::new("00000000".to_owned()));
        assert!(matches!(wrong, Err(TokenError::Module { .. })));
        let Err(error) = place("bea", "domain").open(&pin) else { panic!("no such token") };
        assert!(error.to_string().contains("it has: ada"), "{error}");
    }
}
