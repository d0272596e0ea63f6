//! The driver's pool over emulated devices that it supervises itself, on every line: power cuts
//! and a hang under load fail no call, and every audit entry is accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use host_driver::audit::{AuditSink, DeviceReceipt, Position};
use host_driver::device::Options;
use host_driver::emulator::{Attachment, Emulator, EmulatorConfig, Machine};
use host_driver::health::Service;
use host_driver::pool::{Member, Pool, PoolOptions};
use host_driver::provision::{Goal, Plan, provision};
use host_driver::transport::Connector;
use hsm_protocol::command::random::Random;
use hsm_protocol::{AuditTag, DeviceId, Role};
use hsm_tests::patience::{PATIENCE, until};
use hsm_tests::testbed::Hosts;
use hsm_tests::{environment, on_every_board};
use rustix::process::{Pid, Signal, kill_process};

const THREADS: u64 = 4;
/// Calls that must succeed before the next disturbance.
const ENOUGH: u64 = 30;

/// Counts the entries of each boot of each device that callers or the sink have got.
#[derive(Default)]
struct Account {
    entries: Mutex<BTreeMap<(DeviceId, u64), Vec<u64>>>,
    lost: Mutex<Vec<Range<u64>>>,
}

impl Account {
    fn enter(&self, receipt: &DeviceReceipt) {
        let mut entries = self.entries.lock().expect("no panic");
        entries.entry((receipt.device, receipt.epoch)).or_default().push(receipt.entry.index);
    }

    /// Whether every boot's entries are there, from the first to the last that is known.
    fn is_complete(&self) -> bool {
        let entries = self.entries.lock().expect("no panic");
        entries.values().all(|indexes| {
            let known: BTreeSet<_> = indexes.iter().collect();
            known.last().is_none_or(|last| **last + 1 == known.len() as u64)
        })
    }

    /// Waits until they are: the sink hears of the last ones in the background. Each is there once.
    fn check(&self) {
        until("every audit entry is accounted for", || self.is_complete());
        for ((device, epoch), indexes) in &mut *self.entries.lock().expect("no panic") {
            indexes.sort_unstable();
            let count = u64::try_from(indexes.len()).expect("a count");
            assert!(indexes.iter().copied().eq(0..count), "{device} {epoch}: {indexes:?}");
        }
        // Only what a power cut hid from everybody may be lost: the end of a boot's chain.
        let lost = self.lost.lock().expect("no panic");
        assert!(lost.iter().all(|indexes| indexes.end == u64::MAX), "{lost:?}");
    }
}

impl AuditSink for Account {
    fn position(&self, _: &DeviceId) -> Option<Position> {
        None
    }

    fn missed(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        receipts.iter().for_each(|receipt| self.enter(receipt));
        Ok(())
    }

    fn lost(&self, _: &DeviceId, _: u64, indexes: Range<u64>) -> Result<(), String> {
        self.lost.lock().map_err(|error| error.to_string())?.push(indexes);
        Ok(())
    }
}

struct Rig {
    emulators: Vec<Arc<Emulator>>,
    pool: Pool,
    account: Arc<Account>,
    _directory: tempfile::TempDir,
}

impl Rig {
    /// Two devices of one domain.
    fn start(board: &str, link: &str, attachment: Attachment) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let emulators: Vec<_> = ["first", "second"]
            .map(|name| {
                let machine = Machine::of_board(board).expect("a description");
                let config = EmulatorConfig {
                    machine: machine.expect("a board"),
                    firmware: environment::firmware_of(board),
                    directory: directory.path().join(name),
                    link: Some(link.to_owned()),
                    attachment,
                    arguments: Vec::new(),
                };
                Emulator::start(&config).expect("the emulator starts")
            })
            .into();
        let hosts = Hosts::generate();
        let options = Options { patience: PATIENCE, deadline: PATIENCE };
        let first: &dyn Connector = emulators[0].as_ref();
        for (emulator, goal) in emulators.iter().zip([Goal::Create("tests"), Goal::Join(&[first])])
        {
            let plan = Plan {
                operator: &hosts.operator,
                host: &hosts.user,
                hosts: &[(hosts.user.public(), Role::CryptoUser)],
                goal,
                roots: None,
                ledger: &hosts.ballots,
                options,
            };
            provision(emulator.as_ref(), &plan, &mut |_| {}).expect("provisioned");
        }
        let user = hosts.user;
        let member = |emulator: &Arc<Emulator>| Member {
            name: "qemu".to_owned(),
            connector: Arc::clone(emulator) as _,
            expected: None,
            held: None,
        };
        let account = Arc::new(Account::default());
        let options = PoolOptions {
            device: Options { patience: Duration::from_secs(2), deadline: PATIENCE },
            probe_interval: Duration::from_millis(500),
            ..PoolOptions::default()
        };
        let members = emulators.iter().map(member).collect();
        let sink = Arc::clone(&account) as Arc<dyn AuditSink>;
        let pool = Pool::start(members, user, sink, options).expect("threads");
        let rig = Self { emulators, pool, account, _directory: directory };
        rig.until(|services| services == [Service::InService; 2]);
        rig
    }

    fn until(&self, condition: impl Fn(&[Service]) -> bool) {
        until("the devices are as they should be", || {
            let health = self.pool.health();
            let services: Vec<_> = health.iter().map(|device| device.service).collect();
            condition(&services)
        });
    }

    fn signal(&self, index: usize, signal: Signal) {
        let pid = self.emulators[index].pid().expect("the emulator runs");
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("the emulator is signalled");
    }

    /// Calls on several threads while `disturb` runs, which gets their number so far; none may fail.
    fn under_load(&self, disturb: impl FnOnce(&AtomicU64)) -> u64 {
        let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let reply =
                            self.pool.call_blocking(&Random { length: 32 }, AuditTag([1; 16]));
                        let reply = reply.expect("no call fails");
                        self.account.enter(&reply.receipt.expect("a receipt"));
                        calls.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            disturb(&calls);
            stop.store(true, Ordering::SeqCst);
        });
        calls.into_inner()
    }
}

#[test]
fn console() {
    check("qemu_riscv32", "console", Attachment::Socket);
}

on_every_board! { named: uart_on_a_socket, uart_on_a_pty }

fn uart_on_a_socket(board: &str) {
    check(board, "uart", Attachment::Socket);
}

fn uart_on_a_pty(board: &str) {
    check(board, "uart", Attachment::Pty);
}

/// Waits until enough more calls have succeeded.
fn prove(calls: &AtomicU64) {
    let enough = calls.load(Ordering::SeqCst) + ENOUGH;
    until("calls succeed", || calls.load(Ordering::SeqCst) >= enough);
}

fn check(board: &str, link: &str, attachment: Attachment) {
    let rig = Rig::start(board, link, attachment);
    let calls = rig.under_load(|calls| {
        for index in [0, 1] {
            prove(calls);
            let connects = rig.pool.health()[index].connects;
            rig.emulators[index].cut_power();
            until("it is connected again", || rig.pool.health()[index].connects > connects);
        }
        prove(calls);
        rig.signal(0, Signal::STOP);
        rig.until(|services| services[0] != Service::InService);
        prove(calls); // of the other device
        rig.signal(0, Signal::CONT);
        rig.until(|services| services == [Service::InService; 2]);
        prove(calls);
    });
    rig.account.check();
    println!("{calls} calls");
}
