//! Every operation of the SDK, called at least once.

use std::collections::BTreeSet;

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    AlgorithmSpec, DataKeyPairSpec, DataKeySpec, EncapsulationAlgorithmSpec, ExpirationModelType,
    GrantConstraints, GrantOperation, IncludeKeyMaterial, KeyAgreementAlgorithmSpec,
    KeyLastUsageTrackingOperation, KeyMaterialState, KeyMetadata, KeySpec, KeyState, KeyUsageType,
    MacAlgorithmSpec, OriginType, SigningAlgorithmSpec, Tag, WrappingKeySpec,
};
use hsm_tests::daemon::Daemon;
use hsm_tests::http::get;
use hsm_tests::sdk::{self, code};
use rsa::pkcs8::DecodePublicKey;
use rsa::{Oaep, PublicKey};
use sha2::Sha256;

/// The service model's operations; the Python suites hold the list against the model itself.
const OPERATIONS: &[&str] = &[
    "CancelKeyDeletion",
    "ConnectCustomKeyStore",
    "CreateAlias",
    "CreateCustomKeyStore",
    "CreateGrant",
    "CreateKey",
    "Decapsulate",
    "Decrypt",
    "DeleteAlias",
    "DeleteCustomKeyStore",
    "DeleteImportedKeyMaterial",
    "DeriveSharedSecret",
    "DescribeCustomKeyStores",
    "DescribeKey",
    "DisableKey",
    "DisableKeyRotation",
    "DisconnectCustomKeyStore",
    "EnableKey",
    "EnableKeyRotation",
    "Encapsulate",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GenerateRandom",
    "GetKeyLastUsage",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "GetParametersForImport",
    "GetPublicKey",
    "ImportKeyMaterial",
    "ListAliases",
    "ListGrants",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListKeys",
    "ListResourceTags",
    "ListRetirableGrants",
    "PutKeyPolicy",
    "ReEncrypt",
    "ReplicateKey",
    "RetireGrant",
    "RevokeGrant",
    "RotateKeyOnDemand",
    "ScheduleKeyDeletion",
    "Sign",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateCustomKeyStore",
    "UpdateKeyDescription",
    "UpdatePrimaryRegion",
    "Verify",
    "VerifyMac",
];

const PRINCIPAL: &str = "arn:aws:iam::000000000000:root";
const MESSAGE: &[u8] = b"a message\0";

#[tokio::test]
async fn every_operation_is_answered() {
    let daemon = Daemon::start(&["soft"]);
    let kms = sdk::client(&daemon);
    keys(&kms).await;
    names_tags_and_policies(&kms).await;
    encryption(&kms).await;
    asymmetric_keys_and_macs(&kms).await;
    grants(&kms).await;
    rotation(&kms).await;
    import(&kms).await;
    custom_key_stores(&kms).await;
    other_regions(&kms).await;

    let metrics = String::from_utf8(get(&daemon, "/metrics").body).expect("text");
    let called: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("strongroom_requests_total{operation=\""))
        .filter_map(|rest| Some(rest.split_once('"')?.0))
        .collect();
    assert_eq!(called, OPERATIONS.iter().copied().collect());
}

async fn make(kms: &Client, spec: KeySpec, usage: KeyUsageType) -> KeyMetadata {
    let made = kms.create_key().key_spec(spec).key_usage(usage).send().await.expect("made");
    made.key_metadata.expect("metadata")
}

