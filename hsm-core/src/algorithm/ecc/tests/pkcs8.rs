//! PKCS#8 of every curve: encodings that leave, are accepted, and are refused.

use super::*;

fn exported(entry: &dyn Algorithm, secret: &SecretBuf) -> Vec<u8> {
    let mut out = std::vec![0; hsm_protocol::key_spec::MAX_PRIVATE_KEY];
    let length = entry.private_key(secret, &mut out).unwrap();
    out.truncate(length);
    out
}

fn import(entry: &dyn Algorithm, material: &[u8]) -> Result<Vec<u8>, ErrorCode> {
    let mut secret = SecretBuf::new();
    entry.import(material, &mut secret).map(|()| secret.expose().to_vec())
}

#[test]
fn exported_keys_can_be_imported_on_their_own_curve_only() {
    for (entry, ..) in ALL {
        let (secret, _) = generate(entry, &mut rng());
        let der = exported(entry, &secret);
        assert_eq!(import(entry, &der).unwrap(), secret.expose());
        for (other, ..) in ALL.iter().filter(|row| row.0.spec() != entry.spec()) {
            assert_eq!(import(*other, &der), Err(ErrorCode::KEY_MATERIAL_INVALID));
        }
        let mut small = std::vec![0; der.len() - 1];
        assert_eq!(entry.private_key(&secret, &mut small), Err(ErrorCode::TOO_LARGE));
    }
}

/// Structure, scalar and point each contradict the rest.
#[test]
fn a_key_with_any_changed_byte_is_refused() {
    for (entry, ..) in ALL {
        let (secret, _) = generate(entry, &mut rng());
        let der = exported(entry, &secret);
        for index in 0..der.len() {
            let mut bad = der.clone();
            bad[index] ^= 1;
            assert_eq!(import(entry, &bad), Err(ErrorCode::KEY_MATERIAL_INVALID), "byte {index}");
        }
        for length in 0..der.len() {
            assert_eq!(import(entry, &der[..length]), Err(ErrorCode::KEY_MATERIAL_INVALID));
        }
        let long = [&der[..], &[0]].concat();
        assert_eq!(import(entry, &long), Err(ErrorCode::KEY_MATERIAL_INVALID));
    }
}

/// The key of RFC 6979 A.2.5 as other software writes it.
#[test]
fn the_public_key_the_parameters_and_attributes_are_optional() {
    let scalar = hex!("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
    let algorithm = hex!("301306072a8648ce3d020106082a8648ce3d030107");
    let bare = [&hex!("3041020100")[..], &algorithm, &hex!("042730250201010420"), &scalar];
    assert_eq!(import(&EccNistP256, &bare.concat()).unwrap(), scalar);

    let with_parameters = |oid: &[u8]| {
        let parts = [&hex!("304d020100")[..], &algorithm, &hex!("043330310201010420"), &scalar];
        [&parts.concat()[..], &hex!("a00a"), oid].concat()
    };
    let own = with_parameters(&hex!("06082a8648ce3d030107"));
    assert_eq!(import(&EccNistP256, &own).unwrap(), scalar);
    let other = with_parameters(&hex!("06082a8648ce3d030101"));
    assert_eq!(import(&EccNistP256, &other), Err(ErrorCode::KEY_MATERIAL_INVALID));

    // keyUsage attribute, as Windows writes it.
    let attributes = hex!("a00d300b0603551d0f310403020080");
    let parts = [&hex!("3050020100")[..], &algorithm, &hex!("042730250201010420"), &scalar];
    let with_attributes = [&parts.concat()[..], &attributes].concat();
    assert_eq!(import(&EccNistP256, &with_attributes).unwrap(), scalar);
}

#[test]
fn scalars_of_wrong_length_or_range_are_refused() {
    let wrap = |tag: u8, content: &[u8]| {
        [&[tag, u8::try_from(content.len()).unwrap()][..], content].concat()
    };
    let key = |scalar: &[u8]| {
        let ec = wrap(0x30, &[&hex!("020101")[..], &wrap(4, scalar)].concat());
        let algorithm = hex!("301306072a8648ce3d020106082a8648ce3d030107");
        wrap(0x30, &[&hex!("020100")[..], &algorithm, &wrap(4, &ec)].concat())
    };
    assert_eq!(import(&EccNistP256, &key(&[1; 32])).unwrap(), [1; 32]);
    for bad in [&[0; 32][..], &[0xff; 32], &[1; 31], &[1; 33], &[]] {
        assert_eq!(import(&EccNistP256, &key(bad)), Err(ErrorCode::KEY_MATERIAL_INVALID));
    }
}
