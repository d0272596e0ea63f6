//! Key pairs, verification and key agreement on the curves of SP 800-186.

use hsm_core::algorithm::{Message, PublicKeyBuf};
use hsm_core::secret::SecretBuf;
use hsm_protocol::ErrorCode;

use super::{Outcome, Set, Subject, Vector, der};

pub(super) fn check(subject: &Subject, set: &Set, vector: &Vector) -> Outcome {
    let (entry, name) = (subject.entry(set.spec()), vector.name());
    let public = der::public(entry, &vector.bytes("point"));
    let secret = || SecretBuf::copy_from(&vector.bytes("secret")).expect("short enough");
    match set.kind() {
        "keyPair" => {
            let mut generated = PublicKeyBuf::new();
            entry.public_key(&secret(), &mut generated).expect(&name);
            assert_eq!(generated.as_bytes(), public.as_bytes(), "{name}");
        }
        "verify" => {
            let algorithm = entry.spec().row().expect("a known spec").signing_algorithms[0];
            let message = vector.bytes("message");
            let signature = der::ecdsa_signature(&vector.bytes("r"), &vector.bytes("s"));
            let verified = entry.verify(&public, algorithm, Message::Raw(&message), &signature);
            let refused = Err(ErrorCode::SIGNATURE_INVALID);
            assert_eq!(verified, if vector.is_valid() { Ok(()) } else { refused }, "{name}");
        }
        _ => {
            let mut shared = SecretBuf::new();
            entry.agree(&secret(), public.as_bytes(), &mut shared).expect(&name);
            assert_eq!(shared.expose(), vector.bytes("shared"), "{name}");
        }
    }
    Outcome::Passed
}
