//! What somebody can do to a log who can write its directory: every hash of the log itself is made anew.

use std::fs;
use std::path::{Path, PathBuf};

use hsm_protocol::audit::{Checkpoint, Head, LogPosition, Maker, SignedCheckpoint};
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::identity::{PublicKey, Signature};
use hsm_protocol::{DeviceId, HostId};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `"hash":"<64 digits>"}` and what is before it.
const SUFFIX: usize = 9 + 64 + 2;

/// A line without its place: what is between `previous` and `hash`.
#[derive(Clone, Debug)]
pub(crate) struct Line(String);

impl Line {
    fn parse(line: &str) -> Self {
        let start = line.find("\"previous\":\"").expect("a line") + 12 + 64 + 1;
        Self(line[start..line.len() - SUFFIX].to_owned())
    }

    /// A line of the forger's own.
    pub(crate) fn new(kind: &str, record: &Value) -> Self {
        Self(format!(",\"kind\":\"{kind}\",\"record\":{record}"))
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        self.0.contains(&format!("\"kind\":\"{kind}\""))
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        assert!(self.has(from), "{from} is not in {}", self.0);
        self.0 = self.0.replacen(from, to, 1);
    }

    /// The device entries.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let line: Value = serde_json::from_str(&format!("{{\"x\":0{}}}", self.0)).expect("JSON");
        line["device"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn record(&self) -> Value {
        let line: Value = serde_json::from_str(&format!("{{\"x\":0{}}}", self.0)).expect("JSON");
        line["record"].clone()
    }
}

/// Gets a line and the position before it; may give another line.
pub(crate) type Forge<'f> = &'f mut dyn FnMut(&Line, (u64, [u8; 32])) -> Option<Line>;

/// A copy of a log that can be rewritten.
#[derive(Debug)]
pub(crate) struct Copy {
    dir: tempfile::TempDir,
    file: PathBuf,
    pub(crate) lines: Vec<Line>,
}

impl Copy {
    pub(crate) fn of(log: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut files = Vec::new();
        for entry in fs::read_dir(log).expect("the log") {
            let entry = entry.expect("an entry");
            let to = dir.path().join(entry.file_name());
            fs::copy(entry.path(), &to).expect("a copy");
            files.extend(Some(to).filter(|to| to.extension().is_some_and(|name| name == "jsonl")));
        }
        assert_eq!(files.len(), 1, "unless the day changed just now");
        let file = files.remove(0);
        let text = fs::read_to_string(&file).expect("text");
        let lines = text.lines().map(Line::parse).collect();
        Self { dir, file, lines }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where a record of this kind, or with this text, is last.
    pub(crate) fn last(&self, is: impl Fn(&Line) -> bool) -> usize {
        self.lines.iter().rposition(is).expect("there is one")
    }

    /// Writes the lines with places and hashes that fit, and `HEAD` as the daemon would.
    pub(crate) fn write(&self) -> Vec<(u64, String)> {
        self.write_with(&mut |_, _| None)
    }

    /// The same; `sign` may replace a line once the position before it is known.
    pub(crate) fn write_with(&self, sign: Forge<'_>) -> Vec<(u64, String)> {
        let (mut text, mut tip, mut positions) = (String::new(), (0, [0; 32]), Vec::new());
        for line in &self.lines {
            let Line(rest) = sign(line, tip).unwrap_or_else(|| line.clone());
            let sequence = tip.0 + 1;
            let body = format!("{{\"sequence\":{sequence},\"previous\":\"{}\"{rest}", hex(&tip.1));
            let digest = Sha256::new().chain_update("strongroom-audit-log-v1").chain_update(&body);
            tip = (sequence, digest.finalize().into());
            text.push_str(&format!("{body},\"hash\":\"{}\"}}\n", hex(&tip.1)));
            positions.push((sequence, hex(&tip.1)));
        }
        fs::write(&self.file, text).expect("written");
        let head = format!("{:020} {}\n", tip.0, hex(&tip.1));
        fs::write(self.dir().join("HEAD"), head).expect("written");
        positions
    }

    pub(crate) fn remove_head(&self) {
        fs::remove_file(self.dir().join("HEAD")).expect("removed");
    }
}

/// A device that somebody made themselves.
pub(crate) struct SelfMade {
    key: SigningKey,
    made: Option<Checkpoint>,
}

impl SelfMade {
    pub(crate) fn new() -> Self {
        Self { key: SigningKey::from_slice(&[0x5e; 32]).expect("a key"), made: None }
    }

    fn public(&self) -> PublicKey {
        PublicKey::from_point(&(*self.key.verifying_key()).into())
    }

    /// Its own checkpoint in the place of a device's.
    pub(crate) fn sign(&mut self, record: &Value, (sequence, hash): (u64, [u8; 32])) -> Line {
        let signing = self.public();
        let device = signing.device_id();
        let checkpoint = Checkpoint {
            device,
            host: HostId(bytes(&record["host"])),
            number: self.made.map_or(1, |made| made.number + 1),
            previous: self.made.map_or([0; 32], |made| made.hash()),
            epoch: 1,
            entries: 0,
            head: Head::genesis(&device, 1),
            closing: record["closing"] == true,
            log: LogPosition { sequence, hash },
            maker: Some(Maker { kind: DeviceKind::Hardware, measurement: None }),
        };
        self.made = Some(checkpoint);
        let digest = Sha256::digest(checkpoint.to_bytes());
        let signature: p256::ecdsa::Signature = self.key.sign_prehash(&digest).expect("signed");
        let signature = Signature::from_bytes(&signature.to_bytes().into());
        let signed = SignedCheckpoint { checkpoint, signature };
        signed.verify(&signing).expect("it is a signature");
        Line::new("checkpoint", &Self::record(&signed, &signing))
    }

    fn record(signed: &SignedCheckpoint, signing: &PublicKey) -> Value {
        let Checkpoint { device: DeviceId(device), host: HostId(host), .. } = signed.checkpoint;
        json!({
            "position": {
                "sequence": signed.checkpoint.log.sequence,
                "hash": hex(&signed.checkpoint.log.hash),
            },
            "device": hex(&device),
            "epoch": signed.checkpoint.epoch,
            "entries": signed.checkpoint.entries,
            "head": hex(&signed.checkpoint.head.0),
            "signingKey": hex(&signing.to_bytes()),
            "signature": hex(&signed.signature.to_bytes()),
            "number": signed.checkpoint.number,
            "previous": hex(&signed.checkpoint.previous),
            "host": hex(&host),
            "closing": signed.checkpoint.closing,
            "time": "2026-11-28T12:00:00Z",
            "kind": "hardware",
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(text: &Value) -> [u8; N] {
    let text = text.as_str().expect("text");
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
}
