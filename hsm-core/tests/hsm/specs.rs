//! The life of a key of every spec, through every command that its usages allow.

use hsm_core::algorithm::PORTABLE;
use hsm_protocol::command::agree::{
    Decapsulate, DeriveSharedSecret, Encapsulate, Encapsulation, SharedSecret,
};
use hsm_protocol::command::cipher::{
    DataKeyPair, Decrypt, DecryptPrivate, EncryptPublic, GenerateDataKeyPair,
    GenerateDataKeyPairWithoutPlaintext, ReEncryptAcross, Side,
};
use hsm_protocol::command::key::{ExportPublicKey, GenerateKey, PrepareKeyPair};
use hsm_protocol::command::mac::{GenerateMac, VerifyMac};
use hsm_protocol::command::sign::{Sign, Verify};
use hsm_protocol::key_spec::{
    EncryptionAlgorithm, KEY_SPECS, KeySpec, KeySpecRow, KeyUsage, MessageType, SigningAlgorithm,
};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, ErrorCode};

use crate::cipher::encrypt;
use crate::rig::{KEY_ID, Rig, Token};

const MESSAGE: Bytes<'_> = Bytes(b"what is to be signed");

/// The specs of the registry. The two larger RSA sizes differ from the smallest in nothing that
/// is tested here, but take a minute to find.
fn specs() -> impl Iterator<Item = &'static KeySpecRow> {
    let left_out = [KeySpec::RSA_3072, KeySpec::RSA_4096];
    let registry = PORTABLE.iter().map(|entry| entry.spec());
    registry.filter(move |spec| !left_out.contains(spec)).map(|spec| spec.row().unwrap())
}

/// What a message of a type is for an algorithm; none if it does not take the type.
fn sample(algorithm: SigningAlgorithm, message_type: MessageType) -> Option<Vec<u8>> {
    let name = algorithm.aws_name().unwrap();
    let (ed25519, ph, ml_dsa) =
        (name.starts_with("ED25519"), name.contains("_PH_"), name.starts_with("ML_DSA"));
    match message_type {
        MessageType::RAW => (!ph).then(|| MESSAGE.to_vec()),
        MessageType::EXTERNAL_MU => ml_dsa.then(|| vec![7; 64]),
        _ if ml_dsa || (ed25519 && !ph) => None,
        _ => Some(vec![7; name[name.len() - 3..].parse::<usize>().unwrap() / 8]),
    }
}

#[test]
fn the_registry_has_every_spec_once() {
    let mut registry: Vec<KeySpec> = PORTABLE.iter().map(|entry| entry.spec()).collect();
    let mut table: Vec<KeySpec> = KEY_SPECS.iter().map(|row| row.spec).collect();
    registry.sort();
    table.sort();
    assert_eq!(registry, table);
}

#[test]
fn public_keys_are_as_long_as_the_table_says() {
    let mut rig = Rig::operational();
    for row in specs() {
        for &usage in row.usages {
            let token = rig.key(row.spec, usage);
            let reply = rig.call(&ExportPublicKey { key: token.key() });
            match row.public_size {
                0 => assert_eq!(reply.error(), ErrorCode::USAGE_DENIED, "{:?}", row.spec),
                size => assert_eq!(reply.ok::<ExportPublicKey>().spki.len(), size),
            }
            let approved = row.spec != KeySpec::ECC_SECG_P256K1;
            assert_eq!(reply.head.approved, approved, "{:?}", row.spec);
        }
    }
}