async fn symmetric(kms: &Client) -> KeyMetadata {
    make(kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await
}

async fn state(kms: &Client, key: &KeyMetadata) -> KeyState {
    let described = kms.describe_key().key_id(&key.key_id).send().await.expect("described");
    described.key_metadata.and_then(|metadata| metadata.key_state).expect("a state")
}

async fn keys(kms: &Client) {
    let key = symmetric(kms).await;
    let id = &key.key_id;
    let listed = kms.list_keys().limit(1000).send().await.expect("listed");
    assert!(listed.keys().iter().any(|entry| entry.key_id() == Some(id)));
    assert!(!listed.truncated());
    kms.update_key_description().key_id(id).description("new").send().await.expect("updated");
    kms.disable_key().key_id(id).send().await.expect("disabled");
    assert_eq!(state(kms, &key).await, KeyState::Disabled);
    kms.enable_key().key_id(id).send().await.expect("enabled");
    assert_eq!(state(kms, &key).await, KeyState::Enabled);

    let used = kms.get_key_last_usage().key_id(id).send().await.expect("answered");
    assert_eq!(used.key_last_usage().and_then(|usage| usage.operation()), None);
    assert_eq!(used.key_creation_date(), key.creation_date());
    kms.encrypt().key_id(id).plaintext(Blob::new(MESSAGE)).send().await.expect("encrypted");
    let used = kms.get_key_last_usage().key_id(id).send().await.expect("answered");
    let operation = used.key_last_usage().and_then(|usage| usage.operation());
    assert_eq!(operation, Some(&KeyLastUsageTrackingOperation::Encrypt));

    let gone = kms.schedule_key_deletion().key_id(id).pending_window_in_days(7).send().await;
    let gone = gone.expect("scheduled");
    assert_eq!(gone.pending_window_in_days(), Some(7));
    let ahead = gone.deletion_date().expect("a date").secs() - now();
    assert!((6 * 86_400..=8 * 86_400).contains(&ahead), "{ahead} s");
    kms.cancel_key_deletion().key_id(id).send().await.expect("cancelled");
    assert_eq!(state(kms, &key).await, KeyState::Disabled);
}

fn now() -> i64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    i64::try_from(now).expect("before the year 292277026596")
}

async fn names_tags_and_policies(kms: &Client) {
    let (first, second) = (symmetric(kms).await, symmetric(kms).await);
    let alias = format!("alias/sdk/{}", first.key_id);
    let target = |key: &KeyMetadata| {
        let call = kms.list_aliases().key_id(&key.key_id);
        async move {
            let listed = call.send().await.expect("listed");
            listed.aliases().iter().filter_map(|entry| entry.alias_name.clone()).collect::<Vec<_>>()
        }
    };
    let call = kms.create_alias().alias_name(&alias).target_key_id(&first.key_id);
    call.send().await.expect("made");
    assert_eq!(target(&first).await, [alias.as_str()]);
    let call = kms.update_alias().alias_name(&alias).target_key_id(&second.key_id);
    call.send().await.expect("moved");
    assert_eq!((target(&first).await, target(&second).await), (vec![], vec![alias.clone()]));
    kms.delete_alias().alias_name(&alias).send().await.expect("deleted");
    assert!(target(&second).await.is_empty());

    let id = &first.key_id;
    let tag = |key: &str, value: &str| {
        Tag::builder().tag_key(key).tag_value(value).build().expect("complete")
    };
    let call = kms.tag_resource().key_id(id).tags(tag("a", "b")).tags(tag("c", ""));
    call.send().await.expect("tagged");
    kms.untag_resource().key_id(id).tag_keys("a").send().await.expect("untagged");
    let tags = kms.list_resource_tags().key_id(id).send().await.expect("listed");
    assert_eq!(tags.tags(), [tag("c", "")]);

    let names = kms.list_key_policies().key_id(id).send().await.expect("listed");
    assert_eq!(names.policy_names(), ["default"]);
    let before = kms.get_key_policy().key_id(id).send().await.expect("a policy");
    let policy = before.policy().expect("a text").replacen("key-default-1", "mine", 1);
    assert_ne!(before.policy(), Some(policy.as_str()));
    kms.put_key_policy().key_id(id).policy(&policy).send().await.expect("put");
    let after = kms.get_key_policy().key_id(id).send().await.expect("a policy");
    assert_eq!((after.policy(), after.policy_name()), (Some(policy.as_str()), Some("default")));
}

