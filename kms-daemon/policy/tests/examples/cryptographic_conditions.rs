//! Condition keys of KMS that are about algorithms, key material and attested recipients: KMS
//! Developer Guide, "AWS KMS condition keys" and "AWS KMS condition keys for attested platforms".

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::{Value, json};

use super::harness::{Example, ask, kms};
use super::people::{ANA, APP, FAR_KEY, RUN};
use super::statements::{ALWAYS, allow, by_account, by_key, denied, deny, lacking, may, may_not};

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = algorithms();
    examples.extend(material());
    examples
}

fn algorithms() -> Vec<Example> {
    let encryption = |name: &str| json!({ "kms:EncryptionAlgorithm": name });
    let mac = |name: &str| json!({ "kms:MacAlgorithm": name });
    let equals = |facts: Value| json!({ "StringEquals": facts });
    let macs = |names: Value| equals(json!({ "kms:MacAlgorithm": names }));
    vec![
        kms("kms:DataKeyPairSpec")
            .key([allow(
                ANA,
                "GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext",
                json!({ "StringLike": { "kms:DataKeyPairSpec": "RSA*" } }),
            )])
            .rows([
                (
                    ask(ANA, A::GenerateDataKeyPair, json!({ "kms:DataKeyPairSpec": "RSA_3072" })),
                    by_key(0),
                ),
                (
                    ask(
                        ANA,
                        A::GenerateDataKeyPairWithoutPlaintext,
                        json!({ "kms:DataKeyPairSpec": "ECC_NIST_P256" }),
                    ),
                    lacking(Resource),
                ),
            ]),
        // The denial comes before all policies and grants that allow.
        kms("kms:EncryptionAlgorithm: parameter in a request")
            .key([
                allow(APP, "*", ALWAYS),
                deny(
                    APP,
                    "Encrypt Decrypt ReEncrypt*",
                    json!({ "StringNotEquals": encryption("RSAES_OAEP_SHA_256") }),
                ),
            ])
            .rows([
                (ask(RUN, A::Encrypt, encryption("RSAES_OAEP_SHA_256")), by_key(0)),
                (ask(RUN, A::Encrypt, encryption("RSAES_OAEP_SHA_256")).granted(), by_key(0)),
                (ask(RUN, A::Encrypt, encryption("RSAES_OAEP_SHA_1")), denied(Resource, 0, 1)),
                (
                    ask(RUN, A::ReEncryptTo, encryption("RSAES_OAEP_SHA_1")).granted(),
                    denied(Resource, 0, 1),
                ),
            ]),
        // Data keys are always encrypted with the symmetric algorithm.
        kms("kms:EncryptionAlgorithm: algorithm used for the operation")
            .identity([
                may("*", "*", ALWAYS),
                may_not(
                    "Encrypt Decrypt ReEncrypt* GenerateDataKey*",
                    "arn:aws:kms:eu-north-1:210987654321:key/*",
                    json!({ "StringNotEquals": encryption("SYMMETRIC_DEFAULT") }),
                ),
            ])
            .rows([
                (ask(ANA, A::Encrypt, encryption("SYMMETRIC_DEFAULT")), by_account(0, 0, 0)),
                (
                    ask(ANA, A::GenerateDataKeyPair, encryption("SYMMETRIC_DEFAULT")),
                    by_account(0, 0, 0),
                ),
                (ask(ANA, A::Encrypt, encryption("SM2PKE")), denied(Identity, 0, 1)),
                (ask(ANA, A::Encrypt, encryption("SM2PKE")).on(FAR_KEY), by_account(0, 0, 0)),
            ]),
        kms("kms:KeyAgreementAlgorithm")
            .key([
                allow(APP, "DeriveSharedSecret", ALWAYS),
                deny(
                    APP,
                    "DeriveSharedSecret",
                    json!({ "StringNotEquals": { "kms:KeyAgreementAlgorithm": "ECDH" } }),
                ),
            ])
            .rows([
                (
                    ask(RUN, A::DeriveSharedSecret, json!({ "kms:KeyAgreementAlgorithm": "ECDH" })),
                    by_key(0),
                ),
                (ask(RUN, A::DeriveSharedSecret, json!({})), denied(Resource, 0, 1)),
            ]),
        kms("kms:MacAlgorithm")
            .key([
                allow(APP, "GenerateMac VerifyMac", macs("HMAC_SHA_384".into())),
                allow(APP, "GenerateMac VerifyMac", macs("HMAC_SHA_512".into())),
            ])
            .rows([
                (ask(RUN, A::GenerateMac, mac("HMAC_SHA_384")), by_key(0)),
                (ask(RUN, A::VerifyMac, mac("HMAC_SHA_512")), by_key(1)),
                (ask(RUN, A::VerifyMac, mac("HMAC_SHA_256")), lacking(Resource)),
            ]),
        // The guide says that two values in one condition are both required. A request has one
        // algorithm, and the IAM User Guide has the values of a key under an OR, so the engine.
        kms("kms:MacAlgorithm: several values")
            .key([allow(APP, "GenerateMac", macs(json!(["HMAC_SHA_384", "HMAC_SHA_512"])))])
            .rows([
                (ask(RUN, A::GenerateMac, mac("HMAC_SHA_512")), by_key(0)),
                (ask(RUN, A::GenerateMac, mac("HMAC_SHA_256")), lacking(Resource)),
            ]),
        kms("kms:MessageType")
            .key([allow(ANA, "Sign", equals(json!({ "kms:MessageType": "RAW" })))])
            .rows([
                (ask(ANA, A::Sign, json!({ "kms:MessageType": "RAW" })), by_key(0)),
                (ask(ANA, A::Sign, json!({ "kms:MessageType": "DIGEST" })), lacking(Resource)),
            ]),
        kms("kms:SigningAlgorithm")
            .key([allow(
                APP,
                "Sign",
                json!({ "StringLike": { "kms:SigningAlgorithm": "RSASSA_PSS*" } }),
            )])
            .rows([
                (
                    ask(RUN, A::Sign, json!({ "kms:SigningAlgorithm": "RSASSA_PSS_SHA_512" })),
                    by_key(0),
                ),
                (
                    ask(
                        RUN,
                        A::Sign,
                        json!({ "kms:SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_512" }),
                    ),
                    lacking(Resource),
                ),
            ]),
    ]
}

