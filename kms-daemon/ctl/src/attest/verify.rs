//! `kmsctl attest verify`: what a statement proves, offline.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use host_driver::attest::{Anchor, AttestError, MAX_STATEMENT, Verified, anchor_from_pem, verify};
use hsm_protocol::attestation::{Claims, KeyClaims, Signed};
use hsm_protocol::domain::{DeviceKind, Kind};
use hsm_protocol::identity::PublicKey;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::operator::read_public;
use super::super::{Failure, Outcome, Output};
use super::{Nonce, nonce};
use kms_base::hex;
use kms_ceremony::{KeyPurpose, rule_in_words};

/// Longest file with a root, in bytes.
const MAX_ROOT: u64 = 16 * 1024;

#[derive(Debug, clap::Args)]
pub(in super::super) struct Arguments {
    /// The statement.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Root of the device CA that you trust, from its owner: its certificate in PEM (kmsctl device-ca root),
    /// or its .pub file. Without it nobody vouches for the device.
    #[arg(long, value_name = "ROOT")]
    device_ca: Option<PathBuf>,
    /// The nonce of the request for the statement, in hexadecimal. Without it, the statement may be an old
    /// one.
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Option<Nonce>,
    /// A property that has to be proven as well; otherwise the exit code is 1. Can be repeated.
    #[arg(long, value_enum, value_name = "WHAT")]
    require: Vec<Required>,
}

/// What somebody may insist on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Required {
    /// The device is hardware.
    Hardware,
    /// The domain is a production domain.
    Production,
    /// The key was never outside such a domain's hardware.
    NeverOutside,
    /// Operators approve each use of the key.
    Approval,
}

impl Required {
    fn is_met(self, claims: &Claims<'_>) -> bool {
        let key = claims.key.as_ref();
        match self {
            Self::Hardware => claims.kind == DeviceKind::Hardware,
            Self::Production => claims.domain.is_some_and(|domain| domain.kind == Kind::Production),
            Self::NeverOutside => key.is_some_and(KeyClaims::was_never_outside),
            Self::Approval => key.is_some_and(|key| key.approval.is_some()),
        }
    }

    const fn missing(self) -> &'static str {
        match self {
            Self::Hardware => "the device is not hardware",
            Self::Production => "the device is not in a production domain",
            Self::NeverOutside => "the key may be elsewhere, or the statement is not about a key",
            Self::Approval => "uses of the key need no approval",
        }
    }
}

/// How far a statement is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// By a device that the device CA vouches for.
    Proven,
    /// It is not what it says, or not what was insisted on.
    Refused,
    /// Nobody vouches for whoever has made it.
    Unvouched,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether the nonce was compared.
    fresh: bool,
    #[serde(skip_serializing_if = "Value::is_null")]
    claims: Value,
    #[serde(skip)]
    lines: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let path = &arguments.file;
    let failed = |error| Failure(format!("cannot read {}: {error}", path.display()));
    let length = fs::metadata(path).map_err(failed)?.len();
    let statement = match length <= MAX_STATEMENT as u64 {
        true => fs::read(path).map_err(failed)?,
        false => Vec::new(),
    };
    let root = arguments.device_ca.as_deref().map(device_ca).transpose()?;
    let nonce = arguments.nonce.as_ref().map(|Nonce(nonce)| nonce.as_slice());
    let report = judge(&statement, root, nonce, &arguments.require);
    output.print(&report, print)?;
    Ok(match report.verdict {
        Verdict::Proven => Outcome::Good,
        Verdict::Refused => Outcome::Bad,
        Verdict::Unvouched => Outcome::Unvouched,
    })
}

