//! Keys each use of which operators approve, through the daemon: an unmodified SDK is told what to have
//! signed and sends the same request again, and every way to do without a quorum fails.

use std::fs;

use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::operation::sign::SignError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::SigningAlgorithmSpec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_driver::approval::Pending;
use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::device::Plug;
use hsm_tests::http::{Answer, Request, await_devices, call};
use hsm_tests::sdk::client;
use serde_json::{Value, json};

use hsm_tests::people::{People, Place, told};

const NAMES: [&str; 3] = ["ada", "bea", "cleo"];
const STRONGROOM: &str = "2026-11-26";

/// A production domain of two devices that a daemon serves.
struct Scene {
    people: People,
    daemon: Daemon,
    plugs: [Plug; 2],
    boards: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let people = People::new(&NAMES);
        let boards = tempfile::tempdir().expect("a directory");
        let plugs = ["one", "two"].map(|name| {
            let plug = Plug::empty();
            plug.plug(&boards.path().join(name));
            plug
        });
        let [one, two] = plugs.each_ref().map(Plug::line);
        let mut daemon = Daemon::stopped(&[one, two]);
        let data = daemon.data().to_owned();
        let text = data.to_str().expect("UTF-8").to_owned();
        people.found(&data, one);
        people.agree(&Place::of(&data), "second", &["ada", "bea"], &["--add-device", two]);
        assert_eq!(people.submit(&Place::of(&data), &["second"], &[]).0, 0);
        let (code, said) = told(&["hsm", "provision", "--data", &text, one, two]);
        assert_eq!(code, 0, "{said}");
        daemon.restart();
        await_devices(&daemon, 2);
        Self { people, daemon, plugs, boards }
    }

    /// Runs `kmsctl` against the daemon, as the root.
    fn ctl(&self, arguments: &[&str]) -> (i32, String) {
        let place = Place::at(&self.daemon);
        told(&[arguments, place.flags().as_slice()].concat())
    }

    fn create(&self, body: &Value) -> String {
        let made = call(&self.daemon, "CreateKey", body);
        assert_eq!(made.status, 200, "{made:?}");
        made.json()["KeyMetadata"]["Arn"].as_str().expect("an ARN").to_owned()
    }

    /// A signing key that two operators approve.
    fn guarded(&self) -> String {
        let key = self.create(&json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" }));
        self.guard(&key);
        key
    }

    fn guard(&self, key: &str) {
        let (code, said) = self.ctl(&["key", "require-approval", key, "--quorum", "2"]);
        assert_eq!(code, 0, "{said}");
    }

    fn sign(&self, key: &str, message: &str) -> Answer {
        let message = STANDARD.encode(message);
        let body = json!({ "KeyId": key, "Message": message, "SigningAlgorithm": "ECDSA_SHA_256" });
        call(&self.daemon, "Sign", &body)
    }

    /// Fetches a request into a file.
    fn fetch(&self, fingerprint: &str, file: &str) {
        let file = self.people.text(file);
        let (code, said) = self.ctl(&["key", "request", fingerprint, "--output", &file]);
        assert_eq!(code, 0, "{said}");
    }

    fn try_approve(&self, who: &str, file: &str, expect: &str) -> (i32, String) {
        let people = &self.people;
        told(&[
            "key",
            "approve",
            &people.text(file),
            "--key",
            &people.text(&format!("{who}.key")),
            "--key-passphrase-file",
            &people.text("passphrase"),
            "--expect",
            expect,
        ])
    }

    fn approve(&self, who: &str, file: &str, fingerprint: &str) {
        let (code, said) = self.try_approve(who, file, fingerprint);
        assert_eq!(code, 0, "{said}");
    }

    fn submit(&self, files: &[&str]) -> (i32, String) {
        let files: Vec<_> = files.iter().map(|file| self.people.text(file)).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        self.ctl(&[&["key", "submit"], files.as_slice()].concat())
    }

    /// Has a refused request approved by two operators.
    fn agree(&self, refused: &Answer, file: &str) -> String {
        let fingerprint = fingerprint(refused);
        self.fetch(&fingerprint, file);
        self.approve("ada", file, &fingerprint);
        self.approve("cleo", file, &fingerprint);
        let (code, said) = self.submit(&[file]);
        assert_eq!(code, 0, "{said}");
        fingerprint
    }

    /// Hands signatures over without `kmsctl`, which would look at them first.
    fn hand_over(&self, fingerprint: &str, votes: &str) -> Answer {
        let parameters =
            [("RegionName", "us-east-1"), ("ApprovalId", fingerprint), ("Votes", votes)];
        Request::form(STRONGROOM, "SubmitApproval", &parameters)
            .signed_for("strongroom", &self.daemon.credentials(), &self.daemon)
            .send(&self.daemon)
    }

    /// The signatures in a file, as the API takes them.
    fn votes(&self, file: &str) -> Vec<String> {
        let signatures = self.read(file)["signatures"].clone();
        let vote = |vote: &Value| {
            let text = |member: &str| vote[member].as_str().expect("a text").to_owned();
            format!("{}:{}", text("operator"), text("signature"))
        };
        signatures.as_array().expect("a list").iter().map(vote).collect()
    }

    fn read(&self, file: &str) -> Value {
        let bytes = fs::read(self.people.path(file)).expect("a file");
        serde_json::from_slice(&bytes).expect("JSON")
    }
}

