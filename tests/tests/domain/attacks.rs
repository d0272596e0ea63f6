//! Who has the disk, the device, or both, but no quorum of the operators: against the real firmware, at the end
//! of its serial line.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_driver::{OperatorKey, ceremony};
use hsm_protocol::command::cipher::{Decrypt, Encrypt};
use hsm_protocol::command::domain::{ChangeDomain, ExportDomain, ReceiveKeys};
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::domain::{Change, DeviceKind};
use hsm_protocol::{Bytes, ErrorCode, KeyId};
use hsm_tests::board::Board;
use hsm_tests::calls::{outcome, refusal};
use hsm_tests::daemon::{Daemon, private_dir};
use hsm_tests::emulator::Attachment;
use hsm_tests::flash::domain_key;
use hsm_tests::http::{await_devices, call};
use hsm_tests::losses::{assert_opens, create, encrypt};
use hsm_tests::patience::until;
use hsm_tests::testbed::{Line, Registry, Testbed};
use serde_json::{Value, json};

use crate::{NAMES, device, host_of, readiness};
use hsm_tests::people::{People, Place, domain, told};

/// A device that was put out erases itself. With an old flash it comes back as what it was, follows, and
/// erases itself again; where a host hides the change from it, it still opens nothing of what came after, and
/// the others take nothing from it.
#[test]
fn a_removed_device_has_no_part_in_what_comes_after() {
    let people = People::new(&NAMES);
    let (one, mut two) = (Board::new(Attachment::UART), Board::new(Attachment::of("mps2_an386")));
    let (first, second) = (one.line(), two.line());
    let copies = private_dir();
    let kept = |name: &str| copies.path().join(name);
    let mut daemon = Daemon::stopped(&[&first, &second]);
    let data = daemon.data().to_owned();
    let text = data.to_str().expect("UTF-8").to_owned();
    let store = data.join("store.redb");
    people.found(&data, &first);
    people.agree(&Place::of(&data), "second", &["ada", "bea"], &["--add-device", &second]);
    assert_eq!(people.submit(&Place::of(&data), &["second"], &[]).0, 0);
    assert_eq!(told(&["hsm", "provision", "--data", &text, &first, &second]).0, 0);
    daemon.restart();
    await_devices(&daemon, 2);
    let before = encrypt(&daemon, &create(&daemon));
    let key = domain_key(&two.written(), &domain_id(&data));
    fs::copy(two.flash(), kept("flash")).expect("copied");
    // The daemon wraps its tokens anew at once: whoever wants those of before has copied them before.
    fs::copy(&store, kept("store")).expect("copied");

    let id = readiness(&daemon)["devices"][1]["device"].as_str().expect("an id").to_owned();
    let place = Place::at(&daemon);
    people.agree(&place, "out", &["bea", "cleo"], &["--remove-device", &id]);
    let (code, said) = people.submit(&place, &["out"], &[]);
    assert_eq!(code, 0, "{said}");
    await_devices(&daemon, 1);
    assert_eq!(domain(&place)["domainKeys"], json!([1, 2]));
    let after = encrypt(&daemon, &create(&daemon));
    assert_opens(&daemon, &before);
    assert_opens(&daemon, &after);
    let holds_key = |board: &Board| {
        let content = board.written();
        key.chunks(16).any(|half| content.windows(16).any(|window| window == half))
    };
    until("the removed device has erased itself", || !holds_key(&two));

    // The old flash, in the daemon's hands.
    two.unplug();
    fs::copy(kept("flash"), two.flash()).expect("copied");
    assert!(holds_key(&two));
    two.plug();
    until("it has erased itself again", || !holds_key(&two));
    assert_eq!(readiness(&daemon)["devices"][1]["inService"], false);
    assert!(daemon.stop().success());

    // The old flash, in the hands of somebody who has the host's key and the store, too.
    two.unplug();
    fs::copy(kept("flash"), two.flash()).expect("copied");
    two.plug();
    let removed = device(&second, &host_of(&data));
    let member = device(&first, &host_of(&data));
    let wanted = ExportDomain { member: removed.id() };
    assert_eq!(refusal(&member, &wanted), ErrorCode::CHANGE_INVALID);
    let own = member.export_domain(member.id()).expect("a member may have it");
    let stale = removed.export_domain(member.id()).expect("it knows no better");
    for (device, token) in [(&removed, &own), (&member, &stale)] {
        let code = refusal(device, &ReceiveKeys { token: Bytes(token) });
        assert_eq!(code, ErrorCode::DOMAIN_TOKEN_INVALID);
    }
    let domain = domain_id(&data);
    let (mut former, mut new) = (0, 0);
    for token in [kept("store"), store].iter().flat_map(|store| tokens(store, &domain)) {
        // Version u8 | domain [16] | domain key u32 LE | key id [17] | …
        let id: &[u8; KeyId::SIZE] = token[21..38].try_into().expect("a key id");
        let id = KeyId::from_bytes(id).expect("a key id");
        let key = KeyRef { id, token: Bytes(&token) };
        let used = outcome(&removed, &Encrypt { key, context: Bytes(&[]), plaintext: Bytes(b"x") });
        match u32::from_le_bytes(token[17..21].try_into().expect("four bytes")) {
            1 => former += usize::from(used.is_none()),
            _ => {
                assert_eq!(used, Some(ErrorCode::TOKEN_INVALID));
                new += 1;
            }
        }
    }
    assert!(former > 0 && new > 0, "{former} tokens of before, {new} of after");
}

