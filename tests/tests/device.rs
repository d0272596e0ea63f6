//! Every command of the device, through the driver, on every line.

use host_driver::device::Device;
use host_driver::error::CallError;
use host_driver::host_key::HostKey;
use hsm_protocol::command::audit::{AuditEntries, AuditHead};
use hsm_protocol::command::cipher::{
    Decrypt, Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, ReEncrypt,
};
use hsm_protocol::command::domain::{
    CreateDomain, DomainInfo, EnrolHost, ExportDomain, Initialise, JoinDomain, ListHosts,
    RemoveHost,
};
use hsm_protocol::command::key::{ExportPublicKey, GenerateKey, KeyRef};
use hsm_protocol::command::mac::{GenerateMac, VerifyMac};
use hsm_protocol::command::random::Random;
use hsm_protocol::command::session::{CloseSession, SessionInfo};
use hsm_protocol::command::sign::{Sign, Verify};
use hsm_protocol::command::system::{SelfTest, Zeroise};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm};
use hsm_protocol::{Bytes, Command, ErrorCode, KeyId, ModuleState, Role};
use hsm_tests::testbed::{Line, TAG, Testbed};
use hsm_tests::{on_every_line, seed};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;

on_every_line! {
    a_fresh_device_accepts_only_its_first_provisioner,
    each_role_may_call_its_own_commands,
    hosts_come_and_go,
    symmetric_keys,
    signing_keys,
    mac_keys,
    random_bytes,
    keys_are_not_confused,
    damaged_tokens_and_blobs_are_refused,
    a_second_device_joins,
    self_test_on_demand,
    zeroisation_leaves_a_fresh_device,
    power_cuts_keep_hosts_domain_and_tokens,
    sessions_are_independent,
}

/// A key made by a device, as a host keeps it.
struct StoredKey {
    id: KeyId,
    token: Vec<u8>,
}

impl StoredKey {
    fn by_ref(&self) -> KeyRef<'_> {
        KeyRef { id: self.id, token: Bytes(&self.token) }
    }
}

fn make(device: &Device, number: u8, spec: KeySpec, usage: KeyUsage) -> StoredKey {
    let id = KeyId::single_region([number; 16]);
    let reply = device.call_blocking(&GenerateKey { id, spec, usage }, TAG).expect("generated");
    let token = reply.response().expect("decodes").token.to_vec();
    StoredKey { id, token }
}

fn symmetric(device: &Device, number: u8) -> StoredKey {
    make(device, number, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT)
}

fn signing(device: &Device, number: u8) -> StoredKey {
    make(device, number, KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY)
}

fn mac(device: &Device, number: u8) -> StoredKey {
    make(device, number, KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC)
}

/// The device's reason to refuse a command.
fn refusal<C: Command>(device: &Device, command: &C) -> ErrorCode {
    match device.call_blocking(command, TAG) {
        Err(CallError::Refused { code, .. }) => code,
        other => panic!("{:?} was not refused: {other:?}", C::OPCODE),
    }
}

fn encrypt(device: &Device, key: &StoredKey, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let (context, plaintext) = (Bytes(context), Bytes(plaintext));
    let command = Encrypt { key: key.by_ref(), context, plaintext };
    let reply = device.call_blocking(&command, TAG).expect("encrypted");
    reply.response().expect("decodes").blob.to_vec()
}

fn decrypt(device: &Device, key: &StoredKey, context: &[u8], blob: &[u8]) -> Vec<u8> {
    let command = Decrypt { key: key.by_ref(), context: Bytes(context), blob: Bytes(blob) };
    let reply = device.call_blocking(&command, TAG).expect("decrypted");
    reply.response().expect("decodes").plaintext.to_vec()
}

fn decrypt_refused(device: &Device, key: &StoredKey, context: &[u8], blob: &[u8]) -> ErrorCode {
    let command = Decrypt { key: key.by_ref(), context: Bytes(context), blob: Bytes(blob) };
    refusal(device, &command)
}

