//! The channel against the `snow` crate on the other end, and records under attack.

use hsm_protocol::ErrorCode;
use hsm_protocol::channel::{Initiator, Keys, PROLOGUE, REKEY_INTERVAL, Responder, Welcome};
use hsm_protocol::curve::{KeyPair, Portable};
use hsm_protocol::identity::PublicKey;
use p256::SecretKey;
use p256::elliptic_curve::Generate;
use rand_core::{TryCryptoRng, TryRng};

/// SplitMix64: deterministic input for tests, nothing else.
struct TestRng(u64);

impl TryRng for TestRng {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|word| (word >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in out.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

const WELCOME: Welcome = Welcome { session: 0x1234 };

fn open_session(seed: u64) -> (Keys, Keys) {
    let mut rng = TestRng(seed);
    let host = SecretKey::generate_from_rng(&mut rng);
    let device = KeyPair::generate(&Portable, &mut rng).unwrap();
    let device_public = device.public();
    let (initiator, message_1) = Initiator::start(&host, &device_public, &mut rng).unwrap();
    let responder = Responder::read(&Portable, &device, &message_1).unwrap();
    assert_eq!(responder.host(), PublicKey::from_point(&host.public_key()));
    let (device_keys, message_2) = responder.accept(&Portable, WELCOME, &mut rng).unwrap();
    let (host_keys, welcome) = initiator.finish(&message_2).unwrap();
    assert_eq!(welcome, WELCOME);
    (host_keys, device_keys)
}

fn seal(keys: &mut Keys, plain: &[u8]) -> (u32, Vec<u8>) {
    let mut record = plain.to_vec();
    record.resize(plain.len() + 16, 0);
    let sequence = keys.sealer.sequence();
    let length = keys.sealer.seal(&mut record, plain.len()).unwrap();
    assert_eq!(length, record.len());
    (sequence, record)
}

#[test]
fn both_ends_agree() {
    let (mut host, mut device) = open_session(1);
    for round in 0..3u8 {
        let (sequence, mut record) = seal(&mut host, &[round; 40]);
        assert_eq!(device.opener.open(sequence, &mut record).unwrap(), &[round; 40]);
        let (sequence, mut record) = seal(&mut device, &[!round; 7]);
        assert_eq!(host.opener.open(sequence, &mut record).unwrap(), &[!round; 7]);
    }
}

fn snow_builder(static_key: &[u8]) -> snow::Builder<'_> {
    let pattern = "Noise_IK_P256_AESGCM_SHA256".parse().unwrap();
    snow::Builder::new(pattern).prologue(PROLOGUE).unwrap().local_private_key(static_key).unwrap()
}

fn uncompressed(key: &SecretKey) -> Vec<u8> {
    use p256::elliptic_curve::sec1::ToSec1Point;
    key.public_key().to_sec1_point(false).as_bytes().to_vec()
}

#[test]
fn snow_as_the_host() {
    let mut rng = TestRng(2);
    let host = SecretKey::generate_from_rng(&mut rng);
    let device = KeyPair::generate(&Portable, &mut rng).unwrap();
    let host_bytes = host.to_bytes();
    let mut snow = snow_builder(&host_bytes)
        .remote_public_key(&uncompressed(device.secret()))
        .unwrap()
        .build_initiator()
        .unwrap();
    let mut buffer = [0; 1024];
    let length = snow.write_message(&[], &mut buffer).unwrap();
    let responder = Responder::read(&Portable, &device, &buffer[..length]).unwrap();
    assert_eq!(responder.host(), PublicKey::from_point(&host.public_key()));
    let (mut keys, message_2) = responder.accept(&Portable, WELCOME, &mut rng).unwrap();
    let length = snow.read_message(&message_2, &mut buffer).unwrap();
    assert_eq!(buffer[..length], WELCOME.session.to_le_bytes());

    let mut transport = snow.into_transport_mode().unwrap();
    for round in 0..4u32 {
        let length = transport.write_message(b"to the device", &mut buffer).unwrap();
        assert_eq!(keys.opener.open(round, &mut buffer[..length]).unwrap(), b"to the device");
        let (_, record) = seal(&mut keys, b"to the host");
        let length = transport.read_message(&record, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"to the host");
    }
}

#[test]
fn snow_as_the_device() {
    let mut rng = TestRng(3);
    let host = SecretKey::generate_from_rng(&mut rng);
    let device = KeyPair::generate(&Portable, &mut rng).unwrap();
    let device_bytes = device.secret().to_bytes();
    let mut snow = snow_builder(&device_bytes).build_responder().unwrap();
    let device_public = device.public();
    let (initiator, message_1) = Initiator::start(&host, &device_public, &mut rng).unwrap();
    let mut buffer = [0; 1024];
    assert_eq!(snow.read_message(&message_1, &mut buffer).unwrap(), 0);
    assert_eq!(snow.get_remote_static().unwrap(), uncompressed(&host));
    let length = snow.write_message(&WELCOME.session.to_le_bytes(), &mut buffer).unwrap();
    let (mut keys, welcome) = initiator.finish(&buffer[..length]).unwrap();
    assert_eq!(welcome, WELCOME);

    let mut transport = snow.into_transport_mode().unwrap();
    let (_, record) = seal(&mut keys, b"to the device");
    let length = transport.read_message(&record, &mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"to the device");
    let length = transport.write_message(b"to the host", &mut buffer).unwrap();
    assert_eq!(keys.opener.open(0, &mut buffer[..length]).unwrap(), b"to the host");
}

#[test]
fn rekeying_agrees_with_snow() {
    let mut rng = TestRng(4);
    let host = SecretKey::generate_from_rng(&mut rng);
    let device = KeyPair::generate(&Portable, &mut rng).unwrap();
    let device_bytes = device.secret().to_bytes();
    let mut snow = snow_builder(&device_bytes).build_responder().unwrap();
    let device_public = device.public();
    let (initiator, message_1) = Initiator::start(&host, &device_public, &mut rng).unwrap();
    let mut buffer = [0; 1024];
    snow.read_message(&message_1, &mut buffer).unwrap();
    let length = snow.write_message(&WELCOME.session.to_le_bytes(), &mut buffer).unwrap();
    let (mut keys, _) = initiator.finish(&buffer[..length]).unwrap();
    let mut transport = snow.into_transport_mode().unwrap();
    for count in 0..=REKEY_INTERVAL {
        if count == REKEY_INTERVAL {
            transport.rekey_incoming();
        }
        let (_, record) = seal(&mut keys, b"x");
        assert_eq!(transport.read_message(&record, &mut buffer).unwrap(), 1, "record {count}");
    }
}

#[test]
fn damaged_handshakes_are_refused() {
    let mut rng = TestRng(5);
    let host = SecretKey::generate_from_rng(&mut rng);
    let device = KeyPair::generate(&Portable, &mut rng).unwrap();
    let other = KeyPair::generate(&Portable, &mut rng).unwrap();
    let device_public = device.public();
    let (_, message_1) = Initiator::start(&host, &device_public, &mut rng).unwrap();
    for at in 0..message_1.len() {
        let mut bad = message_1;
        bad[at] ^= 1;
        let refused = Responder::read(&Portable, &device, &bad).err();
        assert_eq!(refused, Some(ErrorCode::HANDSHAKE_FAILED), "byte {at}");
    }
    assert!(Responder::read(&Portable, &other, &message_1).is_err(), "meant for another device");
    assert!(Responder::read(&Portable, &device, &message_1[1..]).is_err());

    let respond = |rng: &mut TestRng| {
        let (initiator, message_1) = Initiator::start(&host, &device_public, rng).unwrap();
        let responder = Responder::read(&Portable, &device, &message_1).unwrap();
        (initiator, responder.accept(&Portable, WELCOME, rng).unwrap().1)
    };
    let (_, message_2) = respond(&mut rng);
    for at in 0..message_2.len() {
        let (initiator, mut bad) = respond(&mut rng);
        bad[at] ^= 1;
        assert_eq!(initiator.finish(&bad).err(), Some(ErrorCode::HANDSHAKE_FAILED), "byte {at}");
    }
    let (initiator, _) = respond(&mut rng);
    assert!(initiator.finish(&message_2).is_err(), "answer to another handshake");
}

#[test]
fn records_open_only_in_order_and_unaltered() {
    let (mut host, mut device) = open_session(6);
    let first = seal(&mut host, b"first");
    let second = seal(&mut host, b"second");

    let mut early = second.1.clone();
    assert_eq!(device.opener.open(second.0, &mut early), Err(ErrorCode::BAD_RECORD));
    let mut renumbered = second.1.clone();
    assert_eq!(device.opener.open(first.0, &mut renumbered), Err(ErrorCode::BAD_RECORD));
    for (sequence, record) in [first, second] {
        assert!(device.opener.open(sequence, &mut record.clone()).is_ok(), "nothing has changed");
    }

    let (mut host, mut device) = open_session(7);
    let (sequence, record) = seal(&mut host, b"once");
    assert!(device.opener.open(sequence, &mut record.clone()).is_ok());
    assert!(device.opener.open(sequence, &mut record.clone()).is_err(), "replayed");
    assert!(device.opener.open(sequence + 1, &mut record.clone()).is_err(), "renumbered");

    for bit in 0..record.len() * 8 {
        let (mut host, mut device) = open_session(8);
        let (sequence, mut record) = seal(&mut host, b"once");
        record[bit / 8] ^= 1 << (bit % 8);
        assert!(device.opener.open(sequence, &mut record).is_err(), "bit {bit}");
    }
    let (_, mut device) = open_session(9);
    assert!(device.opener.open(0, &mut [0; 15]).is_err(), "shorter than its tag");
}