/// The fingerprint in a refusal; what is to be signed is in it as well, and is what the fingerprint is of.
fn fingerprint(refused: &Answer) -> String {
    assert_eq!(
        (refused.status, &*refused.code()),
        (400, "KMSInvalidStateException"),
        "{refused:?}"
    );
    let text = refused.json()["message"].as_str().expect("a text").to_owned();
    fingerprint_in(&text)
}

fn fingerprint_in(text: &str) -> String {
    let (_, rest) = text.split_once("the fingerprint ").expect("a fingerprint");
    let fingerprint = rest.split(':').next().expect("a text").to_owned();
    let (_, message) = text.rsplit_once(' ').expect("what is signed");
    let message = STANDARD.decode(message).expect("Base64");
    let digest = sha2::Digest::finalize(sha2::Digest::chain_update(
        <sha2::Sha256 as sha2::Digest>::new(),
        &message,
    ));
    let digits: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(fingerprint.replace('-', ""), digits);
    fingerprint
}

/// Two of three operators approve what an SDK has asked for; the same call goes through then, once, on
/// the device that asked, whichever of the two that was.
#[test]
fn operators_approve_what_an_sdk_asks_for() {
    let scene = Scene::new();
    let key = scene.create(&json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" }));
    let before = scene.sign(&key, "hello");
    assert_eq!(before.status, 200, "{before:?}");
    for (more, because) in [
        (&["--quorum", "0"][..], "could not meet"),
        (&["--quorum", "4"], "could not meet"),
        (&["--quorum", "2", "--officers", "3"], "could not meet"),
    ] {
        let (code, said) = scene.ctl(&[&["key", "require-approval", &key], more].concat());
        assert!(code == 2 && said.contains(because), "{more:?}: {said}");
    }
    scene.guard(&key);
    let (code, said) = scene.ctl(&["key", "require-approval", &key, "--quorum", "1"]);
    assert!(code == 2 && said.contains("never weaker"), "{said}");
    let (code, shown) = scene.ctl(&["key", "show", &key]);
    assert_eq!(code, 0);
    assert!(shown.contains("2 operators approve each use"), "{shown}");
    assert!(shown.contains("rule-bound-later"), "{shown}");

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sdk = client(&scene.daemon);
    let ask = || {
        let request = sdk.sign().key_id(&key).message(Blob::new("root certificate"));
        let request = request.signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        runtime.block_on(request.send()).map_err(|error| Box::new(error.into_service_error()))
    };
    for round in 0..3 {
        let refused = ask().expect_err("nobody has approved it");
        assert!(matches!(*refused, SignError::KmsInvalidStateException(_)), "{refused:?}");
        let told = fingerprint_in(refused.message().expect("a text"));
        let again = ask().expect_err("nobody has approved it");
        assert_eq!(fingerprint_in(again.message().expect("a text")), told, "one request");

        let file = format!("request{round}");
        scene.fetch(&told, &file);
        let wrong = "0000-0000-0000-0000-0000-0000-0000-0000";
        let (code, said) = scene.try_approve("ada", &file, wrong);
        assert!(code == 2 && said.contains("nothing was signed"), "{said}");
        // Copies, which are signed apart.
        let copy = format!("copy{round}");
        fs::copy(scene.people.path(&file), scene.people.path(&copy)).expect("carried");
        scene.approve("ada", &file, &told);
        scene.approve("bea", &copy, &told);
        assert!(ask().is_err(), "it was not handed over yet");
        let (code, said) = scene.submit(&[&file, &copy]);
        assert_eq!(code, 0, "{said}");
        let (code, listed) = scene.ctl(&["key", "request"]);
        assert!(code == 0 && listed.contains("approved"), "{listed}");

        let signed = ask().expect("it is approved");
        let signature = signed.signature().expect("a signature").clone();
        let verify = sdk.verify().key_id(&key).message(Blob::new("root certificate"));
        let verify =
            verify.signature(signature).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        runtime.block_on(verify.send()).expect("verifying is free, and the signature is good");
        let (code, said) = scene.submit(&[&file, &copy]);
        assert!(code == 2 && said.contains("No such request"), "it was used up: {said}");
        let replayed = ask().expect_err("once");
        assert_ne!(fingerprint_in(replayed.message().expect("a text")), told);
        assert_eq!(
            scene.agree(&scene.sign(&key, "root certificate"), &format!("again{round}")).len(),
            39
        );
        assert!(ask().is_ok(), "a second time, with a second approval");
    }
}

/// An approval is of one request with one key, by a quorum of those who are operators now.
#[test]
fn no_approval_but_the_operators_own_counts() {
    let scene = Scene::new();
    let (key, other) = (scene.guarded(), scene.guarded());
    let refused = scene.sign(&key, "yes");
    let told = fingerprint(&refused);
    scene.fetch(&told, "yes");
    let (code, said) = scene.submit(&["yes"]);
    assert!(code == 2 && said.contains("nobody has signed"), "{said}");

    // Too few, and one twice.
    scene.approve("ada", "yes", &told);
    scene.approve("ada", "yes", &told);
    let (code, said) = scene.submit(&["yes"]);
    assert!(code == 2 && said.contains("Too few operators"), "{said}");
    let ada = scene.votes("yes").remove(0);
    for votes in [ada.clone(), format!("{ada},{ada}"), format!("{ada},{ada},{ada}")] {
        let answer = scene.hand_over(&told, &votes);
        assert_eq!(answer.status, 400, "{votes}: {answer:?}");
        assert_ne!(fingerprint(&scene.sign(&key, "no")), told);
        assert_eq!(fingerprint(&scene.sign(&key, "yes")), told, "it still waits");
    }
    // Somebody else's, and ada's name under it.
    let stranger = People::new(&["eve"]);
    fs::copy(stranger.path("eve.key"), scene.people.path("eve.key")).expect("copied");
    let (code, said) = scene.try_approve("eve", "yes", &told);
    assert!(code == 2 && said.contains("not an operator"), "{said}");
    let refused_no = scene.sign(&key, "no");
    let told_no = fingerprint(&refused_no);
    scene.fetch(&told_no, "no");
    scene.approve("bea", "no", &told_no);
    let bea_no = scene.votes("no").remove(0);
    assert_eq!(
        scene.hand_over(&told, &format!("{ada},{bea_no}")).status,
        400,
        "for another request"
    );
    let mut forged = scene.read("yes");
    forged["signatures"] =
        json!([scene.read("yes")["signatures"][0], scene.read("no")["signatures"][0]]);
    fs::write(scene.people.path("forged"), forged.to_string()).expect("written");
    let (code, said) = scene.submit(&["forged"]);
    assert!(code == 2 && said.contains("has a signature that is not"), "{said}");
    let (code, said) = scene.submit(&["yes", "no"]);
    assert!(code == 2 && said.contains("another request"), "{said}");

    // A file whose request was exchanged says so before anybody signs.
    let request = |file: &str| STANDARD.decode(scene.read(file)["request"].as_str().expect("text"));
    let (yes, no) = (request("yes").expect("Base64"), request("no").expect("Base64"));
    let asked = Pending::from_bytes(&yes).expect("a request");
    let body = no.len() - (yes.len() - asked_length(&yes, &asked));
    let exchanged = [&yes[..asked_length(&yes, &asked)], &no[body..]].concat();
    let mut forged = scene.read("no");
    forged["request"] = json!(STANDARD.encode(exchanged));
    forged["signatures"] = json!([]);
    fs::write(scene.people.path("exchanged"), forged.to_string()).expect("written");
    let (code, said) = scene.try_approve("bea", "exchanged", &told);
    assert!(code == 2 && said.contains("do not sign it"), "{said}");

    // Approved: not for another message, nor another key.
    scene.approve("cleo", "yes", &told);
    assert_eq!(scene.submit(&["yes"]).0, 0);
    assert_eq!(fingerprint(&scene.sign(&key, "no")), told_no);
    fingerprint(&scene.sign(&other, "yes"));
    assert_eq!(scene.sign(&key, "yes").status, 200);
    fingerprint(&scene.sign(&key, "yes"));
}

/// Length of what is before the request's body.
fn asked_length(bytes: &[u8], pending: &Pending) -> usize {
    let text = format!("{pending:?}");
    let (_, body) = text.rsplit_once(", ").expect("a length");
    bytes.len() - body.trim_end_matches(')').parse::<usize>().expect("a number")
}

/// What was approved ends with the operators who approved it, and with the device that knows of it.
#[test]
fn approvals_end_with_operators_and_devices() {
    let scene = Scene::new();
    let key = scene.guarded();
    let told = fingerprint(&scene.sign(&key, "hello"));
    scene.fetch(&told, "before");
    scene.approve("bea", "before", &told);
    scene.approve("cleo", "before", &told);
    let place = Place::at(&scene.daemon);
    let dora = People::new(&["dora"]);
    for name in ["dora.key", "dora.pub"] {
        fs::copy(dora.path(name), scene.people.path(name)).expect("copied");
    }
    let (_, bea) = ctl::run(&["operator", "show", &scene.people.text("bea.pub")]);
    let bea = bea["fingerprint"].as_str().expect("a fingerprint").replace('-', "");
    let changes = ["--remove-operator", &bea, "--add-operator", &scene.people.text("dora.pub")];
    scene.people.agree(&place, "replaced", &["ada", "cleo"], &changes);
    let (code, said) = scene.people.submit(&place, &["replaced"], &[]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = scene.submit(&["before"]);
    assert!(code == 2 && said.contains("No such request"), "{said}");
    let told = fingerprint(&scene.sign(&key, "hello"));
    scene.fetch(&told, "after");
    let (code, said) = scene.try_approve("bea", "after", &told);
    assert!(code == 2 && said.contains("not an operator"), "{said}");
    scene.approve("dora", "after", &told);
    let dora_vote = scene.votes("after").remove(0);
    let bea_vote = scene.votes("before").remove(0);
    let answer = scene.hand_over(&told, &format!("{dora_vote},{bea_vote}"));
    assert_eq!(answer.status, 400, "of one who is no longer an operator: {answer:?}");
    scene.approve("ada", "after", &told);
    assert_eq!(scene.submit(&["after"]).0, 0);

    // The device that has the approval restarts; the other one has never heard of it.
    let device = scene.read("after");
    let request = STANDARD.decode(device["request"].as_str().expect("text")).expect("Base64");
    let device = Pending::from_bytes(&request).expect("a request").asked().device.to_string();
    let status = hsm_tests::http::get(&scene.daemon, "/readyz").json();
    let devices = status["devices"].as_array().expect("devices");
    let place = devices.iter().position(|found| found["device"] == *device).expect("it is there");
    let plug = &scene.plugs[place];
    plug.unplug();
    await_devices(&scene.daemon, 1);
    plug.plug(&scene.boards.path().join(["one", "two"][place]));
    await_devices(&scene.daemon, 2);
    assert_ne!(fingerprint(&scene.sign(&key, "hello")), told);
    let (code, said) = scene.submit(&["after"]);
    assert!(code == 2 && said.contains("No such request"), "{said}");
}

/// Deletion takes approval; so do decryption and the material that a rotation brings. What gives a
/// different request each time is refused as such.
#[test]
fn everything_that_uses_the_secret_and_deletion_take_approval() {
    let scene = Scene::new();
    let key = scene.create(&json!({}));
    let plaintext = STANDARD.encode("secret");
    let encrypt = |key: &str| {
        call(&scene.daemon, "Encrypt", &json!({ "KeyId": key, "Plaintext": plaintext }))
    };
    let before = encrypt(&key).json()["CiphertextBlob"].clone();
    scene.guard(&key);
    let decrypt = || call(&scene.daemon, "Decrypt", &json!({ "CiphertextBlob": before }));
    let rotated = call(&scene.daemon, "RotateKeyOnDemand", &json!({ "KeyId": key }));
    assert_eq!(rotated.status, 200, "making material uses no secret: {rotated:?}");
    let (_, shown) = scene.ctl(&["key", "show", &key]);
    assert_eq!(shown.matches("2 operators approve each use").count(), 2, "{shown}");
    fingerprint(&encrypt(&key));
    scene.agree(&decrypt(), "decrypt");
    let opened = decrypt();
    assert_eq!((opened.status, &opened.json()["Plaintext"]), (200, &json!(plaintext)));
    fingerprint(&decrypt());
    let (code, said) = scene.ctl(&["key", "request"]);
    assert!(code == 0 && said.matches("Decrypt").count() == 1, "{said}");

    // Both keys of a re-encryption.
    let other = scene.create(&json!({}));
    scene.guard(&other);
    let both = || {
        let body = json!({ "CiphertextBlob": before, "DestinationKeyId": other });
        call(&scene.daemon, "ReEncrypt", &body)
    };
    let first = scene.agree(&both(), "source");
    let second = scene.agree(&both(), "destination");
    assert_ne!(first, second, "each key has its own approval");
    let moved = both();
    assert_eq!(moved.status, 200, "{moved:?}");
    fingerprint(&both());

    // A key pair of a slow spec is another one each time.
    let pair = call(
        &scene.daemon,
        "GenerateDataKeyPairWithoutPlaintext",
        &json!({ "KeyId": key, "KeyPairSpec": "RSA_2048" }),
    );
    assert_eq!(pair.code(), "KMSInvalidStateException");
    assert!(pair.json()["message"].as_str().is_some_and(|text| text.contains("another key")));

    // Nobody deletes it alone.
    let delete = || {
        let body = json!({ "KeyId": key, "PendingWindowInDays": 7 });
        call(&scene.daemon, "ScheduleKeyDeletion", &body)
    };
    let refused = delete();
    let (_, told) = scene.ctl(&["key", "request", &fingerprint(&refused), "--output", "/dev/null"]);
    assert!(told.contains("exists and is not replaced"), "{told}");
    let state = |key: &str| {
        let described = call(&scene.daemon, "DescribeKey", &json!({ "KeyId": key }));
        described.json()["KeyMetadata"]["KeyState"].clone()
    };
    assert_eq!(state(&key), "Enabled");
    scene.agree(&refused, "delete");
    let deleted = delete();
    assert_eq!((deleted.status, state(&key)), (200, json!("PendingDeletion")), "{deleted:?}");

    // What is elsewhere too cannot be guarded.
    let multi = scene.create(&json!({ "MultiRegion": true }));
    let external = scene.create(&json!({ "Origin": "EXTERNAL" }));
    for key in [multi, external] {
        let (code, said) = scene.ctl(&["key", "require-approval", &key, "--quorum", "2"]);
        assert!(code == 2 && said.contains("no approval can guard it"), "{said}");
    }

    let mut scene = scene;
    assert!(scene.daemon.stop().success());
    let audit = scene.daemon.data().join("audit");
    assert!(ctl::verify(&audit).0);
    let (_, found) = ctl::text(&[
        "--json",
        "audit",
        "query",
        audit.to_str().expect("UTF-8"),
        "--action",
        "SubmitApproval",
    ]);
    assert!(found.contains("PermitDeletion"), "{found}");
    // What is signed covers the whole request: nobody finds a short plaintext with it and the log.
    let (_, refused) = ctl::text(&["--json", "audit", "query", audit.to_str().expect("UTF-8")]);
    assert!(refused.contains("needs the approval of") && !refused.contains("What is signed"));
}

/// Requests are seen, and handed over, by whoever has sent them, and by the root.
#[test]
fn requests_are_their_callers_own() {
    let scene = Scene::new();
    let key = scene.guarded();
    let told = fingerprint(&scene.sign(&key, "hello"));
    let data = scene.daemon.data().to_str().expect("UTF-8").to_owned();
    let url = scene.daemon.url().to_owned();
    let (code, said) = told_of(&["iam", "user", "create", "eve", "--data", &data, "--url", &url]);
    assert_eq!(code, 0, "{said}");
    let (code, credentials) =
        told_of(&["iam", "key", "create", "eve", "--data", &data, "--url", &url]);
    assert_eq!(code, 0, "{credentials}");
    let file = scene.people.path("eve-credentials");
    fs::write(&file, credentials.replace("[eve]", "[default]")).expect("written");
    let file = file.to_str().expect("UTF-8");
    let eve = |arguments: &[&str]| {
        told_of(&[arguments, &["--url", &url, "--credentials", file]].concat())
    };
    let (code, said) = eve(&["key", "request"]);
    assert!(code == 0 && said.contains("No request"), "{said}");
    let path = scene.people.text("stolen");
    let (code, said) = eve(&["key", "request", &told, "--output", &path]);
    assert!(code == 2 && said.contains("NoSuchEntity"), "{said}");
    for command in [&["key", "show", &key][..], &["key", "require-approval", &key, "--quorum", "3"]]
    {
        let (code, said) = eve(command);
        assert!(code == 2 && said.contains("AccessDenied"), "{said}");
    }
    let (code, said) = eve(&["attest", "key", &key, "--output", &path]);
    assert!(code == 2 && said.contains("AccessDenied"), "{said}");
}

fn told_of(arguments: &[&str]) -> (i32, String) {
    told(arguments)
}