fn a_fresh_device_accepts_only_its_first_provisioner(testbed: Testbed) {
    let (first, second) = (HostKey::generate(), HostKey::generate());
    let device = testbed.device();
    let status = device.status().expect("answered");
    assert_eq!((status.state, status.error), (ModuleState::Uninitialised, None));
    let board = if testbed.line() == Line::Host { "host" } else { "qemu_riscv32" };
    assert_eq!(device.info().board, board);
    assert_eq!(device.info().specs.len(), 3);

    let session = device.authenticate(&second).expect("anybody may shake hands");
    assert_eq!(session.role, Role::Bootstrap);
    let id = KeyId::single_region([1; 16]);
    let key = KeyRef { id, token: Bytes(&[]) };
    let generate =
        GenerateKey { id, spec: KeySpec::HMAC_256, usage: KeyUsage::GENERATE_VERIFY_MAC };
    for code in [
        refusal(&device, &CreateDomain),
        refusal(&device, &DomainInfo),
        refusal(&device, &ListHosts),
        refusal(&device, &Zeroise),
        refusal(&device, &SelfTest),
        refusal(&device, &generate),
        refusal(&device, &ExportPublicKey { key }),
        refusal(&device, &Random { length: 8 }),
        refusal(&device, &AuditHead { nonce: [0; 16] }),
    ] {
        assert!([ErrorCode::STATE_DENIED, ErrorCode::ROLE_DENIED].contains(&code), "{code:?}");
        // Such a refusal may end the session, for good reason; the next call needs one.
        device.authenticate(&first).expect("anybody may shake hands");
    }

    device.call_blocking(&Initialise, TAG).expect("the first host becomes provisioner");
    assert_eq!(device.authenticate(&first).expect("enrolled").role, Role::Provisioner);
    assert_eq!(device.status().expect("answered").state, ModuleState::Initialised);
    match device.authenticate(&second) {
        Err(CallError::Handshake(ErrorCode::HANDSHAKE_FAILED)) => {}
        other => panic!("a stranger got {other:?}"),
    }
}

fn each_role_may_call_its_own_commands(testbed: Testbed) {
    let hosts = testbed.provision();
    let id = KeyId::single_region([1; 16]);
    let generate =
        GenerateKey { id, spec: KeySpec::HMAC_256, usage: KeyUsage::GENERATE_VERIFY_MAC };
    let joiner = *testbed.device().identity();
    for (host, role) in [
        (&hosts.provisioner, Role::Provisioner),
        (&hosts.user, Role::CryptoUser),
        (&hosts.auditor, Role::Auditor),
    ] {
        let device = testbed.device();
        let session = device.authenticate(host).expect("enrolled");
        assert_eq!((session.role, session.host), (role, host.id()));
        let provisions = role == Role::Provisioner;
        let uses = role == Role::CryptoUser;
        for (may, outcome) in [
            (true, outcome(&device, &SessionInfo)),
            (true, outcome(&device, &ListHosts)),
            (true, outcome(&device, &DomainInfo)),
            (true, outcome(&device, &SelfTest)),
            (true, outcome(&device, &AuditHead { nonce: [7; 16] })),
            (!provisions, outcome(&device, &AuditEntries { from: 0 })),
            (uses, outcome(&device, &generate)),
            (uses, outcome(&device, &Random { length: 1 })),
            (
                provisions,
                outcome(&device, &EnrolHost { key: hosts.user.public(), role: Role::CryptoUser }),
            ),
            (provisions, outcome(&device, &ExportDomain { joiner })),
        ] {
            match (may, outcome) {
                (true, code) => assert_ne!(code, Some(ErrorCode::ROLE_DENIED), "{role:?}"),
                (false, code) => assert_eq!(code, Some(ErrorCode::ROLE_DENIED), "{role:?}"),
            }
        }
        assert_eq!(refusal_after(&device, host, &Initialise), ErrorCode::ROLE_DENIED);
    }
}

/// The code a command is refused with, if it is.
fn outcome<C: Command>(device: &Device, command: &C) -> Option<ErrorCode> {
    match device.call_blocking(command, TAG) {
        Ok(_) => None,
        Err(CallError::Refused { code, .. }) => Some(code),
        Err(error) => panic!("{:?}: {error}", C::OPCODE),
    }
}

