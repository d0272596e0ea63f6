//! `kmsctl audit verify`: checks a log against what devices have vouched for.

use std::io::{self, Write};
use std::path::PathBuf;

use super::super::hsm::Target;
use super::super::{Failure, Outcome, Output};
use kms_audit::{
    Expected, LineHash, Live, Position, Report, TrustAnchor, Verdict, VerifyOptions, verify_with,
};

#[derive(Debug, clap::Args)]
pub(in super::super) struct Arguments {
    /// The audit directory, for example `DIR/audit` of the daemon's data directory.
    dir: PathBuf,
    /// Trust anchor: the devices whose signatures count and a record that the log must have, as written by
    /// `kmsctl audit anchor`, or the domain, as written by `kmsctl domain show --trust-anchor`.
    #[arg(long, value_name = "FILE")]
    trust_anchor: Option<PathBuf>,
    /// A record that the log must have, as an earlier `verify` or `kmsctl status` printed it. Can be
    /// repeated.
    #[arg(long, value_name = "SEQUENCE:HASH", value_parser = position)]
    at_least: Vec<Position>,
    /// Ask a device for its last checkpoint: serial:PATH, tcp:HOST:PORT, unix:PATH; or soft-N, qemu-N in
    /// the data directory, while no kmsd runs there. Can be repeated.
    #[arg(long, value_name = "HSM", requires = "trust_anchor")]
    live: Vec<String>,
    /// Data directory with the host keys that the devices know and the changes of the domain since its
    /// trust anchor was written [default: the one that contains DIR].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Region of soft-N and qemu-N devices.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Firmware image for qemu-N devices.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_FIRMWARE")]
    firmware: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let mut anchor = arguments.trust_anchor.as_deref().map(TrustAnchor::read).transpose()?;
    if let (Some(anchor), Some(data)) = (&mut anchor, arguments.data()) {
        anchor.follow(&data)?;
    }
    let given = arguments.at_least.iter();
    let expected =
        given.map(|position| Expected { position: *position, source: "--at-least".to_owned() });
    let live = arguments.live.iter().map(|line| arguments.ask(line, anchor.as_ref()));
    let live = live.collect::<Result<_, _>>()?;
    let options = VerifyOptions { anchor, expected: expected.collect(), live };
    let report = verify_with(&arguments.dir, options)?;
    output.print(&report, print)?;
    Ok(match report.verdict {
        Verdict::Proven => Outcome::Good,
        Verdict::Broken => Outcome::Bad,
        Verdict::Unproven => Outcome::Unproven,
        Verdict::Unvouched => Outcome::Unvouched,
    })
}

impl Arguments {
    /// Where host keys and changes of the domain are.
    fn data(&self) -> Option<PathBuf> {
        let parent = || self.dir.canonicalize().ok()?.parent().map(PathBuf::from);
        self.data.clone().or_else(parent)
    }

    /// Asks a device, which must be one that the anchor names: any other may say anything.
    fn ask(&self, line: &str, anchor: Option<&TrustAnchor>) -> Result<Live, Failure> {
        let target = Target::of(line, self.data(), &self.region, self.firmware.clone());
        let (identity, last) = target.last_checkpoint()?;
        if !anchor.is_some_and(|anchor| anchor.names(&identity)) {
            return Err(Failure(format!(
                "{line} leads to device {}, which the trust anchor does not name",
                identity.device_id()
            )));
        }
        let checkpoint = last.map(|last| last.checkpoint).ok_or_else(|| {
            Failure(format!("{line} has vouched for no log of this host; is it the right --data?"))
        })?;
        Ok(Live { checkpoint })
    }
}

fn position(text: &str) -> Result<Position, String> {
    let read = || {
        let (sequence, hash) = text.split_once(':')?;
        Some(Position { sequence: sequence.parse().ok()?, hash: LineHash::from_hex(hash)? })
    };
    read().ok_or_else(|| "must be SEQUENCE:HASH, as verify prints it after `last`".to_owned())
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let (records, files) = (report.records, report.files);
    match report.verdict {
        Verdict::Broken => {}
        Verdict::Proven => writeln!(out, "proven to its end: {records} records in {files} files")?,
        Verdict::Unproven if report.unproven == 0 => {
            writeln!(
                out,
                "intact: {records} records in {files} files; that it ends here is not proven"
            )?;
        }
        Verdict::Unproven => {
            let last = report.unproven;
            writeln!(
                out,
                "intact: {records} records in {files} files; the last {last} are not proven yet"
            )?;
        }
        Verdict::Unvouched => {
            writeln!(out, "NOT PROVEN: {records} records in {files} files fit together")?;
            writeln!(
                out,
                "  but nobody vouches for the devices that signed them: name those that"
            )?;
            writeln!(out, "  you trust with --trust-anchor FILE (kmsctl audit anchor writes it)")?;
        }
    }
    if let Some(fault) = &report.fault {
        writeln!(out, "NOT INTACT: {}:{}", fault.file.display(), fault.line)?;
        if let Some(event) = &fault.event_id {
            writeln!(out, "  event   {event}")?;
        }
        writeln!(out, "  reason  {}", fault.reason)?;
        writeln!(out, "  {records} records were read up to there.")?;
    }
    if let Some(proof) = &report.proof {
        let time = proof.time.as_deref().unwrap_or("an unknown time");
        writeln!(out, "  proven  up to record {}, of {time}", proof.sequence)?;
        writeln!(out, "  by      device {}, checkpoint {}", proof.device, proof.checkpoint)?;
        let measurement = proof.measurement.as_deref();
        match (proof.kind, measurement) {
            (None, _) => {}
            (Some("hardware"), None) => writeln!(out, "          hardware")?,
            (Some("hardware"), Some(image)) => {
                writeln!(out, "          hardware, firmware {image}")?;
            }
            (Some(kind), _) => {
                writeln!(
                    out,
                    "          {kind}: whoever owned its machine could sign in its name"
                )?;
            }
        }
    }
    writeln!(out, "  last    {}:{:?}", report.tip.sequence, report.tip.hash)?;
    if report.removed > 0 {
        let last = report.removed;
        writeln!(out, "  removed records 1 to {last}, as configured; the log says so")?;
    }
    for signer in report.signers.iter().filter(|signer| !signer.trusted) {
        let (device, last) = (&signer.device, signer.log.sequence);
        writeln!(
            out,
            "  signed  up to record {last} by device {device}, which nobody vouches for"
        )?;
    }
    for chain in &report.devices {
        write!(out, "  device  {} boot {}: {} entries", chain.device, chain.epoch, chain.entries)?;
        match chain.lost {
            0 => writeln!(out)?,
            lost => writeln!(out, ", {lost} lost with the device, as the host says")?,
        }
    }
    report.notes.iter().try_for_each(|note| writeln!(out, "  note    {note}"))
}