#[test]
fn every_signing_algorithm_takes_its_message_types_and_no_other() {
    let mut rig = Rig::operational();
    let all = SigningAlgorithm::ALL.iter().map(|row| row.0);
    for row in specs().filter(|row| row.usages.contains(&KeyUsage::SIGN_VERIFY)) {
        let token = rig.key(row.spec, KeyUsage::SIGN_VERIFY);
        let key = token.key();
        for algorithm in all.clone() {
            for message_type in [MessageType::RAW, MessageType::DIGEST, MessageType::EXTERNAL_MU] {
                let sample = sample(algorithm, message_type);
                let right = row.signing_algorithms.contains(&algorithm) && sample.is_some();
                let bytes = sample.unwrap_or_else(|| vec![7; 64]);
                let message = Bytes(&bytes);
                let reply = rig.call(&Sign { key, algorithm, message_type, message });
                let name = format!("{:?} {algorithm:?} {message_type:?}", row.spec);
                if !right {
                    assert_eq!(reply.error(), ErrorCode::SPEC_DENIED, "{name}");
                    continue;
                }
                assert_eq!(reply.head.status, None, "{name}");
                let signature = reply.ok::<Sign>().signature;
                let verify = |message, signature| Verify {
                    key,
                    algorithm,
                    message_type,
                    message,
                    signature,
                };
                rig.call(&verify(message, signature)).ok::<Verify>();
                let mut other = bytes.clone();
                other[0] ^= 1;
                let mut damaged = signature.to_vec();
                damaged[signature.len() / 2] ^= 1;
                let short = Bytes(&signature[..signature.len() - 1]);
                for (message, signature) in [
                    (Bytes(&other), signature),
                    (message, Bytes(&damaged)),
                    (message, short),
                    (message, Bytes(&[])),
                ] {
                    let reply = rig.call(&verify(message, signature));
                    assert_eq!(reply.error(), ErrorCode::SIGNATURE_INVALID, "{name}");
                }
                if message_type != MessageType::RAW {
                    let message = Bytes(&bytes[1..]);
                    let reply = rig.call(&Sign { key, algorithm, message_type, message });
                    assert_eq!(reply.error(), ErrorCode::MESSAGE_LENGTH, "{name}");
                }
            }
        }
    }
}

#[test]
fn macs_of_every_length() {
    let mut rig = Rig::operational();
    for row in specs().filter(|row| !row.mac_algorithms.is_empty()) {
        let token = rig.key(row.spec, KeyUsage::GENERATE_VERIFY_MAC);
        let (key, algorithm) = (token.key(), row.mac_algorithms[0]);
        let reply = rig.call(&GenerateMac { key, algorithm, message: MESSAGE });
        let mac = reply.ok::<GenerateMac>().mac;
        assert_eq!(mac.len(), row.secret_size, "the key is as long as the MAC");
        rig.call(&VerifyMac { key, algorithm, message: MESSAGE, mac }).ok::<VerifyMac>();
        let mac = Bytes(&mac[..mac.len() - 1]);
        let reply = rig.call(&VerifyMac { key, algorithm, message: MESSAGE, mac });
        assert_eq!(reply.error(), ErrorCode::MAC_INVALID);
    }
}

#[test]
fn two_keys_agree_on_a_secret() {
    let mut rig = Rig::operational();
    let agreeing: Vec<_> =
        specs().filter(|row| row.usages.contains(&KeyUsage::KEY_AGREEMENT)).collect();
    let mut foreign = None;
    for row in &agreeing {
        let (one, two) = (
            rig.key(row.spec, KeyUsage::KEY_AGREEMENT),
            rig.key(row.spec, KeyUsage::KEY_AGREEMENT),
        );
        let mut secrets = [(&one, &two), (&two, &one)].map(|(own, peer)| {
            let public = rig.call(&ExportPublicKey { key: peer.key() });
            let peer = public.ok::<ExportPublicKey>().spki;
            let reply = rig.call(&DeriveSharedSecret { key: own.key(), peer });
            let SharedSecret { secret } = reply.ok::<DeriveSharedSecret>();
            secret.to_vec()
        });
        assert_eq!(secrets[0], secrets[1], "{:?}", row.spec);
        assert_eq!(secrets[0].len(), row.secret_size);
        secrets[0].clear();
        // Keys of another curve, and bytes that are not a key.
        if let Some(peer) = foreign.replace(rig.call(&ExportPublicKey { key: one.key() })) {
            let peer = peer.ok::<ExportPublicKey>().spki;
            for peer in [peer, Bytes(&[]), Bytes(&peer[..peer.len() - 1])] {
                let reply = rig.call(&DeriveSharedSecret { key: one.key(), peer });
                assert_eq!(reply.error(), ErrorCode::KEY_MATERIAL_INVALID);
            }
        }
    }
}