/// As [`refusal`], in a new session.
fn refusal_after<C: Command>(device: &Device, host: &HostKey, command: &C) -> ErrorCode {
    device.authenticate(host).expect("enrolled");
    refusal(device, command)
}

fn hosts_come_and_go(testbed: Testbed) {
    let hosts = testbed.initialise();
    let device = testbed.device_as(&hosts.provisioner);
    let rows = device.call_blocking(&ListHosts, TAG).expect("listed");
    assert_eq!(rows.response().expect("decodes").rows.len() / 17, 3);

    let again = EnrolHost { key: hosts.user.public(), role: Role::Auditor };
    device.call_blocking(&again, TAG).expect("enrolling again changes the role");
    let bootstrap = EnrolHost { key: hosts.user.public(), role: Role::Bootstrap };
    assert_eq!(refusal(&device, &bootstrap), ErrorCode::INVALID_ARGUMENT);
    let last = RemoveHost { host: hosts.provisioner.id() };
    assert_eq!(refusal(&device, &last), ErrorCode::HOST_UNKNOWN);
    let unknown = RemoveHost { host: HostKey::generate().id() };
    assert_eq!(refusal(&device, &unknown), ErrorCode::HOST_UNKNOWN);

    device.call_blocking(&RemoveHost { host: hosts.user.id() }, TAG).expect("removed");
    assert!(matches!(
        device.authenticate(&hosts.user),
        Err(CallError::Handshake(ErrorCode::HANDSHAKE_FAILED))
    ));
    device.authenticate(&hosts.provisioner).expect("still enrolled");
    for _ in 2..16 {
        let enrol = EnrolHost { key: HostKey::generate().public(), role: Role::Auditor };
        device.call_blocking(&enrol, TAG).expect("there is room");
    }
    let enrol = EnrolHost { key: HostKey::generate().public(), role: Role::Auditor };
    assert_eq!(refusal(&device, &enrol), ErrorCode::HOSTS_FULL);
}

fn symmetric_keys(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let (key, other) = (symmetric(&device, 1), symmetric(&device, 2));
    let mut context = vec![0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 1];
    context.push(b'v');
    for size in [1, 16, 4096] {
        let plaintext = vec![7; size];
        let blob = encrypt(&device, &key, &context, &plaintext);
        assert_eq!(blob.len(), 94 + size);
        assert_eq!(decrypt(&device, &key, &context, &blob), plaintext);
        assert_eq!(decrypt_refused(&device, &key, &[], &blob), ErrorCode::CIPHERTEXT_INVALID);
    }
    let blob = encrypt(&device, &key, &context, b"moved");
    let command = ReEncrypt {
        source: key.by_ref(),
        source_context: Bytes(&context),
        blob: Bytes(&blob),
        destination: other.by_ref(),
        destination_context: Bytes(&[]),
    };
    let reply = device.call_blocking(&command, TAG).expect("re-encrypted");
    let moved = reply.response().expect("decodes").blob.to_vec();
    assert_eq!(decrypt(&device, &other, &[], &moved), b"moved");

    for length in [1, 32, 1024] {
        let command = GenerateDataKey { key: key.by_ref(), context: Bytes(&context), length };
        let reply = device.call_blocking(&command, TAG).expect("a data key");
        let data = reply.response().expect("decodes");
        assert_eq!(data.plaintext.len(), usize::from(length));
        assert_eq!(decrypt(&device, &key, &context, &data.blob), data.plaintext.0);
    }
    let context = Bytes(&context);
    let command = GenerateDataKeyWithoutPlaintext { key: key.by_ref(), context, length: 24 };
    let reply = device.call_blocking(&command, TAG).expect("a data key");
    let blob = reply.response().expect("decodes").blob.to_vec();
    assert_eq!(decrypt(&device, &key, &context, &blob).len(), 24);

    for size in [0, 4097] {
        let plaintext = vec![0; size];
        let command = Encrypt { key: key.by_ref(), context, plaintext: Bytes(&plaintext) };
        assert_eq!(refusal(&device, &command), ErrorCode::MESSAGE_LENGTH);
    }
    for length in [0, 1025] {
        let command = GenerateDataKey { key: key.by_ref(), context, length };
        assert_eq!(refusal(&device, &command), ErrorCode::INVALID_ARGUMENT);
    }
}