async fn encryption(kms: &Client) {
    let key = symmetric(kms).await;
    let (id, material) = (&key.key_id, key.current_key_material_id.as_deref());
    let plaintext = Blob::new(MESSAGE);
    let open = |blob: Option<Blob>| {
        let call = kms.decrypt().ciphertext_blob(blob.expect("a blob"));
        async move { call.send().await.expect("decrypted") }
    };
    let sealed = kms.encrypt().key_id(id).plaintext(plaintext.clone()).send().await;
    let sealed = sealed.expect("encrypted").ciphertext_blob.expect("a blob");
    let opened = open(Some(sealed.clone())).await;
    assert_eq!(opened.plaintext(), Some(&plaintext));
    assert_eq!((opened.key_id(), opened.key_material_id()), (key.arn(), material));
    let moved = kms.re_encrypt().ciphertext_blob(sealed).destination_key_id(id).send().await;
    let moved = moved.expect("moved");
    assert_eq!(moved.source_key_material_id(), material);
    assert_eq!(open(moved.ciphertext_blob).await.plaintext, Some(plaintext));

    let call = kms.generate_data_key().key_id(id).key_spec(DataKeySpec::Aes128);
    let data = call.send().await.expect("a data key");
    assert_eq!(data.plaintext().map(|key| key.as_ref().len()), Some(16));
    assert_eq!(open(data.ciphertext_blob).await.plaintext, data.plaintext);
    let call = kms.generate_data_key_without_plaintext().key_id(id).number_of_bytes(40);
    let data = call.send().await.expect("a data key");
    let opened = open(data.ciphertext_blob).await;
    assert_eq!(opened.plaintext.map(|key| key.as_ref().len()), Some(40));

    let call = kms.generate_data_key_pair().key_id(id).key_pair_spec(DataKeyPairSpec::EccNistP256);
    let pair = call.send().await.expect("a pair");
    assert_eq!(open(pair.private_key_ciphertext_blob).await.plaintext, pair.private_key_plaintext);
    let call = kms.generate_data_key_pair_without_plaintext().key_id(id);
    let pair = call.key_pair_spec(DataKeyPairSpec::EccNistEdwards25519).send().await;
    let pair = pair.expect("a pair");
    assert_eq!(pair.public_key().map(|key| key.as_ref().len()), Some(44));
    open(pair.private_key_ciphertext_blob).await;
    let random = kms.generate_random().number_of_bytes(99).send().await.expect("random");
    assert_eq!(random.plaintext().map(|bytes| bytes.as_ref().len()), Some(99));
}

