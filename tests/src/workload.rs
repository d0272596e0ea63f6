//! Every command that costs a device time or memory, for every key spec that it has.
//!
//! The benchmark counts their instructions, a test their stack and heap.

use host_driver::Reply;
use host_driver::device::Device;
use hsm_core::algorithm::{self, PORTABLE};
use hsm_core::secret::SecretBuf;
use hsm_protocol::audit::LogPosition;
use hsm_protocol::command::{
    Command, agree, approval, attest, audit, cipher, import, key, mac, random, replica, session,
    sign, statement, system,
};
use hsm_protocol::domain::{Change, Rule};
use hsm_protocol::key_spec::{
    EncryptionAlgorithm, KeySpec, KeySpecRow, KeyUsage, MessageType, SigningAlgorithm,
    WrappingAlgorithm,
};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{AuditTag, Bytes, KeyId};

use crate::calls::{outcome, prepare};
use crate::enclave::{Enclave, rsa_private_key};
use crate::importer::Importer;
use crate::testbed::{Hosts, Line, Registry, TAG, Testbed};

/// Devices have no clock; this is the host's.
const NOW: u64 = 1_780_000_000_000;
const ID: KeyId = KeyId::single_region([0x42; 16]);
const SHORT: Bytes<'_> = Bytes(&[0x61; 32]);
const LONG: Bytes<'_> = Bytes(&[0x61; 4096]);
const NO_CONTEXT: Bytes<'_> = Bytes(&[]);
const NONCE: Bytes<'_> = Bytes(&[0x4e; 32]);

/// Gets each command's name and the means to call it, as often as wanted.
pub type Visitor<'v> = &'v mut dyn FnMut(&str, &dyn Fn());

/// A device with a session, and how to talk to it.
pub struct Workload<'d> {
    device: &'d Device,
    /// Of an enclave that the device trusts.
    document: Vec<u8>,
    /// Rules the device's domain.
    hosts: &'d Hosts,
}

impl<'d> Workload<'d> {
    /// For a device in operation whose session is a crypto user's, which trusts the root of
    /// `enclave`, and whose domain `hosts` rules.
    #[must_use]
    pub fn new(device: &'d Device, hosts: &'d Hosts, enclave: &Enclave) -> Self {
        Self { device, document: enclave.attest(NOW), hosts }
    }

    /// Visits the commands that have to do with none of the key specs, then those of `specs`.
    pub fn visit(&self, specs: &[KeySpec], visitor: Visitor<'_>) {
        self.general(visitor);
        let importer = self.has_rsa().then(|| Importer::new(self.device));
        for row in specs.iter().filter_map(|spec| spec.row()) {
            let name = row.spec.aws_name().expect("a spec of the table");
            let pair = if row.slow {
                prepare(self.device, row.spec, PairPurpose::KEY)
            } else {
                Vec::new()
            };
            let pair = Bytes(&pair);
            if row.slow {
                let usage = row.usages[0];
                let adopt = key::AdoptKeyPair { id: ID, usage, pair };
                visitor(&format!("AdoptKeyPair {name}"), &|| self.run(&adopt));
            } else {
                let generate = key::GenerateKey { id: ID, spec: row.spec, usage: row.usages[0] };
                visitor(&format!("GenerateKey {name}"), &|| self.run(&generate));
            }
            if let (Some(importer), Some(material)) = (&importer, material(row)) {
                let parcel = importer.wrap(ID, row.spec, row.usages[0], &material);
                visitor(&format!("ImportKey {name}"), &|| self.run(&parcel.command()));
            }
            for &usage in row.usages {
                let token = self.key(row.spec, usage, pair);
                let key = key::KeyRef { id: ID, token: Bytes(&token) };
                if usage == row.usages[0] {
                    let attest = statement::AttestKey { key, nonce: NONCE };
                    visitor(&format!("AttestKey {name}"), &|| self.run(&attest));
                    visitor(&format!("RewrapKey {name}"), &|| self.run(&key::RewrapKey { key }));
                }
                self.usage(name, row, usage, key, visitor);
            }
        }
    }