#[test]
fn encapsulated_secrets_come_back_and_wrong_ones_do_not() {
    let mut rig = Rig::operational();
    let usage = KeyUsage::ENCAPSULATE_DECAPSULATE;
    for row in specs().filter(|row| row.usages.contains(&usage)) {
        let token = rig.key(row.spec, usage);
        let key = token.key();
        let reply = rig.call(&Encapsulate { key });
        let Encapsulation { ciphertext, secret } = reply.ok::<Encapsulate>();
        assert_eq!(secret.len(), 32);
        let back = rig.call(&Decapsulate { key, ciphertext });
        assert_eq!(back.ok::<Decapsulate>().secret, secret);
        // Implicit rejection: another secret, always the same for the same ciphertext.
        let mut wrong = ciphertext.to_vec();
        wrong[0] ^= 1;
        let rejected = [(); 2].map(|()| {
            let reply = rig.call(&Decapsulate { key, ciphertext: Bytes(&wrong) });
            reply.ok::<Decapsulate>().secret.to_vec()
        });
        assert_eq!(rejected[0], rejected[1]);
        assert_ne!(rejected[0], secret.0);
        let reply = rig.call(&Decapsulate { key, ciphertext: Bytes(&wrong[1..]) });
        assert_eq!(reply.error(), ErrorCode::CIPHERTEXT_INVALID);
    }
}

#[test]
fn oaep_and_re_encryption_across_algorithms() {
    let mut rig = Rig::operational();
    let symmetric = rig.symmetric();
    let rsa = rig.key(KeySpec::RSA_2048, KeyUsage::ENCRYPT_DECRYPT);
    let oaep = [EncryptionAlgorithm::RSAES_OAEP_SHA_1, EncryptionAlgorithm::RSAES_OAEP_SHA_256];
    for (algorithm, most) in oaep.into_iter().zip([214, 190]) {
        let key = rsa.key();
        for length in [1, most] {
            let plaintext = vec![0xa5; length];
            let plaintext = Bytes(&plaintext);
            let reply = rig.call(&EncryptPublic { key, algorithm, plaintext });
            let ciphertext = reply.ok::<EncryptPublic>().blob;
            let back = rig.call(&DecryptPrivate { key, algorithm, ciphertext });
            assert_eq!(back.ok::<DecryptPrivate>().plaintext, plaintext);
            for damaged in [&ciphertext[1..], &[&ciphertext[..255], &[!ciphertext[255]]].concat()] {
                let ciphertext = Bytes(damaged);
                let reply = rig.call(&DecryptPrivate { key, algorithm, ciphertext });
                assert_eq!(reply.error(), ErrorCode::CIPHERTEXT_INVALID);
            }
        }
        let plaintext = vec![0xa5; most + 1];
        let reply = rig.call(&EncryptPublic { key, algorithm, plaintext: Bytes(&plaintext) });
        assert_eq!(reply.error(), ErrorCode::MESSAGE_LENGTH);

        let context = Bytes(b"context");
        let blob = encrypt(&mut rig, &symmetric, &context, b"moved");
        let plain = Side {
            key: symmetric.key(),
            algorithm: EncryptionAlgorithm::SYMMETRIC_DEFAULT,
            context,
        };
        let sealed = Side { key, algorithm, context: Bytes(&[]) };
        let there =
            ReEncryptAcross { source: plain, ciphertext: Bytes(&blob), destination: sealed };
        let reply = rig.call(&there);
        let ciphertext = reply.ok::<ReEncryptAcross>().blob;
        let back = rig.call(&ReEncryptAcross { source: sealed, ciphertext, destination: plain });
        let blob = back.ok::<ReEncryptAcross>().blob;
        let reply = rig.call(&Decrypt { key: symmetric.key(), context, blob });
        assert_eq!(reply.ok::<Decrypt>().plaintext.0, b"moved");
        let bound = Side { context, ..sealed };
        let reply = rig.call(&ReEncryptAcross { source: bound, ciphertext, destination: plain });
        assert_eq!(reply.error(), ErrorCode::INVALID_ARGUMENT);
    }
}

