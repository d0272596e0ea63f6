//! Images, their manifests and their signers.

use std::sync::LazyLock;

use hsm_boot::manifest::{self, ANY_ADDRESS, Body, MAX_SIZE, Name, Signature};
use hsm_boot::{Board, Layout, SignerKey, SignerSet, Slot, SlotId, Verify};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256};

use crate::flash::{BLOCK, Rng};

/// Bytes of the flash: the boot record, and two slots of three blocks and one for the manifest.
pub(crate) const CHIP: usize = 11 * BLOCK;
pub(crate) const ROOM: usize = 3 * BLOCK;

const KIB: u32 = BLOCK as u32;

pub(crate) const LAYOUT: Layout = Layout {
    a: Slot { start: 3 * KIB, length: 4 * KIB, address: 0x1000_0000 },
    b: Slot { start: 7 * KIB, length: 4 * KIB, address: 0x1010_0000 },
    record: 0,
};

pub(crate) fn start(slot: SlotId) -> usize {
    LAYOUT.slot(slot).start as usize
}

pub(crate) fn signing_key(signer: u8) -> SigningKey {
    SigningKey::from_slice(&[signer + 1; 32]).unwrap()
}

/// The keys of the three signers of the board.
static SIGNERS: LazyLock<Vec<SignerKey>> = LazyLock::new(|| keys(3));

/// The keys of the first signers.
pub(crate) fn keys(count: u8) -> Vec<SignerKey> {
    let point = |signer| signing_key(signer).verifying_key().to_sec1_point(false);
    let key = |signer| {
        let point = point(signer);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        SignerKey { x: x.try_into().unwrap(), y: y.try_into().unwrap() }
    };
    (0..count).map(key).collect()
}

/// A board with two of three signers.
pub(crate) fn board() -> Board<'static> {
    let signers = SignerSet::new(&SIGNERS, 2).unwrap();
    Board { name: Name::new("bench").unwrap(), layout: LAYOUT, signers, trials: 1 }
}

/// Signatures that cost nothing, for tests that count cuts and not signatures.
#[derive(Clone, Copy)]
pub(crate) struct Quick;

impl Verify for Quick {
    fn verify(&self, key: &SignerKey, digest: &[u8; 32], signature: &Signature) -> bool {
        *signature == quick(key, digest)
    }
}

fn quick(key: &SignerKey, digest: &[u8; 32]) -> Signature {
    let mut out = [0; 64];
    out[..32].copy_from_slice(&Sha256::new().chain_update(key.x).chain_update(digest).finalize());
    out
}

/// An image and its manifest.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) body: Body,
    pub(crate) image: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

impl std::fmt::Debug for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} (security version {})",
            self.body.version.as_str(),
            self.body.security_version
        )
    }
}

impl Release {
    /// An image of random bytes, which are others in each release, signed quickly by two signers.
    pub(crate) fn new(version: &str, security_version: u32, length: usize) -> Self {
        let first = (length as u64) << 8 | u64::from(security_version);
        let seed = version.bytes().fold(first, |seed, byte| seed * 31 + u64::from(byte));
        let mut rng = Rng::new(seed);
        let image: Vec<u8> = (0..length).map(|_| rng.byte()).collect();
        let body = Body {
            board: Name::new("bench").unwrap(),
            version: Name::new(version).unwrap(),
            security_version,
            length: u32::try_from(length).unwrap(),
            address: ANY_ADDRESS,
            measurement: Sha256::digest(&image).into(),
        };
        let mut release = Self { body, image, manifest: Vec::new() };
        release.sign_quickly(&[0, 2]);
        release
    }

    pub(crate) fn sign_quickly(&mut self, signers: &[u8]) {
        let digest = self.body.digest();
        let sign = |signer: &u8| (*signer, quick(&SIGNERS[usize::from(*signer)], &digest));
        self.attach(&signers.iter().map(sign).collect::<Vec<_>>());
    }

    /// Signs with ECDSA.
    pub(crate) fn sign(&mut self, signers: &[u8]) {
        let digest = self.body.digest();
        let sign = |signer: &u8| (*signer, ecdsa(*signer, &digest));
        self.attach(&signers.iter().map(sign).collect::<Vec<_>>());
    }

    pub(crate) fn attach(&mut self, signatures: &[(u8, Signature)]) {
        let mut out = [0; MAX_SIZE];
        self.manifest = manifest::encode(&self.body, signatures, &mut out).unwrap().to_vec();
    }
}

pub(crate) fn ecdsa(signer: u8, digest: &[u8; 32]) -> Signature {
    let signature: p256::ecdsa::Signature = signing_key(signer).sign_prehash(digest).unwrap();
    signature.to_bytes().into()
}
