//! Requests to the IAM API of a running daemon, signed with an access key of an account.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use serde_json::Value;
use zeroize::Zeroizing;

use super::daemon::Daemon;
use super::{Failure, Output};
use crate::config::default_data;
use crate::sigv4::client::Signer;

/// How long the daemon may take: a device may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which daemon is asked, and with whose access key.
#[derive(Debug, clap::Args)]
pub(super) struct Account {
    #[command(flatten)]
    daemon: Daemon,
    /// File with the access key to sign with [default: DIR/credentials of --data, the root's].
    #[arg(long, global = true, value_name = "FILE", env = "AWS_SHARED_CREDENTIALS_FILE")]
    credentials: Option<PathBuf>,
    /// Profile of that file.
    #[arg(long, global = true, default_value = "default", env = "AWS_PROFILE")]
    profile: String,
    /// Data directory of the daemon [default: as for kmsd].
    #[arg(long, global = true, value_name = "DIR", env = "STRONGROOM_DATA")]
    data: Option<PathBuf>,
}

/// An API, as requests name it.
#[derive(Clone, Copy)]
pub(super) struct Api {
    service: &'static str,
    version: &'static str,
}

/// Identities.
pub(super) const IAM: Api = Api { service: "iam", version: "2010-05-08" };
/// Accounts.
pub(super) const STRONGROOM: Api = Api { service: "strongroom", version: "2026-11-26" };

impl Account {
    /// The data directory.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Failure> {
        Ok(self.data.clone().map_or_else(default_data, Ok)?)
    }

    /// Calls an operation; its result, null if it has none.
    pub(super) fn call(
        &self,
        api: Api,
        operation: &str,
        parameters: &[(&str, Option<&str>)],
    ) -> Result<Value, Failure> {
        let mut body = format!("Action={operation}&Version={}", api.version);
        for (name, value) in parameters {
            if let Some(value) = value {
                body.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        let (access_key, secret) = self.access_key()?;
        let signer = Signer {
            access_key: &access_key,
            secret: &secret,
            region: "us-east-1",
            service: api.service,
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(self.daemon.host()?)?);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        signer.sign(&mut headers, body.as_bytes(), SystemTime::now())?;
        let mut request = Request::post("/").body(Full::new(Bytes::from(body)))?;
        *request.headers_mut() = headers;

        let answer = self.daemon.ask(request, PATIENCE)?;
        let mut value: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| Failure("that is no kmsd: its answer is no JSON".into()))?;
        if answer.status.is_success() {
            return Ok(value[format!("{operation}Response")][format!("{operation}Result")].take());
        }
        let error = &value["ErrorResponse"]["Error"];
        let text = |member: &str| error[member].as_str().unwrap_or("unknown").to_owned();
        Err(Failure(format!("{operation}: {}: {}", text("Code"), text("Message"))))
    }

    /// All items of a listing.
    pub(super) fn list(
        &self,
        api: Api,
        operation: &str,
        parameters: &[(&str, Option<&str>)],
        member: &str,
    ) -> Result<Value, Failure> {
        let mut items = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = [parameters, &[("Marker", marker.as_deref())]].concat();
            let mut page = self.call(api, operation, &page)?;
            if let Value::Array(more) = page[member].take() {
                items.extend(more);
            }
            marker = page["Marker"].as_str().map(str::to_owned);
            if marker.is_none() {
                return Ok(Value::Array(items));
            }
        }
    }

    fn access_key(&self) -> Result<(String, Zeroizing<String>), Failure> {
        let path = match (&self.credentials, &self.data) {
            (Some(path), _) => path.clone(),
            (None, Some(data)) => data.join("credentials"),
            (None, None) => default_data()?.join("credentials"),
        };
        let text = fs::read_to_string(&path).map(Zeroizing::new).map_err(|error| {
            Failure(format!(
                "cannot read the credentials file {}: {error}; name one with --credentials FILE, \
                 or the daemon's directory with --data DIR",
                path.display()
            ))
        })?;
        profile(&text, &self.profile).ok_or_else(|| {
            let (path, profile) = (path.display(), &self.profile);
            Failure(format!("{path} has no access key in the profile {profile}"))
        })
    }
}

/// The access key of a profile in a shared-credentials file.
fn profile(text: &str, name: &str) -> Option<(String, Zeroizing<String>)> {
    let (mut here, mut id, mut secret) = (false, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            here = header.strip_suffix(']').map(str::trim) == Some(name);
        } else if let Some((member, value)) = line.split_once('=').filter(|_| here) {
            match member.trim() {
                "aws_access_key_id" => id = Some(value.trim().to_owned()),
                "aws_secret_access_key" => secret = Some(Zeroizing::new(value.trim().to_owned())),
                _ => {}
            }
        }
    }
    id.zip(secret)
}

/// The text of a file that a policy is in.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))
}

/// Prints a result: its members, each item of a list on its own.
pub(super) fn print(output: &mut Output<'_>, result: &Value) -> Result<(), Failure> {
    if result.is_null() {
        return Ok(());
    }
    output.print(result, |out, result| match result {
        Value::Array(items) => items.iter().try_for_each(|item| {
            members(out, item)?;
            if item.is_object() { writeln!(out) } else { Ok(()) }
        }),
        one => members(out, one),
    })
}

/// Prints an access key as a profile of a shared-credentials file.
pub(super) fn print_key(
    output: &mut Output<'_>,
    result: &Value,
    profile: &str,
) -> Result<(), Failure> {
    output.print(result, |out, result| {
        let text = |member: &str| result["AccessKey"][member].as_str().unwrap_or_default();
        writeln!(out, "[{profile}]")?;
        writeln!(out, "aws_access_key_id = {}", text("AccessKeyId"))?;
        writeln!(out, "aws_secret_access_key = {}", text("SecretAccessKey"))
    })
}

fn members(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    let Value::Object(all) = value else { return writeln!(out, "{}", shown(value)) };
    for (name, value) in all {
        match value {
            Value::Object(_) => members(out, value)?,
            value => writeln!(out, "{name:<26}{}", shown(value))?,
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), decoded)
}

/// A value in a form: what is no letter or digit, percent-encoded.
fn encoded(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}

/// A policy document as people read it, and any other text as it is.
fn decoded(text: &str) -> String {
    if !text.starts_with("%7B") {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles() {
        let text = "[default]\naws_access_key_id = A\n\n[ other ]\naws_secret_access_key=s/=\n\
                    aws_access_key_id=B\n";
        assert_eq!(profile(text, "default"), None);
        assert_eq!(profile(text, "other"), Some(("B".to_owned(), "s/=".to_owned().into())));
    }

    #[test]
    fn forms_and_documents() {
        assert_eq!(encoded("a b&é"), "a%20b%26%C3%A9");
        assert_eq!(decoded("%7B%22a%22%3A%20%22%C3%A9%22%7D"), "{\"a\": \"é\"}");
        assert_eq!(decoded("100%25"), "100%25");
    }
}