    fn general(&self, visitor: Visitor<'_>) {
        visitor("SessionInfo", &|| self.run(&session::SessionInfo));
        visitor("Random 32 B", &|| self.run(&random::Random { length: 32 }));
        visitor("AuditHead", &|| self.run(&audit::AuditHead { nonce: [1; 16] }));
        visitor("AuditEntries", &|| self.run(&audit::AuditEntries { from: 0 }));
        let log = LogPosition { sequence: 1, hash: [1; 32] };
        let make = audit::MakeCheckpoint { log, closing: false };
        visitor("MakeCheckpoint", &|| self.run(&make));
        visitor("LastCheckpoint", &|| self.run(&audit::LastCheckpoint { host: None }));
        visitor("SelfTest", &|| self.run(&system::SelfTest));
        let attest = statement::AttestDevice { nonce: NONCE };
        visitor("AttestDevice", &|| self.run(&attest));
        self.guarded(visitor);
        self.replication(visitor);
        // Whether the pair is there yet or not. From here on the device looks for pairs between
        // requests, and what that takes shows as well.
        let prepare = key::PrepareKeyPair { spec: KeySpec::RSA_2048, purpose: PairPurpose::KEY };
        visitor("PrepareKeyPair RSA_2048", &|| {
            let _ = outcome(self.device, &prepare);
        });
    }

    /// Keys each use of which operators approve, except for the approval itself.
    fn guarded(&self, visitor: Visitor<'_>) {
        let rule = Rule { total: 1, officers: 0 };
        let (spec, usage) = (KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY);
        let request = key::GenerateKey { id: ID, spec, usage };
        let generate = approval::GenerateGuardedKey { request, rule };
        visitor("GenerateGuardedKey P-256", &|| self.run(&generate));
        let token = self.key(spec, usage, Bytes(&[]));
        let key = key::KeyRef { id: ID, token: Bytes(&token) };
        let require = approval::RequireApproval { key, rule };
        visitor("RequireApproval P-256", &|| self.run(&require));
    }

    /// A key from the device's domain to another one, and one from there, which is made here: the other
    /// domain's device is in this process.
    fn replication(&self, visitor: Visitor<'_>) {
        visitor("ReplicationKey", &|| self.run(&replica::ReplicationKey));
        let own = self.call(&replica::ReplicationKey).response().expect("decodes");
        let other = Testbed::new(Line::Host(Registry::default()));
        let others = other.provision();
        let there = other.device_as(&others.user);
        let peer = there.call_blocking(&replica::ReplicationKey, TAG).expect("a crypto user may");
        let peer = peer.response().expect("decodes");
        self.hosts.change(self.device, &[Change::AddPeer(peer)]);
        others.change(&there, &[Change::AddPeer(own)]);
        let id = KeyId { multi_region: true, ..ID };
        let (spec, usage) = (KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY);
        let generate = key::GenerateKey { id, spec, usage };
        let made = self.call(&generate);
        let token = made.response().expect("a new key").token;
        let export = replica::ExportReplica { key: key::KeyRef { id, token }, peer };
        visitor("ExportReplica", &|| self.run(&export));
        let made = there.call_blocking(&generate, TAG).expect("a crypto user may");
        let token = made.response().expect("a new key").token;
        let export = replica::ExportReplica { key: key::KeyRef { id, token }, peer: own };
        let exported = there.call_blocking(&export, TAG).expect("approved");
        let token = exported.response().expect("a token").token;
        let import = replica::ImportReplica { id, peer, token };
        visitor("ImportReplica", &|| self.run(&import));
    }

    fn usage(
        &self,
        name: &str,
        row: &KeySpecRow,
        usage: KeyUsage,
        key: key::KeyRef<'_>,
        visitor: Visitor<'_>,
    ) {
        match usage {
            KeyUsage::SIGN_VERIFY => self.sign(name, row, key, visitor),
            KeyUsage::GENERATE_VERIFY_MAC => {
                let algorithm = row.mac_algorithms[0];
                let request = mac::GenerateMac { key, algorithm, message: SHORT };
                visitor(&format!("GenerateMac {name}"), &|| self.run(&request));
                let made = self.call(&request);
                let mac = made.response().expect("a MAC").mac;
                let request = mac::VerifyMac { key, algorithm, message: SHORT, mac };
                visitor(&format!("VerifyMac {name}"), &|| self.run(&request));
            }
            KeyUsage::KEY_AGREEMENT => {
                let export = key::ExportPublicKey { key };
                visitor(&format!("ExportPublicKey {name}"), &|| self.run(&export));
                let public = self.call(&export);
                let peer = public.response().expect("a key").spki;
                let request = agree::DeriveSharedSecret { key, peer };
                visitor(&format!("DeriveSharedSecret {name}"), &|| self.run(&request));
                let (title, token) = (format!("DeriveSharedSecretFor {name}"), self.recipient());
                self.for_recipient(&title, token.as_deref(), request, visitor);
            }
            KeyUsage::ENCAPSULATE_DECAPSULATE => {
                let request = agree::Encapsulate { key };
                visitor(&format!("Encapsulate {name}"), &|| self.run(&request));
                let reply = self.call(&request);
                let ciphertext = reply.response().expect("a ciphertext").ciphertext;
                let request = agree::Decapsulate { key, ciphertext };
                visitor(&format!("Decapsulate {name}"), &|| self.run(&request));
            }
            _ if row.public_size == 0 => self.symmetric(key, visitor),
            _ => self.asymmetric(name, row, key, visitor),
        }
    }

