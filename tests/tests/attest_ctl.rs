//! Statements of devices by `kmsctl attest`: asked for through a daemon, checked on a machine without one.

use std::fs;

use host_driver::OperatorKey;
use host_driver::attest::{DeviceCa, with_certificate};
use hsm_protocol::attestation::{Claims, Signed, cose};
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::identity::{IdentityDocument, Signature};
use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::device::Plug;
use hsm_tests::http::{await_devices, call};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use serde_json::{Value, json};

use hsm_tests::people::{People, Place, told};

const NONCE: &str = "00112233445566778899aabbccddeeff";

/// A device with identity keys of the test's own.
struct Forger {
    signing: OperatorKey,
    identity: IdentityDocument,
}

impl Forger {
    fn new() -> Self {
        let [signing, link, join] = [1, 2, 3].map(|_| OperatorKey::generate());
        let message = IdentityDocument::message(&signing.public(), &link.public(), &join.public());
        let signature = signing.sign(&message).expect("signed").signature;
        let identity = IdentityDocument {
            signing: signing.public(),
            link: link.public(),
            join: join.public(),
            signature,
        };
        identity.verify().expect("as a device makes it");
        Self { signing, identity }
    }

    /// Signs claims as this device.
    fn state(&self, claims: &Claims<'_>) -> Vec<u8> {
        let device = self.identity.device_id();
        let mut room = vec![0; hsm_protocol::attestation::MAX_CLAIMS];
        let claims = Claims { device, ..claims.clone() };
        let length = claims.encode(&mut room).expect("claims");
        let key = SigningKey::from_slice(&*self.signing.to_bytes()).expect("a key");
        let digest = cose::digest(&room[..length]).expect("a digest");
        let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).expect("signed");
        let signature = Signature::from_bytes(&signature.to_bytes().into());
        let signed = Signed { device, certificate: None, claims: &room[..length], signature };
        let mut out = vec![0; hsm_protocol::attestation::MAX_STATEMENT];
        let length = signed.write(&mut out).expect("it fits");
        out.truncate(length);
        out
    }
}

/// What `kmsctl attest verify` says of a file: exit code and report.
fn verify(file: &str, more: &[&str]) -> (i32, Value) {
    ctl::run(&[&["attest", "verify", file], more].concat())
}

