//! Stack and heap of every command on the emulated boards, against `hsm-firmware/commands.toml`.
//!
//! `UPDATE_BUDGET=1 cargo xtask test --suite memory` writes the table anew, with a sixteenth to
//! spare; whoever commits it says why a command needs more.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::sync::Mutex;

use host_driver::Reply;
use host_driver::device::Device;
use host_driver::host_key::HostKey;
use host_driver::recovery::ShareKey;
use hsm_protocol::command::Command;
use hsm_protocol::command::approval::{GenerateGuardedKey, PermitDeletion};
use hsm_protocol::command::attest::AttestationRoots;
use hsm_protocol::command::domain::{
    ChangeDomain, DescribeDomain, DomainInfo, ExportDomain, ReceiveKeys,
};
use hsm_protocol::command::key::{GenerateKey, KeyRef};
use hsm_protocol::command::recovery::MakeRecovery;
use hsm_protocol::command::sign::Sign;
use hsm_protocol::command::system::{MemoryPeaks, MemoryUse};
use hsm_protocol::domain::{Change, DeviceKind, Host, Rule};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MessageType, SigningAlgorithm};
use hsm_protocol::{Bytes, KeyId, Role};
use hsm_tests::emulator::{Attachment, is_left_out};
use hsm_tests::enclave::Enclave;
use hsm_tests::testbed::{Hosts, Line, TAG, Testbed};
use hsm_tests::workload::Workload;
use hsm_tests::{environment, on_every_board};
use toml::Value;

/// What was measured, by the command's name.
type Measured = BTreeMap<String, MemoryPeaks>;

/// Measures what is done to a device, under a name.
type Runner<'r> = &'r mut dyn FnMut(&str, &Device, &dyn Fn(&Device));

on_every_board! { attached: every_command_stays_within_its_budget }

fn every_command_stays_within_its_budget(board: Attachment) {
    if is_left_out(board.board()) {
        return;
    }
    let (measured, board) = (measure(board), board.board());
    let path = environment::root().join("hsm-firmware/commands.toml");
    let read = || -> toml::Table {
        let text = fs::read_to_string(&path).expect("the table is there");
        text.parse().expect("the table is TOML")
    };
    if std::env::var_os("UPDATE_BUDGET").is_some() {
        // The tests of other boards write to the same file.
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().expect("no test panicked with it");
        let mut budgets = read();
        budgets.insert(board.to_owned(), with_spare(&measured));
        fs::write(&path, text_of(&budgets)).expect("the table is writable");
    }
    let problems = compare(board, &measured, &read());
    assert!(problems.is_empty(), "not as in {}:\n{}", path.display(), problems.join("\n"));
}

/// Runs every command on a board.
fn measure(board: Attachment) -> Measured {
    let testbed = Testbed::new(Line::Emulated(board));
    let hosts = testbed.provision();
    let enclave = Enclave::new(2048);
    let device = testbed.device_as(&hosts.user);
    hosts.change(&device, &[Change::SetRoots(Bytes(&enclave.root()))]);
    let peaks = || -> MemoryPeaks {
        let reply = device.call_blocking(&MemoryUse, TAG).expect("an enrolled host may");
        reply.response().expect("decodes")
    };
    let mut measured = BTreeMap::new();
    Workload::new(&device, &hosts, &enclave).visit(&device.info().specs, &mut |name, run| {
        peaks();
        run();
        measured.insert(name.to_owned(), peaks());
    });
    provisioning(board, &mut measured);
    assert!(measured.len() > 20, "{} commands", measured.len());
    assert!(measured.values().all(|peaks| peaks.stack > 0), "the board measures its stack");
    measured
}

/// Runs what changes a domain, and what operators approve or hold. What leaves no device to ask, or nobody
/// who may ask before it, is not measured: `FoundDomain`, `JoinDomain`, `RestoreDomain`, `DrillRecovery`,
/// `CloseSession`, `Reset` and a change that zeroises.
fn provisioning(board: Attachment, measured: &mut Measured) {
    let (first, second) =
        (Testbed::new(Line::Emulated(board)), Testbed::new(Line::Emulated(board)));
    let hosts = first.provision();
    let member = first.device_as(&hosts.user);
    let joiner = *second.device().identity();
    let mut run = |name: &str, device: &Device, run: &dyn Fn(&Device)| {
        let peaks = || -> MemoryPeaks {
            let reply = device.call_blocking(&MemoryUse, TAG).expect("an enrolled host may");
            reply.response().expect("decodes")
        };
        peaks();
        run(device);
        measured.insert(name.to_owned(), peaks());
    };
    fn call<C: Command>(device: &Device, command: &C) -> Reply<C> {
        device.call_blocking(command, TAG).expect("a host may")
    }
    run("DomainInfo", &member, &|device| drop(call(device, &DomainInfo)));
    // As much at once as a proposal holds.
    let add = |_| Change::AddHost(Host { key: HostKey::generate().public(), role: Role::Auditor });
    let mut changes: Vec<_> = (0..13).map(add).collect();
    let roots: [[u8; 32]; 8] = [1, 2, 3, 4, 5, 6, 7, 8].map(|root| [root; 32]);
    changes.push(Change::SetRoots(Bytes(roots.as_flattened())));
    let (identity, kind) = (joiner, DeviceKind::Emulated);
    changes.push(Change::AddMember { identity, kind, certificate: None });
    changes.push(Change::RotateKey { maker: member.id() });
    approval(&member, &hosts, &mut run);
    let share = ShareKey::generate();
    let state = member.domain_state().expect("a host may ask");
    let holder = share.holder(&state.domain, hosts.operator.id(), |message| {
        hosts.operator.sign(message).map(|vote| vote.signature)
    });
    let holder = holder.expect("signed");
    hosts.change(&member, &[Change::SetRecovery { threshold: 1, holders: Bytes(&holder) }]);
    run("MakeRecovery", &member, &|device| drop(call(device, &MakeRecovery)));
    let state = member.domain_state().expect("a host may ask");
    let ballot = hosts.ballot(&state, &changes);
    run("ChangeDomain", &member, &|device| {
        drop(call(device, &ChangeDomain { ballot: Bytes(&ballot) }));
    });
    run("DescribeDomain", &member, &|device| drop(call(device, &DescribeDomain)));
    run("AttestationRoots", &member, &|device| drop(call(device, &AttestationRoots)));
    let export = ExportDomain { member: joiner.device_id() };
    run("ExportDomain", &member, &|device| drop(call(device, &export)));
    let own = member.export_domain(member.id()).expect("a member");
    run("ReceiveKeys", &member, &|device| {
        drop(call(device, &ReceiveKeys { token: Bytes(&own) }));
    });
}