fn signing_keys(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let key = signing(&device, 1);
    let reply = device.call_blocking(&ExportPublicKey { key: key.by_ref() }, TAG).expect("public");
    let spki = reply.response().expect("decodes").spki.to_vec();
    let public = VerifyingKey::from_public_key_der(&spki).expect("a P-256 key");

    let algorithm = SigningAlgorithm::ECDSA_SHA_256;
    let sign = |message_type, message: &[u8]| {
        let key = key.by_ref();
        let command = Sign { key, algorithm, message_type, message: Bytes(message) };
        let reply = device.call_blocking(&command, TAG).expect("signed");
        reply.response().expect("decodes").signature.to_vec()
    };
    let message = vec![9; 4096];
    let raw = sign(MessageType::RAW, &message);
    let parsed = DerSignature::try_from(raw.as_slice()).expect("DER");
    public.verify(&message, &parsed).expect("an independent verifier agrees");
    let digest = [0x42; 32];
    let parsed = sign(MessageType::DIGEST, &digest);
    let parsed = DerSignature::try_from(parsed.as_slice()).expect("DER");
    public.verify_prehash(&digest, &parsed).expect("an independent verifier agrees");

    let verify = |message: &[u8], signature: &[u8]| {
        let command = Verify {
            key: key.by_ref(),
            algorithm,
            message_type: MessageType::RAW,
            message: Bytes(message),
            signature: Bytes(signature),
        };
        outcome(&device, &command)
    };
    assert_eq!(verify(&message, &raw), None);
    assert_eq!(verify(&message[1..], &raw), Some(ErrorCode::SIGNATURE_INVALID));
    assert_eq!(verify(&message, &raw[1..]), Some(ErrorCode::SIGNATURE_INVALID));
    let long = Bytes(&[0; 33]);
    let message_type = MessageType::DIGEST;
    let command = Sign { key: key.by_ref(), algorithm, message_type, message: long };
    assert_eq!(refusal(&device, &command), ErrorCode::MESSAGE_LENGTH);
}

fn mac_keys(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let (first, second) = (mac(&device, 1), mac(&device, 2));
    let algorithm = MacAlgorithm::HMAC_SHA_256;
    let message = Bytes(b"message");
    let compute = |key: &StoredKey| {
        let command = GenerateMac { key: key.by_ref(), algorithm, message };
        let reply = device.call_blocking(&command, TAG).expect("computed");
        reply.response().expect("decodes").mac.to_vec()
    };
    let tag = compute(&first);
    assert_eq!(tag.len(), 32);
    assert_eq!(tag, compute(&first));
    assert_ne!(tag, compute(&second));
    let verify = |key: &StoredKey, mac: &[u8]| {
        let command = VerifyMac { key: key.by_ref(), algorithm, message, mac: Bytes(mac) };
        outcome(&device, &command)
    };
    assert_eq!(verify(&first, &tag), None);
    assert_eq!(verify(&second, &tag), Some(ErrorCode::MAC_INVALID));
    assert_eq!(verify(&first, &tag[..31]), Some(ErrorCode::MAC_INVALID));
}

fn random_bytes(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let draw = |length| {
        let reply = device.call_blocking(&Random { length }, TAG).expect("drawn");
        reply.response().expect("decodes").bytes.to_vec()
    };
    assert_eq!(draw(1).len(), 1);
    let (first, second) = (draw(1024), draw(1024));
    assert_ne!(first, second);
    let ones: u32 = first.iter().map(|byte| byte.count_ones()).sum();
    assert!((3700..4500).contains(&ones), "{ones} of 8192 bits are set");
    for length in [0, 1025] {
        assert_eq!(refusal(&device, &Random { length }), ErrorCode::INVALID_ARGUMENT);
    }
}