    fn sign(&self, name: &str, row: &KeySpecRow, key: key::KeyRef<'_>, visitor: Visitor<'_>) {
        for &algorithm in row.signing_algorithms {
            let algorithm_name = algorithm.aws_name().expect("an algorithm of the table");
            if algorithm_name.ends_with("_384") && row.slow || algorithm_name.contains("_PH_") {
                continue; // costs what its neighbours cost
            }
            let title = match row.signing_algorithms.len() {
                1 => name.to_owned(),
                _ => format!("{name} {}", algorithm_name.trim_start_matches("RSASSA_")),
            };
            let (message_type, message) = (MessageType::RAW, SHORT);
            let request = sign::Sign { key, algorithm, message_type, message };
            visitor(&format!("Sign {title}"), &|| self.run(&request));
            let reply = self.call(&request);
            let signature = reply.response().expect("a signature").signature;
            let request = sign::Verify { key, algorithm, message_type, message, signature };
            visitor(&format!("Verify {title}"), &|| self.run(&request));
            if row.signing_algorithms == [SigningAlgorithm::ML_DSA_SHAKE_256] {
                // Another implementation.
                let (message_type, message) = (MessageType::EXTERNAL_MU, Bytes(&[0x6d; 64]));
                let request = sign::Sign { key, algorithm, message_type, message };
                visitor(&format!("Sign {title} EXTERNAL_MU"), &|| self.run(&request));
            }
        }
    }

    fn symmetric(&self, key: key::KeyRef<'_>, visitor: Visitor<'_>) {
        let context = NO_CONTEXT;
        for (title, plaintext) in [("Encrypt 32 B", SHORT), ("Encrypt 4 KiB", LONG)] {
            let request = cipher::Encrypt { key, context, plaintext };
            visitor(title, &|| self.run(&request));
        }
        let reply = self.call(&cipher::Encrypt { key, context, plaintext: SHORT });
        let blob = reply.response().expect("a blob").blob;
        let request = cipher::Decrypt { key, context, blob };
        visitor("Decrypt 32 B", &|| self.run(&request));
        let request = cipher::ReEncrypt {
            source: key,
            source_context: context,
            blob,
            destination: key,
            destination_context: context,
        };
        visitor("ReEncrypt 32 B", &|| self.run(&request));
        let request = cipher::GenerateDataKey { key, context, length: 32 };
        visitor("GenerateDataKey", &|| self.run(&request));
        let token = self.recipient();
        let token = token.as_deref();
        self.for_recipient("GenerateDataKeyFor", token, request, visitor);
        let without = cipher::GenerateDataKeyWithoutPlaintext { key, context, length: 32 };
        visitor("GenerateDataKeyWithoutPlaintext", &|| self.run(&without));
        let decrypt = cipher::Decrypt { key, context, blob };
        self.for_recipient("DecryptFor", token, decrypt, visitor);
        self.for_recipient("RandomFor 32 B", token, random::Random { length: 32 }, visitor);
        if self.has_rsa() {
            let document = attest::Attest { now_ms: NOW, document: Bytes(&self.document) };
            visitor("Attest", &|| self.run(&document));
        }
        let spec = KeySpec::ECC_NIST_P256;
        let request = cipher::GenerateDataKeyPair { key, context, spec, pair: Bytes(&[]) };
        visitor("GenerateDataKeyPair P-256", &|| self.run(&request));
        self.for_recipient("GenerateDataKeyPairFor P-256", token, request, visitor);
        let request = cipher::GenerateDataKeyPairWithoutPlaintext { request };
        visitor("GenerateDataKeyPairWithoutPlaintext P-256", &|| self.run(&request));
    }