async fn asymmetric_keys_and_macs(kms: &Client) {
    let key = make(kms, KeySpec::EccNistP384, KeyUsageType::SignVerify).await;
    let (algorithm, message) = (SigningAlgorithmSpec::EcdsaSha384, Blob::new(MESSAGE));
    let call = kms.sign().key_id(&key.key_id).message(message.clone());
    let signed = call.signing_algorithm(algorithm.clone()).send().await.expect("signed");
    let call = kms.verify().key_id(&key.key_id).message(message.clone());
    let call = call.signing_algorithm(algorithm).signature(signed.signature.expect("a signature"));
    assert!(call.send().await.expect("verified").signature_valid());

    let key = make(kms, KeySpec::Hmac512, KeyUsageType::GenerateVerifyMac).await;
    let algorithm = MacAlgorithmSpec::HmacSha512;
    let call = kms.generate_mac().key_id(&key.key_id).message(message.clone());
    let made = call.mac_algorithm(algorithm.clone()).send().await.expect("a MAC");
    let call = kms.verify_mac().key_id(&key.key_id).message(message).mac_algorithm(algorithm);
    assert!(call.mac(made.mac.expect("a MAC")).send().await.expect("verified").mac_valid());

    let one = make(kms, KeySpec::EccNistP256, KeyUsageType::KeyAgreement).await;
    let other = make(kms, KeySpec::EccNistP256, KeyUsageType::KeyAgreement).await;
    let mut secrets = Vec::new();
    for (own, peer) in [(&one, &other), (&other, &one)] {
        let public = kms.get_public_key().key_id(&peer.key_id).send().await.expect("a public key");
        assert_eq!(public.key_usage(), Some(&KeyUsageType::KeyAgreement));
        let call = kms.derive_shared_secret().key_id(&own.key_id);
        let call = call.key_agreement_algorithm(KeyAgreementAlgorithmSpec::Ecdh);
        let derived = call.public_key(public.public_key.expect("a key")).send().await;
        let derived = derived.expect("a secret");
        assert_eq!(derived.key_origin(), Some(&OriginType::AwsKms));
        secrets.push(derived.shared_secret.expect("a secret"));
    }
    assert_eq!(secrets[0], secrets[1]);

    let key = make(kms, KeySpec::MlKem768, KeyUsageType::EncapsulateDecapsulate).await;
    let algorithm = EncapsulationAlgorithmSpec::MlKem;
    let call = kms.encapsulate().key_id(&key.key_id).encapsulation_algorithm(algorithm.clone());
    let made = call.send().await.expect("a secret");
    let call = kms.decapsulate().key_id(&key.key_id).encapsulation_algorithm(algorithm);
    let call = call.shared_secret_ciphertext_blob(made.shared_secret_ciphertext_blob.expect("one"));
    assert_eq!(call.send().await.expect("a secret").shared_secret, made.shared_secret);
}

async fn grants(kms: &Client) {
    let key = symmetric(kms).await;
    let arn = key.arn().expect("an ARN");
    let grant = || {
        let call = kms.create_grant().key_id(arn).grantee_principal(PRINCIPAL);
        let only = GrantConstraints::builder().encryption_context_subset("a", "b").build();
        call.retiring_principal(PRINCIPAL).operations(GrantOperation::Decrypt).constraints(only)
    };
    let (first, second) = (grant().send().await, grant().send().await);
    let (first, second) = (first.expect("granted"), second.expect("granted"));
    let listed = kms.list_grants().key_id(arn).send().await.expect("listed");
    assert_eq!(listed.grants().len(), 2);
    let entry = listed.grants().iter().find(|grant| grant.grant_id() == first.grant_id());
    let entry = entry.expect("listed");
    assert_eq!(entry.operations(), [GrantOperation::Decrypt]);
    let subset = entry.constraints().and_then(|only| only.encryption_context_subset());
    assert_eq!(subset.and_then(|subset| subset.get("a")).map(String::as_str), Some("b"));

    let call = kms.list_retirable_grants().retiring_principal(PRINCIPAL);
    assert_eq!(call.send().await.expect("listed").grants().len(), 2);
    let token = first.grant_token.expect("a token");
    kms.retire_grant().grant_token(token).send().await.expect("retired");
    let id = second.grant_id.expect("an id");
    kms.revoke_grant().key_id(arn).grant_id(id).send().await.expect("revoked");
    let listed = kms.list_grants().key_id(arn).send().await.expect("listed");
    assert!(listed.grants().is_empty());
}

async fn rotation(kms: &Client) {
    let key = symmetric(kms).await;
    let id = &key.key_id;
    let call = kms.enable_key_rotation().key_id(id).rotation_period_in_days(90);
    call.send().await.expect("enabled");
    let status = kms.get_key_rotation_status().key_id(id).send().await.expect("a status");
    assert!(status.key_rotation_enabled());
    assert_eq!(status.rotation_period_in_days(), Some(90));
    assert!(status.next_rotation_date().is_some_and(|date| date.secs() > now() + 89 * 86_400));
    kms.disable_key_rotation().key_id(id).send().await.expect("disabled");
    let rotated = kms.rotate_key_on_demand().key_id(id).send().await.expect("rotated");
    assert_eq!(rotated.key_id(), key.arn());
    let call = kms.list_key_rotations().key_id(id);
    let listed = call.include_key_material(IncludeKeyMaterial::AllKeyMaterial).send().await;
    let listed = listed.expect("listed");
    let states: Vec<_> =
        listed.rotations().iter().filter_map(|entry| entry.key_material_state()).collect();
    assert_eq!(states, [&KeyMaterialState::NonCurrent, &KeyMaterialState::Current]);
}