#[test]
fn data_key_pairs_of_every_spec_that_has_them() {
    let mut rig = Rig::operational();
    let key = rig.symmetric();
    for row in specs() {
        let (context, spec) = (Bytes(b"context"), row.spec);
        let prepared =
            if row.slow { rig.prepared(spec, PairPurpose::DATA_KEY_PAIR) } else { Vec::new() };
        let request = GenerateDataKeyPair { key: key.key(), context, spec, pair: Bytes(&prepared) };
        let reply = rig.call(&request);
        if !row.data_key_pair {
            assert_eq!(reply.error(), ErrorCode::SPEC_DENIED, "{spec:?}");
            continue;
        }
        let DataKeyPair { private, blob, public } = reply.ok::<GenerateDataKeyPair>();
        assert_eq!(public.len(), row.public_size);
        let back = rig.call(&Decrypt { key: key.key(), context, blob });
        assert_eq!(back.ok::<Decrypt>().plaintext, private);
        // What was exported is a key that can be taken back.
        let entry = PORTABLE.iter().find(|entry| entry.spec() == spec).unwrap();
        let mut secret = hsm_core::secret::SecretBuf::new();
        entry.import(&private, &mut secret).unwrap();
        let mut spki = hsm_core::algorithm::PublicKeyBuf::new();
        entry.public_key(&secret, &mut spki).unwrap();
        assert_eq!(spki.as_bytes(), public.0, "{spec:?}");
        rig.call(&GenerateDataKeyPairWithoutPlaintext { request })
            .ok::<GenerateDataKeyPairWithoutPlaintext>();
    }
}

#[test]
fn a_slow_spec_takes_a_prepared_pair_of_its_own() {
    let mut rig = Rig::operational();
    let spec = KeySpec::RSA_2048;
    let usage = KeyUsage::SIGN_VERIFY;
    let reply = rig.call(&GenerateKey { id: KEY_ID, spec, usage });
    assert_eq!(reply.error(), ErrorCode::PAIR_REQUIRED);
    for other in [KeySpec::HMAC_256, KeySpec::ECC_NIST_P256, KeySpec(200)] {
        let reply = rig.call(&PrepareKeyPair { spec: other, purpose: PairPurpose::KEY });
        assert_eq!(reply.error(), ErrorCode::INVALID_ARGUMENT);
    }
    for purpose in [0, 4, 255].map(PairPurpose) {
        let reply = rig.call(&PrepareKeyPair { spec, purpose });
        assert_eq!(reply.error(), ErrorCode::INVALID_ARGUMENT, "{purpose:?}");
    }
    let key = rig.symmetric();
    let pair = rig.prepared(spec, PairPurpose::DATA_KEY_PAIR);
    let wanted = |spec| GenerateDataKeyPair {
        key: key.key(),
        context: Bytes(&[]),
        spec,
        pair: Bytes(&pair),
    };
    for other in [KeySpec::RSA_3072, KeySpec::ECC_NIST_P256] {
        let reply = rig.call(&wanted(other));
        assert_eq!(reply.error(), ErrorCode::SPEC_DENIED);
    }
    rig.call(&wanted(spec)).ok::<GenerateDataKeyPair>();
}

/// While a device looks for a pair it answers, and every answer waits for a slice at most.
#[test]
fn a_device_answers_while_it_looks_for_a_pair() {
    let mut rig = Rig::operational();
    let key: Token = rig.symmetric();
    rig.device.platform().tick_us = 5_000;
    let mut polls = 0;
    loop {
        let reply =
            rig.call(&PrepareKeyPair { spec: KeySpec::RSA_2048, purpose: PairPurpose::KEY });
        if reply.head.status.is_none() {
            break;
        }
        assert_eq!(reply.error(), ErrorCode::NOT_READY);
        let blob = encrypt(&mut rig, &key, &[], b"meanwhile");
        assert!(!blob.is_empty());
        polls += 1;
    }
    assert!(polls > 10, "found within {polls} requests: the slices are not bounded");
}