/// The theft: the daemon's whole disk, without its device, and then with the device at hand.
#[test]
fn a_stolen_disk_opens_nothing_without_the_device() {
    let people = People::new(&NAMES);
    let board = Board::new(Attachment::UART);
    let line = board.line();
    let mut daemon = Daemon::stopped(&[&line]);
    people.found(daemon.data(), &line);
    daemon.restart();
    await_devices(&daemon, 1);
    let arn = create(&daemon);
    let blob = encrypt(&daemon, &arn);
    assert!(daemon.stop().success());
    let stolen = private_dir();
    copy(daemon.data(), stolen.path());

    // Nothing on the disk is, or has, the domain key. It is found where it is: in the device's flash.
    let key = domain_key(&board.written(), &domain_id(stolen.path()));
    let mut files = 0;
    visit(stolen.path(), &mut |path, content| {
        files += 1;
        for half in key.chunks(16) {
            let found = content.windows(16).any(|window| window == half);
            assert!(!found, "the domain key is in {}", path.display());
        }
    });
    assert!(files > 5, "{files} files");

    // A daemon on it, with a device of the thief's.
    let mut thief = Daemon::stopped(&["soft"]);
    copy(stolen.path(), thief.data());
    thief.restart();
    let answer = call(&thief, "Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_ne!(answer.status, 200, "{answer:?}");
    thief.kill();
    // The same once nobody knows any more what the keys are of.
    fs::remove_dir_all(thief.data().join("hsm")).expect("removed");
    thief.restart();
    let answer = call(&thief, "Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_ne!(answer.status, 200, "{answer:?}");
    thief.kill();

    // A domain of the thief's own, founded with every key that was on the disk: its device opens none of
    // the tokens.
    let own = Testbed::new(Line::Host(Registry::default()));
    let hosts = own.provision();
    let at_home = own.device_as(&hosts.user);
    let tokens = tokens(&stolen.path().join("store.redb"), &domain_id(stolen.path()));
    assert!(!tokens.is_empty(), "the store has tokens");
    let id = KeyId::single_region([1; 16]);
    for token in &tokens {
        let key = KeyRef { id, token: Bytes(token) };
        let code = refusal(&at_home, &Decrypt { key, context: Bytes(&[]), blob: Bytes(&[]) });
        assert!(
            [ErrorCode::TOKEN_DOMAIN, ErrorCode::CIPHERTEXT_INVALID, ErrorCode::TOKEN_MALFORMED]
                .contains(&code),
            "{code:?}"
        );
    }

    // With the device at hand, the stolen host key uses keys, as the daemon did; but the domain keys do
    // not leave for a device of the thief's, whatever else was on the disk.
    let reached = device(&line, &host_of(stolen.path()));
    let state = reached.domain_state().expect("a host may ask");
    let (identity, kind) = (*at_home.identity(), DeviceKind::Hardware);
    let add = Change::AddMember { identity, kind, certificate: None };
    let member = at_home.id();
    assert_eq!(refusal(&reached, &ExportDomain { member }), ErrorCode::CHANGE_INVALID);
    let proposed = ceremony::propose(&state, &[add]).expect("it can be proposed");
    let on_disk = OperatorKey::load_or_generate(&stolen.path().join("hosts/operator.pem"));
    let on_disk = on_disk.expect("a key");
    let vote = on_disk.sign(&proposed.message).expect("signed");
    for (votes, expected) in
        [(&[][..], ErrorCode::QUORUM_MISSING), (&[vote], ErrorCode::SIGNATURE_INVALID)]
    {
        let ballot = proposed.ballot(votes).expect("short");
        let code = refusal(&reached, &ChangeDomain { ballot: Bytes(&ballot) });
        assert_eq!(code, expected);
    }
    assert_eq!(refusal(&reached, &ExportDomain { member }), ErrorCode::CHANGE_INVALID);
    assert_eq!(reached.domain_state().expect("a host may ask"), state);
}

fn domain_id(data: &Path) -> [u8; 16] {
    let registry = fs::read(data.join("hsm/us-east-1/devices.json")).expect("a registry");
    let registry: Value = serde_json::from_slice(&registry).expect("JSON");
    let text = registry["domain"].as_str().expect("a domain");
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("digits");
    std::array::from_fn(byte)
}

/// The tokens of the domain in a store, which has them in Base64.
fn tokens(store: &Path, domain: &[u8; 16]) -> Vec<Vec<u8>> {
    let content = fs::read(store).expect("the store");
    let head: Vec<u8> = [&[0x12][..], domain].concat();
    let in_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let runs = content.split(|byte| !in_base64(byte)).filter(|run| run.len() > 100);
    let decoded = runs.filter_map(|run| STANDARD.decode(run).ok());
    decoded.filter(|token| token.starts_with(&head)).collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => {
                fs::create_dir_all(&target).expect("made");
                copy(&entry.path(), &target);
            }
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

fn visit(dir: &Path, seen: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        match entry.path().is_dir() {
            true => visit(&entry.path(), seen),
            false => seen(&entry.path(), &fs::read(entry.path()).expect("read")),
        }
    }
}
