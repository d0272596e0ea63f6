//! What a trust anchor may look like. What it proves is tested with daemons and devices, in
//! `tests/tests/audit_proof.rs`.

use super::*;

fn device() -> DeviceAnchor {
    let signing = host_driver::HostKey::generate().public(); // P-256 keys are alike
    DeviceAnchor {
        device: signing.device_id().to_string(),
        fingerprint: fingerprint(&signing),
        signing_key: hex::encode(&signing.to_bytes()),
        host: "11".repeat(16),
        checkpoint: 3,
        checkpoint_hash: "22".repeat(32),
        region: Some("us-east-1".to_owned()),
        domain: None,
    }
}

fn anchor(device: DeviceAnchor) -> TrustAnchor {
    let (written, log) = ("2026-11-28T12:00:00Z".to_owned(), Position::default());
    TrustAnchor::Devices(DeviceAnchors { written, log, devices: vec![device] })
}

#[test]
fn round_trip_and_what_is_no_anchor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("anchor.json");
    let good = anchor(device());
    good.write_new(&path).unwrap();
    assert_eq!(TrustAnchor::read(&path).unwrap(), good);
    assert!(matches!(good.write_new(&path), Err(AnchorError::File { .. })), "not replaced");

    let bad = |change: &dyn Fn(&mut DeviceAnchor)| {
        let mut device = device();
        change(&mut device);
        fs::write(&path, anchor(device).text()).unwrap();
        TrustAnchor::read(&path).unwrap_err()
    };
    let malformed = |error| matches!(error, AnchorError::Malformed { .. });
    assert!(malformed(bad(&|device| device.device = "00".repeat(16))));
    assert!(malformed(bad(&|device| device.fingerprint = "00".repeat(32))));
    assert!(malformed(bad(&|device| device.signing_key = "00".repeat(33))));
    assert!(malformed(bad(&|device| device.host.truncate(30))));
    assert!(malformed(bad(&|device| device.checkpoint_hash.push('0'))));

    let changed = |from: &str, to: &str| {
        let text = good.text();
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        TrustAnchor::read(&path).unwrap_err().to_string()
    };
    assert!(changed("\"format\": 1", "\"format\": 2").contains("use a newer one"));
    assert!(changed("\"devices\",", "\"device-ca\",").contains("use a newer one"));
    assert!(changed("\"written\"", "\"write\"").contains("not a trust anchor"));
    assert!(changed("{", "").contains("not a trust anchor"));
}
