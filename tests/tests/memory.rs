//! Stack and heap of every command on the emulated board, against `hsm-firmware/commands.toml`.
//!
//! `UPDATE_BUDGET=1 cargo xtask test --suite memory` writes the table anew, with a sixteenth to
//! spare; whoever commits it says why a command needs more.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use hsm_protocol::command::system::{MemoryPeaks, MemoryUse};
use hsm_tests::emulator::Attachment;
use hsm_tests::environment;
use hsm_tests::testbed::{Line, TAG, Testbed};
use hsm_tests::workload::Workload;

const BOARD: &str = "qemu_riscv32";

#[test]
fn every_command_stays_within_its_budget() {
    let testbed = Testbed::new(Line::Emulated(Attachment::Console));
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let peaks = || -> MemoryPeaks {
        let reply = device.call_blocking(&MemoryUse, TAG).expect("an enrolled host may");
        reply.response().expect("decodes")
    };
    let mut measured = BTreeMap::new();
    Workload::new(&device).visit(&device.info().specs, &mut |name, run| {
        peaks();
        run();
        measured.insert(name.to_owned(), peaks());
    });
    assert!(measured.len() > 20, "{} commands", measured.len());
    assert!(measured.values().all(|peaks| peaks.stack > 0), "the board measures its stack");

    let path = environment::root().join("hsm-firmware/commands.toml");
    if std::env::var_os("UPDATE_BUDGET").is_some() {
        fs::write(&path, table(&measured)).expect("the table is writable");
    }
    let text = fs::read_to_string(&path).expect("the table is there");
    let budgets: toml::Table = text.parse().expect("the table is TOML");
    let budgets = budgets[BOARD].as_table().expect("the board's part");
    let most = |name: &str, what: &str| -> u64 {
        let row = budgets.get(name).unwrap_or_else(|| panic!("no budget for {name}"));
        row[what].as_integer().and_then(|bytes| bytes.try_into().ok()).expect("bytes")
    };
    let mut over = Vec::new();
    for (name, MemoryPeaks { stack, heap }) in &measured {
        for (what, used) in [("stack", *stack), ("heap", *heap)] {
            let budget = most(name, what);
            if u64::from(used) > budget {
                over.push(format!("{name}: {used} bytes of {what}, budget {budget}"));
            }
        }
    }
    assert!(over.is_empty(), "over budget:\n{}", over.join("\n"));
    let stale: Vec<_> = budgets.keys().filter(|name| !measured.contains_key(*name)).collect();
    assert!(stale.is_empty(), "budgets of commands that are not there: {stale:?}");
}

/// The table's text: what was measured and a sixteenth, in whole 256 bytes.
fn table(measured: &BTreeMap<String, MemoryPeaks>) -> String {
    let spare = |bytes: u32| (bytes + bytes / 16).next_multiple_of(256);
    let mut text = String::from(
        "# Most stack and heap that each command may use on the emulated board, in bytes. Measured by\n\
         # `cargo xtask test --suite memory`, which fails above these numbers.\n",
    );
    writeln!(text, "\n[{BOARD}]").expect("a string takes all");
    for (name, MemoryPeaks { stack, heap }) in measured {
        let (stack, heap) = (spare(*stack), spare(*heap));
        writeln!(text, "\"{name}\" = {{ stack = {stack}, heap = {heap} }}")
            .expect("a string takes all");
    }
    text
}