async fn import(kms: &Client) {
    let made = kms.create_key().origin(OriginType::External).send().await.expect("made");
    let key = made.key_metadata.expect("metadata");
    assert_eq!(key.key_state(), Some(&KeyState::PendingImport));
    let call = kms.get_parameters_for_import().key_id(&key.key_id);
    let call = call.wrapping_algorithm(AlgorithmSpec::RsaesOaepSha256);
    let given = call.wrapping_key_spec(WrappingKeySpec::Rsa2048).send().await.expect("given");
    let der = given.public_key.expect("a key");
    let public = PublicKey::from_public_key_der(der.as_ref()).expect("an RSA key");
    let sealed = public.encrypt(&mut getrandom::SysRng, Oaep::<Sha256>::new(), &[7; 32]);
    let call = kms.import_key_material().key_id(&key.key_id);
    let call = call.import_token(given.import_token.expect("a token"));
    let call = call.encrypted_key_material(Blob::new(sealed.expect("32 bytes fit")));
    let imported = call.expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire);
    let imported = imported.send().await.expect("imported");
    assert_eq!(state(kms, &key).await, KeyState::Enabled);
    let gone = kms.delete_imported_key_material().key_id(&key.key_id).send().await;
    assert_eq!(gone.expect("deleted").key_material_id(), imported.key_material_id());
    assert_eq!(state(kms, &key).await, KeyState::PendingImport);
}

/// There are none.
async fn custom_key_stores(kms: &Client) {
    const ID: &str = "cks-1234567890abcdef0";
    const NOT_FOUND: &str = "CustomKeyStoreNotFoundException";

    let listed = kms.describe_custom_key_stores().send().await.expect("answered");
    assert!(listed.custom_key_stores().is_empty() && !listed.truncated());
    let call = kms.create_custom_key_store().custom_key_store_name("store");
    let call = call.cloud_hsm_cluster_id("cluster-1a23b4cdefg").key_store_password("password");
    let refused = call.send().await.expect_err("refused").into_service_error();
    assert!(refused.is_cloud_hsm_cluster_not_found_exception(), "{refused:?}");
    let call = kms.connect_custom_key_store().custom_key_store_id(ID);
    assert_eq!(code(call.send().await), NOT_FOUND);
    let call = kms.disconnect_custom_key_store().custom_key_store_id(ID);
    assert_eq!(code(call.send().await), NOT_FOUND);
    let call = kms.update_custom_key_store().custom_key_store_id(ID);
    assert_eq!(code(call.send().await), NOT_FOUND);
    let call = kms.delete_custom_key_store().custom_key_store_id(ID);
    assert_eq!(code(call.send().await), NOT_FOUND);
}

/// A key of one Region stays there.
async fn other_regions(kms: &Client) {
    let id = symmetric(kms).await.key_id;
    let replicated = kms.replicate_key().key_id(&id).replica_region("eu-west-1").send().await;
    let refused = replicated.expect_err("refused").into_service_error();
    assert!(refused.is_unsupported_operation_exception(), "{refused:?}");
    let moved = kms.update_primary_region().key_id(&id).primary_region("eu-west-1").send().await;
    let refused = moved.expect_err("refused").into_service_error();
    assert!(refused.is_unsupported_operation_exception(), "{refused:?}");
}