fn material() -> Vec<Example> {
    let model = |name: &str| json!({ "kms:ExpirationModel": name });
    let lasting = "KEY_MATERIAL_DOES_NOT_EXPIRE";
    let digest = "5c".repeat(48);
    let attested =
        |register: &str, value: &str| json!({ "kms:RecipientAttestation": { register: value } });
    let measured = |register: &str| {
        json!({ "StringEqualsIgnoreCase": {
            format!("kms:RecipientAttestation:{register}"): digest.to_uppercase()
        } })
    };
    vec![
        kms("kms:ExpirationModel")
            .key([allow(ANA, "ImportKeyMaterial", json!({ "StringEquals": model(lasting) }))])
            .rows([
                (ask(ANA, A::ImportKeyMaterial, model(lasting)), by_key(0)),
                (ask(ANA, A::ImportKeyMaterial, model("KEY_MATERIAL_EXPIRES")), lacking(Resource)),
                (ask(ANA, A::ImportKeyMaterial, json!({})), lacking(Resource)),
            ]),
        kms("kms:ExpirationModel: the default")
            .key([allow(
                ANA,
                "ImportKeyMaterial",
                json!({ "Null": { "kms:ExpirationModel": true } }),
            )])
            .rows([
                (ask(ANA, A::ImportKeyMaterial, json!({})), by_key(0)),
                (ask(ANA, A::ImportKeyMaterial, model(lasting)), lacking(Resource)),
            ]),
        kms("kms:ValidTo")
            .key([allow(
                ANA,
                "ImportKeyMaterial",
                json!({ "NumericLessThanEquals": { "kms:ValidTo": "1924991999.0" } }),
            )])
            .rows([
                (
                    ask(ANA, A::ImportKeyMaterial, json!({ "kms:ValidTo": 1_924_991_999 })),
                    by_key(0),
                ),
                (
                    ask(ANA, A::ImportKeyMaterial, json!({ "kms:ValidTo": 1_924_992_000 })),
                    lacking(Resource),
                ),
                (ask(ANA, A::ImportKeyMaterial, model(lasting)), lacking(Resource)),
            ]),
        kms("kms:WrappingAlgorithm")
            .key([allow(
                ANA,
                "GetParametersForImport",
                json!({ "StringNotEquals": { "kms:WrappingAlgorithm": "RSAES_OAEP_SHA_1" } }),
            )])
            .rows([
                (
                    ask(
                        ANA,
                        A::GetParametersForImport,
                        json!({ "kms:WrappingAlgorithm": "RSA_AES_KEY_WRAP_SHA_256" }),
                    ),
                    by_key(0),
                ),
                (
                    ask(
                        ANA,
                        A::GetParametersForImport,
                        json!({ "kms:WrappingAlgorithm": "RSAES_OAEP_SHA_1" }),
                    ),
                    lacking(Resource),
                ),
            ]),
        kms("kms:WrappingKeySpec")
            .key([allow(
                ANA,
                "GetParametersForImport",
                json!({ "StringEquals": { "kms:WrappingKeySpec": "RSA_4096" } }),
            )])
            .rows([
                (
                    ask(
                        ANA,
                        A::GetParametersForImport,
                        json!({ "kms:WrappingKeySpec": "RSA_4096" }),
                    ),
                    by_key(0),
                ),
                (
                    ask(
                        ANA,
                        A::GetParametersForImport,
                        json!({ "kms:WrappingKeySpec": "RSA_2048" }),
                    ),
                    lacking(Resource),
                ),
            ]),
        kms("kms:RecipientAttestation:ImageSha384")
            .key([allow(APP, "Decrypt GenerateDataKey GenerateRandom", measured("ImageSha384"))])
            .rows([
                (ask(RUN, A::Decrypt, attested("ImageSha384", &digest)), by_key(0)),
                (ask(RUN, A::Decrypt, attested("ImageSha384", "5c5c")), lacking(Resource)),
                // There is no attestation document.
                (ask(RUN, A::Decrypt, json!({})), lacking(Resource)),
                // A key policy has no say in what is about no key, whatever the guide lists.
                (ask(RUN, A::GenerateRandom, attested("ImageSha384", &digest)), lacking(Identity)),
            ]),
        kms("kms:RecipientAttestation:PCR").key([allow(APP, "Decrypt", measured("PCR1"))]).rows([
            (ask(RUN, A::Decrypt, attested("PCR1", &digest)), by_key(0)),
            (ask(RUN, A::Decrypt, attested("PCR11", &digest)), lacking(Resource)),
            (ask(RUN, A::Decrypt, json!({})), lacking(Resource)),
        ]),
        kms("kms:RecipientAttestation:NitroTPMPCR")
            .key([allow(APP, "Decrypt", measured("NitroTPMPCR4"))])
            .rows([
                (ask(RUN, A::Decrypt, attested("NitroTPMPCR4", &digest)), by_key(0)),
                (ask(RUN, A::Decrypt, attested("PCR4", &digest)), lacking(Resource)),
            ]),
        kms("kms:ReEncryptOnSameKey")
            .key([allow(ANA, "ReEncrypt*", json!({ "Bool": { "kms:ReEncryptOnSameKey": true } }))])
            .rows([
                (ask(ANA, A::ReEncryptFrom, json!({ "kms:ReEncryptOnSameKey": true })), by_key(0)),
                (
                    ask(ANA, A::ReEncryptTo, json!({ "kms:ReEncryptOnSameKey": false })),
                    lacking(Resource),
                ),
            ]),
    ]
}