/// The key of a device CA, in either of the forms that its owner may give it away in.
pub(super) fn device_ca(path: &Path) -> Result<PublicKey, Failure> {
    let failed = |error: io::Error| Failure(format!("cannot read {}: {error}", path.display()));
    if fs::metadata(path).map_err(failed)?.len() > MAX_ROOT {
        return Err(Failure(format!("{} is too long for a root", path.display())));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    if !text.contains("-----BEGIN") {
        return Ok(read_public(path, KeyPurpose::DeviceCa)?.key);
    }
    match anchor_from_pem(&text) {
        Ok(Anchor::DeviceCa(key)) => Ok(key),
        _ => Err(Failure(format!(
            "{} is not the certificate of a Strongroom device CA; its owner writes it with: kmsctl \
             device-ca root",
            path.display()
        ))),
    }
}

/// What a statement is worth.
fn judge(
    statement: &[u8],
    root: Option<PublicKey>,
    nonce: Option<&[u8]>,
    required: &[Required],
) -> Report {
    let report = |verdict, reason: Option<String>| Report {
        verdict,
        reason,
        fresh: false,
        claims: Value::Null,
        lines: Vec::new(),
    };
    let refused = |error: AttestError| report(Verdict::Refused, Some(error.to_string()));
    let Some(root) = root else {
        return match Signed::parse(statement).and_then(|signed| Claims::decode(signed.claims)) {
            Ok(claims) => {
                let reason = "nobody vouches for the device, so anybody could have written this; \
                              name the root of the device CA that you trust with --device-ca";
                let report = report(Verdict::Unvouched, Some(reason.to_owned()));
                Report { claims: as_json(&claims, None), lines: in_words(&claims), ..report }
            }
            Err(_) => refused(AttestError::Malformed),
        };
    };
    let Verified { claims, certified } = match verify(statement, &Anchor::DeviceCa(root), nonce) {
        Ok(verified) => verified,
        Err(error) => return refused(error),
    };
    let missing: Vec<_> = required.iter().filter(|required| !required.is_met(&claims)).collect();
    let (verdict, reason) = match missing.as_slice() {
        [] => (Verdict::Proven, None),
        some => {
            let reasons: Vec<_> = some.iter().map(|required| required.missing()).collect();
            (Verdict::Refused, Some(reasons.join("; ")))
        }
    };
    Report {
        verdict,
        reason,
        fresh: nonce.is_some(),
        claims: as_json(&claims, certified),
        lines: in_words(&claims),
    }
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    match report.verdict {
        Verdict::Proven => writeln!(out, "PROVEN by a device that the device CA vouches for")?,
        Verdict::Refused => writeln!(out, "NOT PROVEN")?,
        Verdict::Unvouched => writeln!(out, "NOT PROVEN: NOBODY VOUCHES for what follows")?,
    }
    if let Some(reason) = &report.reason {
        writeln!(out, "  reason       {reason}")?;
    }
    if report.verdict == Verdict::Proven && !report.fresh {
        writeln!(
            out,
            "  age          unknown: it may be an old statement; compare the nonce with --nonce"
        )?;
    }
    report.lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
}

/// What a statement says, line by line.
fn in_words(claims: &Claims<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, text: String| lines.push(format!("{name:<13}{text}"));
    line("nonce", hex::encode(claims.nonce));
    if let Some(key) = &claims.key {
        let name = |name: Option<&'static str>| name.unwrap_or("unknown");
        let (spec, usage) = (name(key.spec.aws_name()), name(key.usage.aws_name()));
        line("key", format!("{:?}", key.id));
        line("spec", format!("{spec}, for {usage}"));
        line("origin", name(key.origin.aws_name()).to_owned());
        line("material", key.material.to_string());
        if !key.public.is_empty() {
            line("public half", hex::encode(key.public));
        }
        let outside = match key.was_never_outside() {
            true => {
                "never: the private half is, and was, in hardware of this production domain only"
            }
            false => "IT MAY BE OUTSIDE, as its history says",
        };
        line("outside", outside.to_owned());
        let multi =
            key.id.multi_region.then_some("is for several Regions, each with a domain of its own");
        for fact in key.history.names().map(fact_in_words).chain(multi) {
            line("  history", fact.to_owned());
        }
        let approval = match key.approval {
            Some(rule) => format!("each use is approved by {}", rule_in_words(rule)),
            None => "its uses need no approval".to_owned(),
        };
        line("approval", approval);
        line("domain key", key.domain_key.to_string());
    }
    match &claims.domain {
        Some(domain) => {
            let kind = match domain.kind {
                Kind::Production => "production",
                Kind::Development => "DEVELOPMENT: ruled by a key beside the data",
            };
            line("domain", format!("{}, {kind}", domain.id));
            line("", format!("version {}, state {}", domain.version, hex::encode(&domain.state)));
            if domain.soft_members > 0 {
                line("", format!("{} of its devices are NOT HARDWARE", domain.soft_members));
            }
        }
        None => line("domain", "none: a fresh device".to_owned()),
    }
    let kind = match claims.kind {
        DeviceKind::Hardware => "hardware",
        DeviceKind::Emulated => "EMULATED: whoever owns its host can read its keys",
        DeviceKind::InProcess => "IN PROCESS of a daemon: whoever owns the host can read its keys",
    };
    line("device", format!("{}, {kind}", claims.device));
    line("board", format!("{}, boot {}", claims.board, claims.boot));
    line("firmware", claims.firmware.to_owned());
    let measurement = match &claims.measurement {
        Some(measurement) => hex::encode(&measurement.0),
        None => "none: the device runs in an operating system".to_owned(),
    };
    line("measurement", measurement);
    lines
}

/// A name of `History::names` for people.
fn fact_in_words(name: &'static str) -> &'static str {
    match name {
        "imported" => "imported: whoever made it may have it",
        "unknown" => "made by a firmware that kept no history",
        "soft-member" => "a device that was not hardware could open it",
        "development" => "its domain was ruled by a key beside the data",
        "other-domain" => "it came from another domain, and exists there as well",
        "rule-bound-later" => "the approval rule came after the key: a token without it may exist",
        "recovery-shares" => "operators hold recovery shares of a domain key that it was under",
        other => other,
    }
}

fn as_json(claims: &Claims<'_>, certified: Option<DeviceKind>) -> Value {
    let key = claims.key.as_ref().map(|key| {
        json!({
            "id": hex::encode(&key.id.bytes),
            "multiRegion": key.id.multi_region,
            "material": key.material.to_string(),
            "spec": key.spec.aws_name(),
            "usage": key.usage.aws_name(),
            "origin": key.origin.aws_name(),
            "public": (!key.public.is_empty()).then(|| hex::encode(key.public)),
            "neverOutside": key.was_never_outside(),
            "history": key.history.names().collect::<Vec<_>>(),
            "approval": key.approval.map(|rule| {
                json!({ "total": rule.total, "officers": rule.officers })
            }),
            "domainKey": key.domain_key,
        })
    });
    let domain = claims.domain.map(|domain| {
        json!({
            "id": domain.id.to_string(),
            "kind": match domain.kind {
                Kind::Production => "production",
                Kind::Development => "development",
            },
            "version": domain.version,
            "state": hex::encode(&domain.state),
            "softMembers": domain.soft_members,
        })
    });
    json!({
        "nonce": hex::encode(claims.nonce),
        "key": key,
        "domain": domain,
        "device": {
            "id": claims.device.to_string(),
            "kind": claims.kind.name(),
            "certifiedKind": certified.map(DeviceKind::name),
            "board": claims.board,
            "boot": claims.boot,
            "firmware": claims.firmware,
            "measurement": claims.measurement.map(|measurement| hex::encode(&measurement.0)),
        },
    })
}

#[cfg(test)]
mod tests {
    use host_driver::OperatorKey;

    use super::*;

    /// The statement of docs/attestation.md, byte by byte.
    fn vectors() -> Vec<Vec<u8>> {
        let page = include_str!("../../../../docs/attestation.md");
        let blocks = page.split("```").filter(|block| block.trim_start().starts_with(['3', 'd']));
        let bytes = |block: &str| {
            let digits: String = block.split_whitespace().collect();
            let pairs = digits.as_bytes().as_chunks::<2>().0.iter();
            let byte = |pair: &[u8; 2]| hex::decode::<1>(std::str::from_utf8(pair).ok()?);
            pairs.map(byte).collect::<Option<Vec<_>>>().map(|bytes| bytes.concat())
        };
        blocks.filter_map(bytes).collect()
    }

    fn statement() -> Vec<u8> {
        vectors().pop().unwrap()
    }

    fn ca() -> PublicKey {
        OperatorKey::from_bytes(&[1; 32]).unwrap().public()
    }

    const NONCE: &[u8] = b"chosen by the verifier";

    #[test]
    fn what_is_proven_is_said_in_words() {
        let report = judge(
            &statement(),
            Some(ca()),
            Some(NONCE),
            &[Required::Hardware, Required::Production, Required::NeverOutside, Required::Approval],
        );
        assert_eq!((report.verdict, &report.reason), (Verdict::Proven, &None));
        let mut out = Vec::new();
        print(&mut out, &report).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "PROVEN by",
            "spec         ECC_NIST_P256, for SIGN_VERIFY",
            "origin       AWS_KMS",
            "outside      never",
            "each use is approved by 2 operators, 1 of them a security officer",
            "production",
            "version 3",
            "hardware",
            "firmware     0.1.0",
            "measurement  8354d20f",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("age"), "{text}");
        assert_eq!(report.claims["key"]["neverOutside"], true);
        assert_eq!(report.claims["device"]["certifiedKind"], "hardware");
    }

    #[test]
    fn what_is_not_proven_is_refused() {
        let good = statement();
        let verdict = |statement: &[u8], root, nonce| judge(statement, root, nonce, &[]).verdict;
        assert_eq!(verdict(&good, Some(ca()), None), Verdict::Proven);
        let other = OperatorKey::generate().public();
        assert_eq!(verdict(&good, Some(other), None), Verdict::Refused, "another CA");
        assert_eq!(verdict(&good, Some(ca()), Some(b"another nonce")), Verdict::Refused);
        assert_eq!(verdict(&good, None, Some(NONCE)), Verdict::Unvouched);
        assert_eq!(verdict(&[], None, None), Verdict::Refused);
        for place in 0..good.len() {
            let mut changed = good.clone();
            changed[place] ^= 1;
            assert_eq!(verdict(&changed, Some(ca()), Some(NONCE)), Verdict::Refused, "{place}");
        }
    }

    #[test]
    fn without_a_nonce_the_age_is_open_and_said_to_be() {
        let report = judge(&statement(), Some(ca()), None, &[]);
        let mut out = Vec::new();
        print(&mut out, &report).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("age          unknown"));
    }
}