    /// Whether the device's set of algorithms has RSA: without it keys are not imported, and nothing is sealed to
    /// an enclave.
    fn has_rsa(&self) -> bool {
        self.device.info().specs.contains(&KeySpec::RSA_2048)
    }

    /// The token of the enclave, which has an RSA key of 2048 bits.
    fn recipient(&self) -> Option<Vec<u8>> {
        if !self.has_rsa() {
            return None;
        }
        let document = attest::Attest { now_ms: NOW, document: Bytes(&self.document) };
        Some(self.call(&document).response().expect("trusted").recipient.to_vec())
    }

    /// A command whose result goes to the enclave, which takes RSA.
    fn for_recipient<'a, C>(
        &self,
        name: &str,
        token: Option<&'a [u8]>,
        request: C,
        visitor: Visitor<'_>,
    ) where
        C: Copy,
        attest::For<'a, C>: Command,
    {
        let Some(token) = token else { return };
        let recipient = attest::Recipient { now_ms: NOW, token: Bytes(token) };
        visitor(name, &|| self.run(&attest::For { recipient, request }));
    }

    fn asymmetric(&self, name: &str, row: &KeySpecRow, key: key::KeyRef<'_>, visitor: Visitor<'_>) {
        let algorithm = EncryptionAlgorithm::RSAES_OAEP_SHA_256;
        let request = cipher::EncryptPublic { key, algorithm, plaintext: SHORT };
        visitor(&format!("EncryptPublic {name}"), &|| self.run(&request));
        let reply = self.call(&request);
        let ciphertext = reply.response().expect("a ciphertext").blob;
        let request = cipher::DecryptPrivate { key, algorithm, ciphertext };
        visitor(&format!("DecryptPrivate {name}"), &|| self.run(&request));
        let (title, token) = (format!("DecryptPrivateFor {name}"), self.recipient());
        self.for_recipient(&title, token.as_deref(), request, visitor);
        let side = cipher::Side { key, algorithm, context: NO_CONTEXT };
        let across = cipher::ReEncryptAcross { source: side, ciphertext, destination: side };
        visitor(&format!("ReEncryptAcross {name}"), &|| self.run(&across));
        if row.slow {
            let pair = prepare(self.device, row.spec, PairPurpose::IMPORT);
            let request = import::ParametersForImport {
                id: ID,
                spec: KeySpec::SYMMETRIC_DEFAULT,
                usage: KeyUsage::ENCRYPT_DECRYPT,
                algorithm: WrappingAlgorithm::RSAES_OAEP_SHA_256,
                expires_ms: 1,
                pair: Bytes(&pair),
            };
            visitor(&format!("ParametersForImport {name}"), &|| self.run(&request));
        }
    }

    /// A key of a spec, from a prepared pair if there is one.
    fn key(&self, spec: KeySpec, usage: KeyUsage, pair: Bytes<'_>) -> Vec<u8> {
        if pair.is_empty() {
            let reply = self.call(&key::GenerateKey { id: ID, spec, usage });
            return reply.response().expect("a new key").token.to_vec();
        }
        let reply = self.call(&key::AdoptKeyPair { id: ID, usage, pair });
        reply.response().expect("a new key").token.to_vec()
    }

    fn run<C: Command>(&self, command: &C) {
        self.call(command);
    }

    fn call<C: Command>(&self, command: &C) -> Reply<C> {
        let name = C::OPCODE;
        self.device
            .call_blocking(command, AuditTag([7; 16]))
            .unwrap_or_else(|error| panic!("{name:?}: {error}"))
    }
}

/// Key material to import; `None` for a spec without a form for that.
fn material(row: &KeySpecRow) -> Option<Vec<u8>> {
    if row.public_size == 0 {
        return Some(vec![0x42; row.secret_size]);
    }
    if row.slow {
        return Some(rsa_private_key(row.secret_size * 8));
    }
    let (_, entry) = algorithm::find(PORTABLE, row.spec).expect("in the registry");
    let (mut secret, mut der) = (SecretBuf::new(), vec![0; 1024]);
    let mut random = rand_core::UnwrapErr(getrandom::SysRng);
    entry.generate(&mut random, &mut secret).expect("generated");
    let length = entry.private_key(&secret, &mut der).ok()?;
    der.truncate(length);
    Some(der)
}
