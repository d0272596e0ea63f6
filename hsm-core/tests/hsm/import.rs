//! Import: what was wrapped outside becomes a key, once the token, the key and the time are right.

use aes_kw::KwpAes256;
use hsm_core::algorithm::PORTABLE;
use hsm_core::secret::SecretBuf;
use hsm_core::testing::{MemoryPlatform, TestRng};
use hsm_protocol::command::import::{ImportKey, ParametersForImport};
use hsm_protocol::command::key::{ExportPublicKey, NewKey};
use hsm_protocol::key_spec::{KeySpec, KeySpecRow, WrappingAlgorithm};
use hsm_protocol::token::KeyToken;
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, ErrorCode, KeyId};
use rsa::pkcs8::DecodePublicKey;
use rsa::{Oaep, PublicKey};

use crate::rig::{KEY_ID, Operators, Rig, Token};

const EXPIRES: u64 = 1_800_000_000_000;
const NOW: u64 = EXPIRES - 1;

/// An import token and its public key.
struct Parameters {
    public: PublicKey,
    token: Vec<u8>,
}

fn parameters(
    rig: &mut Rig,
    pair: &[u8],
    row: &KeySpecRow,
    algorithm: WrappingAlgorithm,
) -> Parameters {
    let request = ParametersForImport {
        id: KEY_ID,
        spec: row.spec,
        usage: row.usages[0],
        algorithm,
        expires_ms: EXPIRES,
        pair: Bytes(pair),
    };
    let reply = rig.call(&request);
    let answer = reply.ok::<ParametersForImport>();
    let public = PublicKey::from_public_key_der(&answer.public).unwrap();
    Parameters { public, token: answer.token.to_vec() }
}

impl Parameters {
    fn wrap(&self, algorithm: WrappingAlgorithm, material: &[u8]) -> Vec<u8> {
        let mut rng = TestRng(5);
        let mut oaep = |sha1, plain: &[u8]| match sha1 {
            true => self.public.encrypt(&mut rng, Oaep::<sha1::Sha1>::new(), plain).unwrap(),
            false => self.public.encrypt(&mut rng, Oaep::<sha2::Sha256>::new(), plain).unwrap(),
        };
        let sha1 = algorithm.aws_name().unwrap().ends_with("SHA_1");
        if algorithm.0 <= 2 {
            return oaep(sha1, material);
        }
        let kek = [0x17; 32];
        let mut wrapped = vec![0; material.len().next_multiple_of(8) + 8];
        let kwp = <KwpAes256 as aes_kw::KeyInit>::new(&kek.into());
        let body = kwp.wrap_key(material, &mut wrapped).unwrap();
        [oaep(sha1, &kek), body.to_vec()].concat()
    }
}

fn import(rig: &mut Rig, token: &[u8], wrapped: &[u8]) -> crate::rig::Reply {
    let (token, wrapped) = (Bytes(token), Bytes(wrapped));
    rig.call(&ImportKey { id: KEY_ID, now_ms: NOW, token, wrapped })
}

/// Material of a spec as its owner has it, with the public key that it must give.
fn material(row: &KeySpecRow) -> (Vec<u8>, Option<Vec<u8>>) {
    let entry = PORTABLE.iter().find(|entry| entry.spec() == row.spec).unwrap();
    let mut secret = SecretBuf::new();
    entry.generate(&mut TestRng(9), &mut secret).unwrap();
    if row.public_size == 0 {
        return (secret.expose().to_vec(), None);
    }
    let mut der = vec![0; 4096];
    let length = entry.private_key(&secret, &mut der).unwrap();
    der.truncate(length);
    let mut public = hsm_core::algorithm::PublicKeyBuf::new();
    entry.public_key(&secret, &mut public).unwrap();
    (der, Some(public.as_bytes().to_vec()))
}

