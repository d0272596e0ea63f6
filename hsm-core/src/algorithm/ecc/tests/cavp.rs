//! CAVP signatures made again, with the secret numbers that the vectors give.

use std::eprintln;

use serde_json::Value;

use super::*;

#[test]
fn signatures_with_given_secret_numbers() {
    let file = include_str!("../../../../../tests/vectors/ecc.json");
    let sets: Vec<Value> = serde_json::from_str(file).unwrap();
    let vectors = |spec: &str| -> Vec<Value> {
        let sets = sets.iter().filter(|set| set["spec"] == spec);
        let vectors = sets.flat_map(|set| set["tests"].as_array().unwrap());
        vectors.filter(|vector| vector["nonce"].is_string()).cloned().collect()
    };
    let p256 = sign_again::<NistP256>(&vectors("ECC_NIST_P256"));
    let p384 = sign_again::<NistP384>(&vectors("ECC_NIST_P384"));
    let p521 = sign_again::<NistP521>(&vectors("ECC_NIST_P521"));
    eprintln!("{p256} of P-256, {p384} of P-384, {p521} of P-521 run and passed");
    assert_eq!([p256, p384, p521], [15; 3]);
}

fn sign_again<C: NamedCurve>(vectors: &[Value]) -> usize {
    for vector in vectors {
        let field = |name: &str| unhex(vector[name].as_str().unwrap());
        let secret = parse_secret::<C>(&field("secret")).unwrap();
        let nonce = parse_secret::<C>(&field("nonce")).unwrap();
        let digest = C::Hash::digest(field("message"));
        let signature = Portable::sign(&secret, &nonce, &digest).unwrap();
        let expected = [field("r"), field("s")].concat();
        assert_eq!(signature.to_bytes()[..], expected, "{}", vector["id"]);
    }
    vectors.len()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