fn keys_are_not_confused(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let keys = [symmetric(&device, 1), signing(&device, 2), mac(&device, 3)];
    let (context, bytes) = (Bytes(&[]), Bytes(b"message"));
    for (index, key) in keys.iter().enumerate() {
        let key = key.by_ref();
        let algorithm = SigningAlgorithm::ECDSA_SHA_256;
        let sign = Sign { key, algorithm, message_type: MessageType::RAW, message: bytes };
        let algorithm = MacAlgorithm::HMAC_SHA_256;
        let outcomes = [
            outcome(&device, &Encrypt { key, context, plaintext: bytes }),
            outcome(&device, &sign),
            outcome(&device, &GenerateMac { key, algorithm, message: bytes }),
        ];
        for (usage, outcome) in outcomes.into_iter().enumerate() {
            let expected = (usage != index).then_some(ErrorCode::USAGE_DENIED);
            assert_eq!(outcome, expected, "key {index}, usage {usage}");
        }
        let stranger = KeyRef { id: KeyId::single_region([9; 16]), ..key };
        let command = ExportPublicKey { key: stranger };
        assert_eq!(refusal(&device, &command), ErrorCode::KEY_MISMATCH);
    }
    for (spec, usage) in [
        (KeySpec::SYMMETRIC_DEFAULT, KeyUsage::SIGN_VERIFY),
        (KeySpec::ECC_NIST_P256, KeyUsage::ENCRYPT_DECRYPT),
        (KeySpec::HMAC_256, KeyUsage::ENCRYPT_DECRYPT),
    ] {
        let command = GenerateKey { id: KeyId::single_region([4; 16]), spec, usage };
        assert_eq!(refusal(&device, &command), ErrorCode::USAGE_DENIED);
    }
    let (id, usage) = (KeyId::single_region([4; 16]), KeyUsage::SIGN_VERIFY);
    let unknown = GenerateKey { id, spec: KeySpec(200), usage };
    assert_eq!(refusal(&device, &unknown), ErrorCode::UNSUPPORTED);
}

fn damaged_tokens_and_blobs_are_refused(testbed: Testbed) {
    let mut random = seed::random("damaged_tokens");
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let key = symmetric(&device, 1);
    let blob = encrypt(&device, &key, &[], b"plaintext");
    for at in 0..key.token.len() {
        let mut token = key.token.clone();
        token[at] ^= 1 << random.u8(..8);
        let damaged = StoredKey { id: key.id, token };
        let code = decrypt_refused(&device, &damaged, &[], &blob);
        let family = code.to_u16() >> 8;
        assert_eq!(family, 3, "byte {at} of a token: {code:?}");
    }
    for at in 0..blob.len() {
        let mut damaged = blob.clone();
        damaged[at] ^= 1 << random.u8(..8);
        let code = decrypt_refused(&device, &key, &[], &damaged);
        let expected =
            [ErrorCode::CIPHERTEXT_INVALID, ErrorCode::TOKEN_MALFORMED, ErrorCode::KEY_MISMATCH];
        assert!(expected.contains(&code), "byte {at} of a blob: {code:?}");
    }
    assert_eq!(decrypt(&device, &key, &[], &blob), b"plaintext");
}

