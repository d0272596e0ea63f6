//! Encrypt, Decrypt, ReEncrypt, data keys, Random.

use hsm_protocol::audit::Entry;
use hsm_protocol::command::cipher::{
    Decrypt, Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, MAX_CONTEXT, MAX_PLAINTEXT,
    ReEncrypt,
};
use hsm_protocol::command::random::Random;
use hsm_protocol::key_spec::{KeySpec, KeyUsage};
use hsm_protocol::token::{Blob, context};
use hsm_protocol::{Bytes, ErrorCode, KeyId};

use crate::rig::{Rig, Token};

pub(crate) fn encrypt(rig: &mut Rig, token: &Token, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let request =
        Encrypt { key: token.key(), context: Bytes(context), plaintext: Bytes(plaintext) };
    rig.call(&request).ok::<Encrypt>().blob.to_vec()
}

pub(crate) fn decrypt(
    rig: &mut Rig,
    token: &Token,
    context: &[u8],
    blob: &[u8],
) -> Result<Vec<u8>, ErrorCode> {
    let reply = rig.call(&Decrypt { key: token.key(), context: Bytes(context), blob: Bytes(blob) });
    match reply.head.status {
        None => Ok(reply.ok::<Decrypt>().plaintext.to_vec()),
        Some(_) => Err(reply.error()),
    }
}

fn sample_context() -> Vec<u8> {
    let mut out = vec![0; 100];
    let pairs: [(&[u8], &[u8]); 2] = [(b"a", b"1"), (b"b", b"")];
    let length = context::encode(pairs.into_iter(), &mut out).unwrap();
    out.truncate(length);
    out
}

#[test]
fn round_trips_at_the_size_limits() {
    let mut rig = Rig::operational();
    let token = rig.symmetric();
    for (size, context) in
        [(1, vec![]), (32, sample_context()), (MAX_PLAINTEXT, vec![0x55; MAX_CONTEXT])]
    {
        let plaintext = vec![0xa5; size];
        let blob = encrypt(&mut rig, &token, &context, &plaintext);
        assert_eq!(blob.len(), size + Blob::OVERHEAD);
        assert_eq!(decrypt(&mut rig, &token, &context, &blob).unwrap(), plaintext);
    }
    for size in [0, MAX_PLAINTEXT + 1] {
        let plaintext = vec![0; size];
        let request =
            Encrypt { key: token.key(), context: Bytes(&[]), plaintext: Bytes(&plaintext) };
        assert_eq!(rig.call(&request).error(), ErrorCode::MESSAGE_LENGTH);
    }
    let long = vec![0; MAX_CONTEXT + 1];
    let request = Encrypt { key: token.key(), context: Bytes(&long), plaintext: Bytes(b"x") };
    assert_eq!(rig.call(&request).error(), ErrorCode::TOO_LARGE);
}

#[test]
fn the_same_plaintext_gives_different_blobs() {
    let mut rig = Rig::operational();
    let token = rig.symmetric();
    let first = encrypt(&mut rig, &token, &[], b"same");
    let second = encrypt(&mut rig, &token, &[], b"same");
    assert_ne!(first, second);
    let (first, second) = (Blob::parse(&first).unwrap(), Blob::parse(&second).unwrap());
    assert_ne!(first.nonce, second.nonce);
    assert_ne!(first.iv, second.iv);
    assert_ne!(first.sealed, second.sealed);
}

#[test]
fn every_change_of_a_blob_is_the_same_error() {
    let mut rig = Rig::operational();
    let token = rig.symmetric();
    let context = sample_context();
    let blob = encrypt(&mut rig, &token, &context, b"plaintext");
    for index in 0..blob.len() {
        let mut bad = blob.clone();
        bad[index] ^= 0x10;
        assert_eq!(
            decrypt(&mut rig, &token, &context, &bad),
            Err(ErrorCode::CIPHERTEXT_INVALID),
            "byte {index}"
        );
    }
    for bad in [&blob[..blob.len() - 1], &[&blob[..], &[0]].concat(), b"", &blob[..94]] {
        let result = decrypt(&mut rig, &token, &context, bad);
        assert_eq!(result, Err(ErrorCode::CIPHERTEXT_INVALID));
    }
    let mut other = context.clone();
    *other.last_mut().unwrap() ^= 1;
    let result = decrypt(&mut rig, &token, &other, &blob);
    assert_eq!(result, Err(ErrorCode::CIPHERTEXT_INVALID));
}

#[test]
fn blobs_of_other_material_of_the_same_key_are_refused() {
    let mut rig = Rig::operational();
    let (old, new) = (rig.symmetric(), rig.symmetric());
    let blob = encrypt(&mut rig, &old, &[], b"before rotation");
    assert_eq!(decrypt(&mut rig, &new, &[], &blob), Err(ErrorCode::CIPHERTEXT_INVALID));
    assert_eq!(decrypt(&mut rig, &old, &[], &blob).unwrap(), b"before rotation");
}