#[test]
fn material_of_every_importable_spec_wrapped_every_way() {
    let mut rig = Rig::operational();
    let pair = rig.prepared(KeySpec::RSA_2048, PairPurpose::IMPORT);
    let rows = ["SYMMETRIC_DEFAULT", "HMAC_224", "HMAC_512", "ECC_NIST_P256", "ECC_NIST_P521"]
        .into_iter()
        .chain(["ECC_SECG_P256K1", "RSA_2048"])
        .map(|name| KeySpec::from_aws_name(name).and_then(KeySpec::row).unwrap());
    for row in rows {
        let (material, public) = material(row);
        for &(algorithm, name) in WrappingAlgorithm::ALL {
            let direct = algorithm.0 <= 2;
            if direct && material.len() > 190 {
                continue; // more than RSAES-OAEP of a 2048-bit key takes
            }
            let parameters = parameters(&mut rig, &pair, row, algorithm);
            let wrapped = parameters.wrap(algorithm, &material);
            let reply = import(&mut rig, &parameters.token, &wrapped);
            assert_eq!(reply.head.status, None, "{:?} {name}", row.spec);
            let NewKey { material: id, token } = reply.ok::<ImportKey>();
            let read = KeyToken::parse(&token).unwrap().attributes;
            assert_eq!((read.material, read.origin.aws_name()), (id, Some("EXTERNAL")));
            if let Some(public) = &public {
                let token = Token { id: KEY_ID, bytes: token.to_vec() };
                let reply = rig.call(&ExportPublicKey { key: token.key() });
                assert_eq!(reply.ok::<ExportPublicKey>().spki.0, &public[..]);
            }
            // The same material has the same id.
            let again = import(&mut rig, &parameters.token, &wrapped);
            assert_eq!(again.ok::<ImportKey>().material, id);

            let mut damaged = wrapped.clone();
            *damaged.last_mut().unwrap() ^= 1;
            let reply = import(&mut rig, &parameters.token, &damaged);
            assert_eq!(reply.error(), ErrorCode::CIPHERTEXT_INVALID, "{name}");
            let reply = import(&mut rig, &parameters.token, &wrapped[1..]);
            assert_eq!(reply.error(), ErrorCode::CIPHERTEXT_INVALID, "{name}");
        }
    }
}

#[test]
fn material_that_does_not_fit_the_key() {
    let mut rig = Rig::operational();
    let pair = rig.prepared(KeySpec::RSA_2048, PairPurpose::IMPORT);
    let algorithm = WrappingAlgorithm::RSA_AES_KEY_WRAP_SHA_256;
    let p256 = KeySpec::ECC_NIST_P256.row().unwrap();
    let (p256_key, _) = material(p256);
    for (spec, material) in [
        (KeySpec::SYMMETRIC_DEFAULT, vec![1; 31]),
        (KeySpec::SYMMETRIC_DEFAULT, p256_key.clone()),
        (KeySpec::HMAC_384, vec![1; 47]),
        (KeySpec::ECC_NIST_P256, vec![1; 32]),
        (KeySpec::ECC_NIST_P384, p256_key.clone()),
        (KeySpec::ECC_SECG_P256K1, p256_key.clone()),
        (KeySpec::RSA_2048, p256_key.clone()),
        (KeySpec::ECC_NIST_P256, [&p256_key[..], &[0]].concat()),
    ] {
        let parameters = parameters(&mut rig, &pair, spec.row().unwrap(), algorithm);
        let wrapped = parameters.wrap(algorithm, &material);
        let reply = import(&mut rig, &parameters.token, &wrapped);
        assert_eq!(reply.error(), ErrorCode::KEY_MATERIAL_INVALID, "{spec:?}");
    }
}

#[test]
fn the_token_is_bound_to_key_domain_and_time() {
    let mut rig = Rig::operational();
    let pair = rig.prepared(KeySpec::RSA_2048, PairPurpose::IMPORT);
    let row = KeySpec::SYMMETRIC_DEFAULT.row().unwrap();
    let algorithm = WrappingAlgorithm::RSAES_OAEP_SHA_256;
    let parameters = parameters(&mut rig, &pair, row, algorithm);
    let wrapped = parameters.wrap(algorithm, &[7; 32]);
    let (token, body) = (Bytes(&parameters.token), Bytes(&wrapped));

    let late = ImportKey { id: KEY_ID, now_ms: EXPIRES, token, wrapped: body };
    assert_eq!(rig.call(&late).error(), ErrorCode::TOKEN_EXPIRED);
    let id = KeyId { multi_region: true, ..KEY_ID };
    let other = ImportKey { id, now_ms: NOW, token, wrapped: body };
    assert_eq!(rig.call(&other).error(), ErrorCode::KEY_MISMATCH);
    for bit in 0..parameters.token.len() * 8 {
        let mut bad = parameters.token.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0 => ErrorCode::TOKEN_MALFORMED,
            1..=16 => ErrorCode::TOKEN_DOMAIN,
            21 if bit % 8 != 0 => ErrorCode::TOKEN_MALFORMED, // the flag byte of the key id
            _ => ErrorCode::TOKEN_INVALID,
        };
        assert_eq!(import(&mut rig, &bad, &wrapped).error(), expected, "bit {bit}");
    }
    import(&mut rig, &parameters.token, &wrapped).ok::<ImportKey>();

    let platform = MemoryPlatform::with_seed(2);
    let mut elsewhere = Rig::founded(platform, 200, Operators::development());
    let reply = import(&mut elsewhere, &parameters.token, &wrapped);
    assert_eq!(reply.error(), ErrorCode::TOKEN_DOMAIN);
}
