//! The two algorithm registries of the host side by side: each accepts what the other makes, and
//! both refuse the same input for the same reason.
//!
//! `STRONGROOM_SEED=N` repeats a run.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use hsm_core::algorithm::{Algorithm, Message, PORTABLE, PublicKeyBuf};
use hsm_core::fault::{self, Kat};
use hsm_core::secret::SecretBuf;
use hsm_core::testing::TestRng;
use hsm_firmware::board::host::AWS_LC;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpecRow, SigningAlgorithm};
use rand_core::CryptoRng;

/// Keys per spec, and messages per key.
const KEYS: usize = 3;
const MESSAGES: usize = 12;
/// Changed variants of each signature, ciphertext and public key.
const CHANGES: usize = 8;
/// Plaintexts in bytes, about the most that RSA takes of one among them.
const LENGTHS: [usize; 11] = [0, 1, 32, 100, 150, 190, 191, 214, 215, 400, 500];
const MAX_OUT: usize = 8192;

struct Pair {
    one: &'static dyn Algorithm,
    other: &'static dyn Algorithm,
    row: &'static KeySpecRow,
    slow: bool,
}

/// A secret key and its public half, on which both registries agree.
struct Key {
    secret: SecretBuf,
    /// The same, as the other registry uses it.
    secret_too: SecretBuf,
    public: PublicKeyBuf,
}

#[test]
fn the_registries_agree() {
    let seed = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| getrandom::u64().expect("the system's randomness"));
    eprintln!("STRONGROOM_SEED={seed}");
    let mut rng = TestRng(seed);
    assert_eq!(PORTABLE.len(), AWS_LC.len());
    for (&one, &other) in PORTABLE.iter().zip(AWS_LC) {
        assert_eq!(one.spec(), other.spec());
        let row = one.spec().row().expect("a spec of the table");
        assert_eq!(one.is_approved(), other.is_approved());
        one.self_test().expect("known answers");
        other.self_test().unwrap_or_else(|error| panic!("{:?}: {error}", one.spec()));
        let pair = Pair { one, other, row, slow: row.slow };
        for _ in 0..if pair.slow { 1 } else { KEYS } {
            pair.check(&mut rng);
        }
    }
}

impl Pair {
    fn check(&self, rng: &mut dyn CryptoRng) {
        let mut key = self.key(rng);
        self.use_key(&key, MESSAGES, &LENGTHS, rng);
        self.agree(&key, rng);
        self.other.expand(&mut key.secret_too).expect("a secret of the spec");
        // Twice, as what the first use has prepared serves the second.
        for _ in 0..2 {
            self.use_key(&key, 1, &[32], rng);
        }
        self.other.forget(&key.secret_too);
        self.use_key(&key, 1, &[32], rng);
    }

    /// Signs some messages with each algorithm, and encrypts plaintexts of these lengths.
    fn use_key(&self, key: &Key, messages: usize, lengths: &[usize], rng: &mut dyn CryptoRng) {
        for &algorithm in self.row.signing_algorithms {
            for _ in 0..messages {
                self.sign(key, algorithm, rng);
            }
        }
        if self.row.public_size > 0 {
            let (mut one, mut other) = (PublicKeyBuf::new(), PublicKeyBuf::new());
            self.one.public_key(&key.secret, &mut one).expect("a public half");
            self.other.public_key(&key.secret_too, &mut other).expect("a public half");
            assert_eq!(one.as_bytes(), other.as_bytes(), "{:?}", self.row.spec);
            for &algorithm in self.row.encryption_algorithms {
                self.encrypt(key, algorithm, lengths, rng);
            }
        }
    }

