//! What the benchmark says a command costs is what it costs, however many calls are measured.

use host_driver::device::{Device, Options};
use host_driver::emulator::{Attachment, Emulator, EmulatorConfig, Machine};
use host_driver::transport::Connector;
use hsm_protocol::AuditTag;
use hsm_protocol::command::system::Info;
use hsm_tests::environment;
use hsm_tests::instructions::measure;
use hsm_tests::patience::PATIENCE;

/// Questions for the busy time that count as one.
const QUESTIONS: u32 = 20;
/// Single calls of which the mean is taken, as each of its requests is off by part of a microsecond.
const TIMES: u32 = 200;

#[test]
fn one_call_costs_what_each_of_many_does() {
    for machine in Machine::all().expect("descriptions") {
        let directory = tempfile::tempdir().expect("a directory");
        let board = machine.board.clone();
        let emulator = Emulator::start(&EmulatorConfig {
            machine,
            firmware: environment::firmware_of(&board),
            directory: directory.path().join("device"),
            link: None,
            attachment: Attachment::Socket,
            // One instruction a nanosecond of the time that the device counts.
            arguments: ["-icount", "shift=0"].map(str::to_owned).into(),
        })
        .expect("the emulator starts");
        let connect = || emulator.connect();
        let options = Options { patience: PATIENCE, deadline: PATIENCE };
        let device = Device::open(&connect, None, options).expect("it answers");
        let ask = || device.status().expect("it answers").busy_us;
        // One question costs too little to be missed: many count as one.
        let busy = || (0..QUESTIONS).fold(0, |_, _| ask());
        let run = || drop(device.call_blocking(&Info, AuditTag::default()).expect("it answers"));
        run();
        let question = {
            let first = busy();
            busy() - first
        };
        let of = |calls: u32, times: u32| {
            let one = || measure(busy, run, |done| done < calls).busy_us;
            (0..times).map(|_| one()).sum::<f64>() / f64::from(times)
        };
        let (one, many) = (of(1, TIMES), of(40, 1));
        println!("{board}: {one} us alone, {many} us of many; a question takes {question} us");
        // It counts whole microseconds, at the beginning and at the end of each request.
        assert!((one - many).abs() <= 2.0 + many / 50.0, "{board}: {one} alone, {many} of many");
        assert!(question > 100, "{board}: with {question} us this test could not fail");
    }
}