/// Has a use of a key approved.
fn approval(device: &Device, hosts: &Hosts, run: Runner<'_>) {
    let (id, rule) = (KeyId::single_region([0x51; 16]), Rule { total: 1, officers: 0 });
    let (spec, usage) = (KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY);
    let generate = GenerateGuardedKey { request: GenerateKey { id, spec, usage }, rule };
    let made = device.call_blocking(&generate, TAG).expect("a crypto user may");
    let key = KeyRef { id, token: made.response().expect("a new key").token };
    let (algorithm, message_type) = (SigningAlgorithm::ECDSA_SHA_256, MessageType::RAW);
    let sign = Sign { key, algorithm, message_type, message: Bytes(&[0x61; 32]) };
    let pending = RefCell::new(None);
    run("RequestApproval", device, &|device| {
        let asked = device.request_approval(key, &sign).expect("the key is guarded");
        pending.replace(Some(asked));
    });
    let pending = pending.into_inner().expect("was asked for");
    let votes = [pending.sign(&hosts.operator).expect("signed")];
    run("Approve", device, &|device| device.approve(&pending, &votes).expect("approved"));
    run("Sign P-256, approved", device, &|device| {
        device.call_blocking(&sign, TAG).expect("approved");
    });
    let permit = PermitDeletion { key };
    let pending = device.request_approval(key, &permit).expect("the key is guarded");
    let votes = [pending.sign(&hosts.operator).expect("signed")];
    device.approve(&pending, &votes).expect("approved");
    run("PermitDeletion", device, &|device| {
        device.call_blocking(&permit, TAG).expect("approved");
    });
}

/// Where a board's commands and its budgets differ.
fn compare(board: &str, measured: &Measured, budgets: &toml::Table) -> Vec<String> {
    let empty = toml::Table::new();
    let budgets = budgets.get(board).and_then(toml::Value::as_table).unwrap_or(&empty);
    let mut problems = Vec::new();
    for (name, MemoryPeaks { stack, heap }) in measured {
        for (what, used) in [("stack", *stack), ("heap", *heap)] {
            let budget = budgets.get(name).and_then(|row| row.get(what)?.as_integer());
            match budget {
                None => problems.push(format!("{board}: {name}: no budget of {what}")),
                Some(budget) if i64::from(used) > budget => problems
                    .push(format!("{board}: {name}: {used} bytes of {what}, budget {budget}")),
                Some(_) => {}
            }
        }
    }
    let stale = budgets.keys().filter(|name| !measured.contains_key(*name));
    problems.extend(stale.map(|name| format!("{board}: {name}: budget of a command not there")));
    problems
}

/// Budgets of a board: what was measured and a sixteenth, in whole 256 bytes.
fn with_spare(measured: &Measured) -> Value {
    let spare = |bytes: u32| Value::from((bytes + bytes / 16).next_multiple_of(256));
    let row = |peaks: &MemoryPeaks| {
        let row = [("stack", peaks.stack), ("heap", peaks.heap)];
        Value::Table(row.map(|(what, bytes)| (what.to_owned(), spare(bytes))).into_iter().collect())
    };
    Value::Table(measured.iter().map(|(name, peaks)| (name.clone(), row(peaks))).collect())
}

/// The table's text.
fn text_of(budgets: &toml::Table) -> String {
    let mut text = String::from(
        "# Most stack and heap that each command may use on an emulated board, in bytes. Measured by\n\
         # `cargo xtask test --suite memory`, which fails above these numbers.\n",
    );
    for (board, rows) in budgets {
        writeln!(text, "\n[{board}]").expect("a string takes all");
        for (name, row) in rows.as_table().expect("rows") {
            let (stack, heap) = (&row["stack"], &row["heap"]);
            writeln!(text, "\"{name}\" = {{ stack = {stack}, heap = {heap} }}")
                .expect("a string takes all");
        }
    }
    text
}