    /// Returns a new key; checks that public half, export and import are the same on both sides.
    fn key(&self, rng: &mut dyn CryptoRng) -> Key {
        let (mut secret, mut public) = (SecretBuf::new(), PublicKeyBuf::new());
        if self.slow {
            // Both use the same search for primes, which takes seconds in an unoptimised build.
            self.one.import(&rsa_pair(self.row.secret_size), &mut secret).expect("AWS-LC's own");
        } else {
            self.other.generate(rng, &mut secret).expect("generated");
        }
        self.other.pairwise_test(&secret, rng).expect("a pair");
        if self.row.public_size > 0 {
            self.one.public_key(&secret, &mut public).expect("a public half");
            let mut again = PublicKeyBuf::new();
            self.other.public_key(&secret, &mut again).expect("a public half");
            assert_eq!(public.as_bytes(), again.as_bytes(), "{:?}", self.row.spec);
        }
        let (mut der, mut der_too) = (vec![0; MAX_OUT], vec![0; MAX_OUT]);
        let length = self.one.private_key(&secret, &mut der);
        assert_eq!(length, self.other.private_key(&secret, &mut der_too), "{:?}", self.row.spec);
        if let Ok(length) = length {
            assert_eq!(der[..length], der_too[..length]);
            let mut read = SecretBuf::new();
            self.other.import(&der[..length], &mut read).expect("its own form");
            assert_eq!(read.expose(), secret.expose());
        }
        let secret_too = SecretBuf::copy_from(secret.expose()).expect("a secret");
        Key { secret, secret_too, public }
    }

    fn sign(&self, key: &Key, algorithm: SigningAlgorithm, rng: &mut dyn CryptoRng) {
        let mut text = vec![0; rng.next_u32() as usize % 4097];
        rng.fill_bytes(&mut text);
        let digest = &text[..digest_size(algorithm).min(text.len())];
        let mut messages = vec![Message::Raw(&text), Message::Digest(digest)];
        if text.len() >= 64 {
            messages.push(Message::ExternalMu(&text[..64]));
        }
        for message in messages {
            let (mut first, mut second) = (vec![0; MAX_OUT], vec![0; MAX_OUT]);
            let made = self.one.sign(&key.secret, algorithm, message, rng, &mut first);
            let made_too = self.other.sign(&key.secret_too, algorithm, message, rng, &mut second);
            assert_eq!(made.err(), made_too.err(), "{algorithm:?} {message:?}");
            let (Ok(length), Ok(length_too)) = (made, made_too) else { continue };
            for signature in [&first[..length], &second[..length_too]] {
                self.verify_on_both(&key.public, algorithm, message, signature, Some(Ok(())));
                for _ in 0..CHANGES {
                    let changed = change(signature, rng);
                    self.verify_on_both(&key.public, algorithm, message, &changed, None);
                }
            }
            let is_deterministic = algorithm.aws_name().is_some_and(|name| {
                name.starts_with("RSASSA_PKCS1") || name.starts_with("ED25519")
            });
            if is_deterministic {
                assert_eq!(first[..length], second[..length_too], "{algorithm:?}");
            }
            let mut short = vec![0; length - 1];
            let refused =
                self.other.sign(&key.secret_too, algorithm, message, rng, &mut short[..8]);
            assert_eq!(refused, Err(ErrorCode::TOO_LARGE), "{algorithm:?}");
        }
    }

    /// Checks that both get the same result, and the expected one if it is known.
    fn verify_on_both(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
        expected: Option<Result<(), ErrorCode>>,
    ) {
        let found = self.one.verify(public, algorithm, message, signature);
        let found_too = self.other.verify(public, algorithm, message, signature);
        assert_eq!(found, found_too, "{algorithm:?}, {} bytes", signature.len());
        if let Some(expected) = expected {
            assert_eq!(found, expected, "{algorithm:?}");
        }
    }

    fn encrypt(
        &self,
        key: &Key,
        algorithm: EncryptionAlgorithm,
        lengths: &[usize],
        rng: &mut dyn CryptoRng,
    ) {
        for &length in lengths {
            let mut plaintext = vec![0; length];
            rng.fill_bytes(&mut plaintext);
            let (mut first, mut second) = (vec![0; MAX_OUT], vec![0; MAX_OUT]);
            let one = self.one.encrypt_public(&key.public, algorithm, &plaintext, rng, &mut first);
            let other =
                self.other.encrypt_public(&key.public, algorithm, &plaintext, rng, &mut second);
            assert_eq!(one, other, "{algorithm:?} {length}");
            let Ok(size) = one else { continue };
            for ciphertext in [&first[..size], &second[..size]] {
                assert_eq!(
                    self.decrypt_on_both(key, algorithm, ciphertext, rng),
                    Ok(plaintext.clone())
                );
            }
            let changed = change(&first[..size], rng);
            let _ = self.decrypt_on_both(key, algorithm, &changed, rng);
        }
        let mut changed = key.public.as_bytes().to_vec();
        changed.truncate(changed.len() - 1);
        let mut public = PublicKeyBuf::new();
        public.set(&[&changed]).expect("shorter");
        let out = &mut [0; MAX_OUT];
        let one = self.one.encrypt_public(&public, algorithm, b"x", rng, out);
        assert_eq!(one, self.other.encrypt_public(&public, algorithm, b"x", rng, out));
    }