/// A third party checks a key with nothing but the root of the device CA; each forgery fails.
#[test]
fn statements_are_checked_far_from_the_daemon() {
    let people = People::new(&["ada", "bea", "cleo"]);
    let boards = tempfile::tempdir().expect("a directory");
    let plugs = ["one", "two"].map(|name| {
        let plug = Plug::empty();
        plug.plug(&boards.path().join(name));
        plug
    });
    let [one, two] = plugs.each_ref().map(Plug::line);
    let passphrase = people.text("passphrase");
    for name in ["ca.key", "forger.key"] {
        let arguments =
            ["device-ca", "new", &people.text(name), "--key-passphrase-file", &passphrase];
        assert_eq!(told(&arguments).0, 0);
    }
    let (root, other_root) = (people.text("root.pem"), people.text("other.pem"));
    for (key, root) in [("ca.key", &root), ("forger.key", &other_root)] {
        let arguments = [
            "device-ca",
            "root",
            &people.text(key),
            "--key-passphrase-file",
            &passphrase,
            "--output",
            root,
        ];
        let (code, said) = told(&arguments);
        assert_eq!(code, 0, "{said}");
    }
    // Now: a daemon that serves has the lines to itself.
    let [id_of_one, id_of_two] = [one, two].map(|line| {
        let (_, status) = ctl::run(&["hsm", "status", line]);
        status[0]["device"].as_str().expect("an id").to_owned()
    });
    let certified = [(one, &id_of_one, "one.certificate"), (two, &id_of_two, "two.certificate")];
    for (line, id, file) in certified {
        let (code, said) = told(&[
            "device-ca",
            "certify",
            line,
            "--device",
            id,
            "--key",
            &people.text("ca.key"),
            "--key-passphrase-file",
            &passphrase,
            "--kind",
            "in-process",
            "--output",
            &people.text(file),
        ]);
        assert_eq!(code, 0, "{said}");
    }
    let mut daemon = Daemon::stopped(&[one, two]);
    let place = Place::of(daemon.data());
    let pubs = ["ada", "bea", "cleo"].map(|name| people.text(&format!("{name}.pub")));
    let mut init = vec!["domain", "init", one, "--quorum", "2", "--emulated-members"];
    pubs.iter().for_each(|path| init.extend(["--operator", path]));
    let (ca, certificate) = (people.text("ca.pub"), people.text("one.certificate"));
    let founding = people.text("founding");
    init.extend(["--device-ca", &ca, "--certificate", &certificate, "--output", &founding]);
    let (code, said) = told(&[init.as_slice(), place.flags().as_slice()].concat());
    assert_eq!(code, 0, "{said}");
    people.sign("ada", "founding");
    people.sign("bea", "founding");
    let (code, said) = people.submit(&place, &["founding"], &["--hsm", one]);
    assert_eq!(code, 0, "{said}");
    let joins = ["--add-device", &people.text("two.certificate")];
    people.agree(&place, "joins", &["ada", "bea"], &joins);
    assert_eq!(people.submit(&place, &["joins"], &[]).0, 0);
    let text = daemon.data().to_str().expect("UTF-8").to_owned();
    assert_eq!(told(&["hsm", "provision", "--data", &text, one, two]).0, 0);
    daemon.restart();
    await_devices(&daemon, 2);
    let made = call(
        &daemon,
        "CreateKey",
        &json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" }),
    );
    let key = made.json()["KeyMetadata"]["Arn"].as_str().expect("an ARN").to_owned();
    let public =
        call(&daemon, "GetPublicKey", &json!({ "KeyId": key })).json()["PublicKey"].clone();

    // Both devices, the one that was founded on and the one that a ballot let in, are certified.
    let ask = |arguments: &[&str], file: &str| {
        let file = people.text(file);
        let more = ["--output", &file, "--nonce", NONCE, "--data", &text, "--url", daemon.url()];
        let (code, said) = told(&[&["--json", "attest"], arguments, &more].concat());
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<Value>(&said).expect("a document")
    };
    for (id, file) in [(&id_of_one, "one.statement"), (&id_of_two, "two.statement")] {
        let told = ask(&["device", id], file);
        assert_eq!((&told["device"], &told["certified"]), (&json!(id), &json!(true)));
        let (code, report) = verify(&people.text(file), &["--device-ca", &root, "--nonce", NONCE]);
        assert_eq!((code, &report["verdict"]), (0, &json!("proven")), "{report}");
        assert_eq!(report["claims"]["device"]["kind"], "in-process");
        assert!(report["claims"]["key"].is_null());
    }
    assert_eq!(ask(&["key", &key], "key.statement")["certified"], true);
    // Away from here: neither daemon nor devices.
    assert!(daemon.stop().success());
    plugs.iter().for_each(Plug::unplug);
    let statement = fs::read(people.path("key.statement")).expect("a statement");
    let file = people.text("key.statement");
    for root in [&root, &ca] {
        let (code, report) = verify(&file, &["--device-ca", root, "--nonce", NONCE]);
        assert_eq!(code, 0, "{report}");
        let key = &report["claims"]["key"];
        assert_eq!((&key["spec"], &key["usage"]), (&json!("ECC_NIST_P256"), &json!("SIGN_VERIFY")));
        assert_eq!((&key["origin"], &key["approval"]), (&json!("AWS_KMS"), &Value::Null));
        assert_eq!(key["neverOutside"], false, "its devices are not hardware");
        assert_eq!(key["history"], json!(["soft-member"]));
        let spki = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            public.as_str().expect("Base64"),
        );
        let digits: String =
            spki.expect("Base64").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(key["public"], json!(digits));
    }
    let (code, words) = ctl::text(&["attest", "verify", &file, "--device-ca", &root]);
    assert!(code == 0 && words.contains("age") && words.contains("IN PROCESS"), "{words}");

    // Nobody vouches, another CA, an old nonce, what was insisted on.
    let (code, words) = ctl::text(&["attest", "verify", &file]);
    assert!(code == 4 && words.contains("NOBODY VOUCHES"), "{words}");
    let other_nonce = "ff".repeat(16);
    for (more, because) in [
        (&["--device-ca", &other_root][..], "not of the device CA"),
        (&["--device-ca", &root, "--nonce", &other_nonce], "another nonce"),
        (&["--device-ca", &root, "--require", "hardware"], "not hardware"),
        (&["--device-ca", &root, "--require", "never-outside"], "may be elsewhere"),
        (&["--device-ca", &root, "--require", "approval"], "need no approval"),
    ] {
        let (code, report) = verify(&file, more);
        let reason = report["reason"].as_str().unwrap_or_default();
        assert!(code == 1 && reason.contains(because), "{more:?}: {report}");
    }
    let (code, _) = verify(&file, &["--device-ca", &root, "--require", "production"]);
    assert_eq!(code, 0);
    let (code, _) = verify(&people.text("missing"), &["--device-ca", &root]);
    assert_eq!(code, 2, "what is not there was not looked at");

    // Changed claims, and a statement under a certificate of another device.
    let put = |name: &str, bytes: &[u8]| {
        fs::write(people.path(name), bytes).expect("written");
        verify(&people.text(name), &["--device-ca", &root, "--nonce", NONCE])
    };
    let at = statement.windows(10).position(|part| part == b"in-process").expect("the kind");
    let mut changed = statement.clone();
    changed[at..at + 10].copy_from_slice(b"hardware!!");
    assert_eq!(put("changed", &changed).0, 1);
    for place in (0..statement.len()).step_by(37) {
        let mut changed = statement.clone();
        changed[place] ^= 0x20;
        assert_eq!(put("changed", &changed).0, 1, "byte {place}");
    }
    let signed = Signed::parse(&statement).expect("a statement");
    let honest = Claims::decode(signed.claims).expect("claims");
    let forger = Forger::new();
    let forged = forger.state(&honest);
    let theirs = with_certificate(&forged, signed.certificate.expect("one")).expect("put in");
    let (code, report) = put("theirs", &theirs);
    assert!(
        code == 1 && report["reason"].as_str().is_some_and(|text| text.contains("another")),
        "{report}"
    );

    // A device that the CA has found to be emulated, and that says it is hardware; and one that a CA of its
    // own calls hardware.
    let claims = Claims { kind: DeviceKind::Hardware, ..honest.clone() };
    let forged = forger.state(&claims);
    let ca_key = || {
        let ca = OperatorKey::generate();
        let public = ca.public();
        (DeviceCa::new(ca), public)
    };
    let ((ca, public), (own, own_public)) = (ca_key(), ca_key());
    fs::write(people.path("emulated.pem"), ca.root_pem().expect("PEM")).expect("written");
    let emulated = ca.certify(&forger.identity, DeviceKind::Emulated).expect("certified");
    let der = emulated.to_der(&public, &forger.identity).expect("X.509");
    fs::write(people.path("liar"), with_certificate(&forged, &der).expect("put in"))
        .expect("written");
    let emulated_root = people.text("emulated.pem");
    let (code, report) = verify(&people.text("liar"), &["--device-ca", &emulated_root]);
    let reason = report["reason"].as_str().unwrap_or_default();
    assert!(code == 1 && reason.contains("says that the device is emulated"), "{report}");
    let hardware = own.certify(&forger.identity, DeviceKind::Hardware).expect("certified");
    let der = hardware.to_der(&own_public, &forger.identity).expect("X.509");
    let self_made = with_certificate(&forged, &der).expect("put in");
    assert_eq!(put("self-made", &self_made).0, 1, "by a CA that nobody trusts");
    assert_eq!(put("bare", &forged).0, 1, "by nobody");
}
