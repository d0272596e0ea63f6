//! What a second stage and the firmware read: manifests and boot reports.

use std::sync::LazyLock;

use hsm_boot::manifest::{self, MAX_SIZE, Manifest};
use hsm_boot::{P256, Report, SignerKey, SignerSet};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;

/// What is read is written the same, and nobody signs by chance.
pub(crate) fn manifests(input: &[u8]) {
    static KEYS: LazyLock<Vec<SignerKey>> = LazyLock::new(|| (21..24).map(key).collect());
    if let Some(manifest) = Manifest::parse(input) {
        let signatures: Vec<_> = manifest.signatures().map(|(n, bytes)| (n, *bytes)).collect();
        let mut out = [0; MAX_SIZE];
        assert_eq!(manifest::encode(&manifest.body, &signatures, &mut out), Some(input));
        let signers = SignerSet::new(&KEYS, 1).expect("a set of three");
        assert!(signers.check(&manifest, &P256).is_err(), "a forged signature");
    }
    if let Some(bytes) = input.first_chunk()
        && let Some(report) = Report::decode(bytes)
    {
        assert_eq!(report.encode(), *bytes);
    }
}

fn key(scalar: u8) -> SignerKey {
    let key = SecretKey::from_slice(&[scalar; 32]).expect("a scalar").public_key();
    let point = key.to_sec1_point(false);
    let (x, y) = point.as_bytes()[1..].split_at(32);
    SignerKey { x: x.try_into().expect("32 bytes"), y: y.try_into().expect("32 bytes") }
}