    fn decrypt_on_both(
        &self,
        key: &Key,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, ErrorCode> {
        let mut decrypt = |entry: &dyn Algorithm, secret: &SecretBuf| {
            let mut out = vec![0; MAX_OUT];
            let length = entry.decrypt_private(secret, algorithm, ciphertext, rng, &mut out)?;
            out.truncate(length);
            Ok(out)
        };
        let one = decrypt(self.one, &key.secret);
        let other = decrypt(self.other, &key.secret_too);
        assert_eq!(one, other, "{algorithm:?}, {} bytes", ciphertext.len());
        one
    }

    /// Agrees on secrets with public keys of the other registry, and with invalid ones.
    fn agree(&self, key: &Key, rng: &mut dyn CryptoRng) {
        let agree = |entry: &dyn Algorithm, secret: &SecretBuf, peer: &[u8]| {
            let mut shared = SecretBuf::new();
            entry.agree(secret, peer, &mut shared).map(|()| shared.expose().to_vec())
        };
        if self.row.public_size == 0 || self.row.public_size > 200 {
            return;
        }
        let peer = self.key(rng);
        let z = agree(self.one, &key.secret, peer.public.as_bytes());
        assert_eq!(
            z,
            agree(self.other, &peer.secret, key.public.as_bytes()),
            "{:?}",
            self.row.spec
        );
        for _ in 0..CHANGES {
            let changed = change(peer.public.as_bytes(), rng);
            let one = agree(self.one, &key.secret, &changed);
            assert_eq!(
                one,
                agree(self.other, &key.secret, &changed),
                "{:?} {changed:02x?}",
                self.row.spec
            );
        }
    }
}

/// Returns a new RSA key with a modulus of `size` bytes, PKCS#8.
fn rsa_pair(size: usize) -> Vec<u8> {
    let size = match size {
        256 => KeySize::Rsa2048,
        384 => KeySize::Rsa3072,
        _ => KeySize::Rsa4096,
    };
    let pair = KeyPair::generate(size).expect("generated");
    AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).expect("encoded").as_ref().to_vec()
}

/// Corrupts each known answer that AWS-LC computes.
#[test]
fn corrupted_answers_are_found() {
    let mut found = 0;
    for kat in Kat::ALL {
        fault::inject(Some(*kat));
        let failed = AWS_LC.iter().filter(|entry| entry.self_test().is_err()).count();
        fault::inject(None);
        found += usize::from(failed > 0);
        let of_module =
            matches!(kat, Kat::Integrity | Kat::Drbg | Kat::HashDrbg | Kat::AesKwp | Kat::Shamir);
        let elsewhere = of_module || matches!(kat, Kat::AesCbc | Kat::Pairwise);
        // AWS-LC computes with the secret numbers of NIST curves, our code with those of secp256k1.
        let expected = !elsewhere || *kat == Kat::HashDrbg;
        assert_eq!(failed > 0, expected, "{kat:?}");
    }
    assert!(found > 30, "{found} known answers");
}

/// Returns the size of the algorithm's digest in bytes.
fn digest_size(algorithm: SigningAlgorithm) -> usize {
    match algorithm.aws_name().and_then(|name| name.rsplit('_').next()) {
        Some("256") => 32,
        Some("384") => 48,
        _ => 64,
    }
}

/// Returns the bytes with one bit flipped, with a byte more, cut short, or with one byte replaced.
fn change(bytes: &[u8], rng: &mut dyn CryptoRng) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let at = rng.next_u32() as usize % bytes.len();
    match rng.next_u32() % 8 {
        0 => changed.truncate(at),
        1 => changed.push(0),
        2 => changed.insert(at, 0),
        3 => changed[at] = 0,
        4 => changed[at] = 0xff,
        _ => changed[at] ^= 1 << (rng.next_u32() % 8),
    }
    changed
}