fn a_second_device_joins(testbed: Testbed) {
    let hosts = testbed.provision();
    let other = testbed.another();
    let joiner = *other.device().identity();

    let first = testbed.device_as(&hosts.provisioner);
    let exporter = *first.identity();
    let reply = first.call_blocking(&ExportDomain { joiner }, TAG).expect("exported");
    let token = reply.response().expect("decodes").token.to_vec();
    let mut forged = joiner;
    forged.join = exporter.join;
    let code = refusal(&first, &ExportDomain { joiner: forged });
    assert_eq!(code, ErrorCode::IDENTITY_INVALID);
    drop(first);

    let provisioner = HostKey::generate();
    let second = other.device_as(&provisioner);
    second.call_blocking(&Initialise, TAG).expect("fresh");
    second.authenticate(&provisioner).expect("enrolled");
    for at in [0, 20, 60, token.len() - 1] {
        let mut damaged = token.clone();
        damaged[at] ^= 1;
        let code = refusal(&second, &JoinDomain { exporter, token: Bytes(&damaged) });
        let expected = [ErrorCode::DOMAIN_TOKEN_INVALID, ErrorCode::TOKEN_MALFORMED];
        assert!(expected.contains(&code), "byte {at}: {code:?}");
    }
    let wrong = JoinDomain { exporter: joiner, token: Bytes(&token) };
    assert_eq!(refusal(&second, &wrong), ErrorCode::DOMAIN_TOKEN_INVALID);
    second.call_blocking(&JoinDomain { exporter, token: Bytes(&token) }, TAG).expect("joined");
    let user = EnrolHost { key: hosts.user.public(), role: Role::CryptoUser };
    second.call_blocking(&user, TAG).expect("enrolled");
    drop(second);

    // What one device wraps and seals the other unwraps and opens.
    let first = testbed.device_as(&hosts.user);
    let key = symmetric(&first, 1);
    let blob = encrypt(&first, &key, &[], b"shared");
    let second = other.device_as(&hosts.user);
    assert_eq!(decrypt(&second, &key, &[], &blob), b"shared");
    let key = symmetric(&second, 2);
    let blob = encrypt(&second, &key, &[], b"back");
    assert_eq!(decrypt(&first, &key, &[], &blob), b"back");

    // A device of another domain does not.
    let stranger = testbed.another();
    let hosts = stranger.provision();
    let third = stranger.device_as(&hosts.user);
    assert_eq!(decrypt_refused(&third, &key, &[], &blob), ErrorCode::TOKEN_DOMAIN);
}

fn self_test_on_demand(testbed: Testbed) {
    let hosts = testbed.initialise();
    let device = testbed.device_as(&hosts.auditor);
    let reply = device.call_blocking(&SelfTest, TAG).expect("passed");
    let report = reply.response().expect("decodes");
    assert!(report.tests >= 5, "{report:?}");
    assert_ne!(device.status().expect("answered").state, ModuleState::Error);
}

fn zeroisation_leaves_a_fresh_device(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let before = device.id();
    let key = symmetric(&device, 1);
    let blob = encrypt(&device, &key, &[], b"lost");
    drop(device);
    let device = testbed.device_as(&hosts.provisioner);
    device.call_blocking(&Zeroise, TAG).expect("zeroised");
    assert_eq!(device.status().expect("answered").state, ModuleState::Zeroised);
    assert!(device.authenticate(&hosts.provisioner).is_err());
    device.reset().expect("a zeroised device may be reset");
    drop(device);
    testbed.await_state(ModuleState::Uninitialised);

    let device = testbed.device();
    assert_eq!(device.status().expect("answered").state, ModuleState::Uninitialised);
    assert_ne!(device.id(), before, "the identity was a secret too");
    drop(device);
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    assert_eq!(decrypt_refused(&device, &key, &[], &blob), ErrorCode::TOKEN_DOMAIN);
}

fn power_cuts_keep_hosts_domain_and_tokens(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let before = device.status().expect("answered");
    let key = symmetric(&device, 1);
    let blob = encrypt(&device, &key, &[], b"kept");
    drop(device);
    let testbed = testbed.power_cycle();
    let device = testbed.device_as(&hosts.user);
    let after = device.status().expect("answered");
    assert_eq!(after.device, before.device);
    assert_eq!(after.state, ModuleState::Operational);
    assert_eq!(after.epoch, before.epoch + 1);
    assert_eq!(decrypt(&device, &key, &[], &blob), b"kept");
}

fn sessions_are_independent(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let reply = device.call_blocking(&SessionInfo, TAG).expect("answered");
    let session = reply.response().expect("decodes");
    assert_eq!((session.device, session.state), (device.id(), ModuleState::Operational));
    device.call_blocking(&CloseSession, TAG).expect("closed");
    assert!(device.call_blocking(&SessionInfo, TAG).is_err(), "the session is over");
    assert_eq!(device.authenticate(&hosts.auditor).expect("enrolled").role, Role::Auditor);
    assert_eq!(refusal(&device, &Random { length: 1 }), ErrorCode::ROLE_DENIED);
    assert_eq!(device.authenticate(&hosts.user).expect("enrolled").role, Role::CryptoUser);
    device.call_blocking(&Random { length: 1 }, TAG).expect("a crypto user may");
}