#[test]
fn keys_outlive_a_reboot() {
    let mut rig = Rig::operational();
    let token = rig.symmetric();
    let blob = encrypt(&mut rig, &token, &[], b"durable");
    rig.reboot();
    assert_eq!(decrypt(&mut rig, &token, &[], &blob).unwrap(), b"durable");
}

#[test]
fn re_encrypt_changes_key_and_context_and_names_both_keys() {
    let mut rig = Rig::operational();
    let source = rig.symmetric();
    let id = KeyId { multi_region: true, bytes: [0x22; 16] };
    let destination = rig.key_with_id(id, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let context = sample_context();
    for size in [1, 4096] {
        let plaintext = vec![0x3c; size];
        let blob = encrypt(&mut rig, &source, &context, &plaintext);
        let request = ReEncrypt {
            source: source.key(),
            source_context: Bytes(&context),
            blob: Bytes(&blob),
            destination: destination.key(),
            destination_context: Bytes(&[]),
        };
        let reply = rig.call(&request);
        let moved = reply.ok::<ReEncrypt>().blob.to_vec();
        let (from, to) = (Blob::parse(&blob).unwrap(), Blob::parse(&moved).unwrap());
        assert_eq!(reply.receipt().subject, Entry::subject_of_two(&from.material, &to.material));
        assert_eq!(decrypt(&mut rig, &destination, &[], &moved).unwrap(), plaintext);
    }
    let request = ReEncrypt {
        source: destination.key(),
        source_context: Bytes(&[]),
        blob: Bytes(&encrypt(&mut rig, &source, &[], b"x")),
        destination: source.key(),
        destination_context: Bytes(&[]),
    };
    assert_eq!(rig.call(&request).error(), ErrorCode::CIPHERTEXT_INVALID);
}

#[test]
fn re_encrypt_takes_the_largest_of_everything() {
    let mut rig = Rig::operational();
    let token = rig.symmetric();
    let (plaintext, context) = (vec![1; 4096], vec![2; 8192]);
    let blob = encrypt(&mut rig, &token, &context, &plaintext);
    let request = ReEncrypt {
        source: token.key(),
        source_context: Bytes(&context),
        blob: Bytes(&blob),
        destination: token.key(),
        destination_context: Bytes(&context),
    };
    let moved = rig.call(&request).ok::<ReEncrypt>().blob.to_vec();
    assert_eq!(decrypt(&mut rig, &token, &context, &moved).unwrap(), plaintext);
}

#[test]
fn data_keys_decrypt_to_what_was_returned() {
    let mut rig = Rig::operational();
    let token = rig.symmetric();
    for length in [1, 16, 32, 64, 1024] {
        let request = GenerateDataKey { key: token.key(), context: Bytes(b"c"), length };
        let reply = rig.call(&request);
        let data_key = reply.ok::<GenerateDataKey>();
        assert_eq!(data_key.plaintext.len(), usize::from(length));
        let (plaintext, blob) = (data_key.plaintext.to_vec(), data_key.blob.to_vec());
        assert_eq!(decrypt(&mut rig, &token, b"c", &blob).unwrap(), plaintext);

        let GenerateDataKey { key, context, length } = request;
        let reply = rig.call(&GenerateDataKeyWithoutPlaintext { key, context, length });
        let blob = reply.ok::<GenerateDataKeyWithoutPlaintext>().blob.to_vec();
        assert_eq!(decrypt(&mut rig, &token, b"c", &blob).unwrap().len(), usize::from(length));
    }
    for length in [0, 1025, u16::MAX] {
        let request = GenerateDataKey { key: token.key(), context: Bytes(&[]), length };
        assert_eq!(rig.call(&request).error(), ErrorCode::INVALID_ARGUMENT);
    }
    let context = vec![9; 8192];
    let request = GenerateDataKey { key: token.key(), context: Bytes(&context), length: 1024 };
    rig.call(&request).ok::<GenerateDataKey>();
}

#[test]
fn random_bytes_do_not_repeat() {
    let mut rig = Rig::operational();
    let first = rig.call(&Random { length: 1024 }).ok::<Random>().bytes.to_vec();
    let second = rig.call(&Random { length: 1024 }).ok::<Random>().bytes.to_vec();
    assert_ne!(first, second);
    assert_eq!(first.len(), 1024);
    for length in [0, 1025] {
        assert_eq!(rig.call(&Random { length }).error(), ErrorCode::INVALID_ARGUMENT);
    }
}
