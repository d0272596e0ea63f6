use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
use hsm_protocol::token::{History, KeyAttributes};
use hsm_protocol::{DomainId, KeyId, MaterialId};

use super::*;

const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

fn key() -> Vec<u8> {
    format!("keys/000000000000/us-east-1/{ID}").into_bytes()
}

/// A token of a material, wrapped with this nonce.
fn token(material: u8, nonce: u8) -> Vec<u8> {
    let id = kms_base::identifier::KeyId::parse(ID).unwrap();
    let key: KeyId = id.device();
    let attributes = KeyAttributes {
        domain: DomainId([1; 16]),
        domain_key: 1,
        key,
        material: MaterialId([material; 32]),
        spec: KeySpec::SYMMETRIC_DEFAULT,
        usage: KeyUsage::ENCRYPT_DECRYPT,
        origin: Origin::AWS_KMS,
        history: History::CLEAN,
        approval: None,
    };
    let mut bytes = vec![nonce; KeyToken::HEADER_SIZE + 32 + TAG_SIZE];
    let (_, sealed) = attributes.write(&[nonce; NONCE_SIZE], &mut bytes).unwrap();
    sealed.fill(nonce ^ 0x5a);
    bytes
}

/// A record with these texts as tokens of materials 7, 8 and so on.
fn record(description: &str, tokens: &[String]) -> Vec<u8> {
    let materials = tokens.iter().enumerate().map(|(n, token)| {
        let id = format!("{:02x}", 7 + n).repeat(32);
        format!(r#"{{"id":"{id}","token":"{token}"}}"#)
    });
    let materials: Vec<String> = materials.collect();
    format!(
        r#"{{"version":1,"id":"{ID}","scope":{{"account":"000000000000","region":"us-east-1"}},"spec":"SYMMETRIC_DEFAULT","usage":"ENCRYPT_DECRYPT","origin":"AWS_KMS","state":"Enabled","description":"{description}","created":1780000000123,"deletion":null,"policy":"{{\"Statement\":{{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"kms:*\",\"Resource\":\"*\"}}}}","tags":{{"token":"x"}},"materials":[{}]}}"#,
        materials.join(",")
    )
    .into_bytes()
}

fn text(token: &[u8]) -> String {
    BASE64.encode(token)
}

/// The characters from `start` on are others.
fn with(text: &str, start: usize, damage: &str) -> String {
    format!("{}{damage}{}", &text[..start], &text[start + damage.len()..])
}

#[test]
fn whichever_character_is_damaged_the_same_token_comes_back_and_nothing_else() {
    let (one, two) = (text(&token(7, 1)), text(&token(8, 2)));
    let copy = record("as it was", &[one.clone(), two.clone()]);
    let whole = record("changed since then", &[one.clone(), two.clone()]);
    KeyRecord::decode(&whole).unwrap();
    for start in 0..two.len() - 3 {
        // Other characters of Base64, and bytes that Base64 does not have.
        for damage in ["++++", "\u{1}\"\u{2}{"] {
            let damaged = record("changed since then", &[one.clone(), with(&two, start, damage)]);
            assert_eq!(repaired(&key(), &damaged, &copy), Some(whole.clone()), "{start}");
        }
    }
    let both = record("changed since then", &[with(&one, 9, "++++"), with(&two, 130, "++++")]);
    assert_eq!(repaired(&key(), &both, &copy), Some(whole.clone()));
    assert_eq!(repaired(&key(), &whole, &copy), None, "it is whole");
}

#[test]
fn another_token_of_the_same_material_is_never_put_back() {
    let copy = record("", &[text(&token(7, 1))]);
    // Wrapped under another domain key, or with an approval rule, since the copy; and damaged then.
    let later = text(&token(7, 9));
    for start in [0, 40, 110, 150, later.len() - 8] {
        let damaged = record("", &[with(&later, start, "++++")]);
        assert_eq!(repaired(&key(), &damaged, &copy), None);
    }
    // Nothing is left that says which one it was.
    let old = text(&token(7, 1));
    let gone = with(&with(&old, 104, "++++"), old.len() - 8, "++++");
    assert_eq!(repaired(&key(), &record("", &[gone]), &copy), None);
    // Imported material that was deleted stays deleted, and so does what was cut off.
    assert_eq!(repaired(&key(), &record("", &[String::new()]), &copy), None);
    assert_eq!(repaired(&key(), &record("", &[old[..100].to_owned()]), &copy), None);
    // In the place of another material.
    let swapped = record("", &[text(&token(7, 3)), with(&old, 150, "++++")]);
    assert_eq!(repaired(&key(), &swapped, &copy), None);
    // What is damaged elsewhere stays damaged.
    let mut broken = record("", &[with(&old, 150, "++++")]);
    broken[1] = b'!';
    assert_eq!(repaired(&key(), &broken, &copy), None);
}

#[test]
fn a_sealed_secret_comes_back_likewise() {
    let mut blob = vec![3; Blob::OVERHEAD + 40];
    blob[0] = 0x21;
    blob[1..18].copy_from_slice(&token(7, 1)[21..38]);
    blob[80..].fill(5);
    Blob::parse(&blob).unwrap();
    let record = |blob: &str| {
        format!(r#"{{"version":1,"secret":{{"region":"us-east-1","blob":"{blob}"}}}}"#).into_bytes()
    };
    let whole = text(&blob);
    for start in 0..whole.len() - 3 {
        let damaged = record(&with(&whole, start, "++++"));
        let found = repaired(b"iam/access-keys/AKIA", &damaged, &record(&whole));
        assert_eq!(found, Some(record(&whole)), "{start}");
    }
    blob[50..66].fill(4);
    blob[80..].fill(6);
    let later = record(&with(&text(&blob), 110, "++++"));
    assert_eq!(repaired(b"iam/access-keys/AKIA", &later, &record(&whole)), None);
}
