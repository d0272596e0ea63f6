//! Requests to the APIs of a running daemon, signed with an access key of an account.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::aws::{AccessKey, Service, key_of_file};
use super::daemon::{self, Answer, Daemon};
use super::{Failure, Output};
use kms_sigv4::TOKEN;
use kms_sigv4::client::Signer;

/// How long the daemon may take: a device may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which daemon is asked, and with whose access key.
#[derive(Debug, clap::Args)]
pub(super) struct Account {
    #[command(flatten)]
    daemon: daemon::Arguments,
    /// File with the access key to sign with [default: DIR/credentials of --data, the root's; else
    /// as for the AWS CLI, and if it has none, DIR/credentials of the user's data directory].
    #[arg(long, global = true, value_name = "FILE")]
    credentials: Option<PathBuf>,
}

/// An API, as requests name it.
#[derive(Clone, Copy)]
pub(super) struct Api {
    service: &'static str,
    version: &'static str,
    /// Whose endpoint it is asked at.
    at: Service,
}

/// Identities.
pub(super) const IAM: Api = Api { service: "iam", version: "2010-05-08", at: Service::Iam };
/// Accounts.
pub(super) const STRONGROOM: Api =
    Api { service: "strongroom", version: "2026-11-26", at: Service::Kms };

impl Account {
    /// The data directory.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Failure> {
        self.daemon.data_dir()
    }

    /// The data directory, if a flag or the environment names one.
    pub(super) fn named_data_dir(&self) -> Result<Option<PathBuf>, Failure> {
        self.daemon.names_data().then(|| self.daemon.data_dir()).transpose()
    }

    /// The daemon that KMS is at.
    pub(super) fn daemon(&self) -> Result<Daemon, Failure> {
        self.daemon.find(Service::Kms)
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
        let scope = Scope { region: "us-east-1", service: api.service, at: api.at };
        let headers =
            [(CONTENT_TYPE, "application/x-www-form-urlencoded"), (ACCEPT, "application/json")];
        let sent = self.send(scope, headers, body)?;
        let mut value = sent.daemon.json(&sent.answer)?;
        if sent.answer.status.is_success() {
            return Ok(value[format!("{operation}Response")][format!("{operation}Result")].take());
        }
        let error = &value["ErrorResponse"]["Error"];
        let text = |member: &str| error[member].as_str().unwrap_or("unknown").to_owned();
        Err(sent.failure(operation, &text("Code"), &text("Message")))
    }

    /// Calls an operation of KMS; its result, null if it has none.
    pub(super) fn kms(
        &self,
        region: &str,
        operation: &str,
        input: &Value,
    ) -> Result<Value, Failure> {
        let scope = Scope { region, service: "kms", at: Service::Kms };
        let target = format!("TrentService.{operation}");
        let headers = [
            (CONTENT_TYPE, "application/x-amz-json-1.1"),
            (HeaderName::from_static("x-amz-target"), &*target),
        ];
        let sent = self.send(scope, headers, input.to_string())?;
        if sent.answer.status.is_success() && sent.answer.body.is_empty() {
            return Ok(Value::Null);
        }
        let value = sent.daemon.json(&sent.answer)?;
        if sent.answer.status.is_success() {
            return Ok(value);
        }
        let text = |member: &str| value[member].as_str();
        let message = text("message").or_else(|| text("Message")).unwrap_or("no more is known");
        Err(sent.failure(operation, text("__type").unwrap_or("unknown"), message))
    }

    /// Signs and sends a request.
    fn send(
        &self,
        Scope { region, service, at }: Scope<'_>,
        with: [(HeaderName, &str); 2],
        body: String,
    ) -> Result<Sent, Failure> {
        let daemon = self.daemon.find(at)?;
        let key = self.access_key(&daemon)?;
        let signer = Signer { access_key: &key.id, secret: &key.secret, region, service };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(daemon.host()?)?);
        for (name, value) in with {
            headers.insert(name, HeaderValue::from_str(value)?);
        }
        if let Some(token) = &key.token {
            let mut token = HeaderValue::from_str(token)?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        signer.sign(&mut headers, body.as_bytes(), SystemTime::now())?;
        let mut request = Request::post("/").body(Full::new(Bytes::from(body)))?;
        *request.headers_mut() = headers;
        let answer = daemon.ask(request, PATIENCE)?;
        Ok(Sent { daemon, access_key: key.id, answer })
    }

    /// The Region that the AWS CLI would use, if one is configured.
    pub(super) fn region(&self) -> Result<Option<String>, Failure> {
        Ok(self.daemon.find(Service::Kms)?.aws.region().map(|region| region.value))
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

    /// The access key to sign with: of the file or directory that a flag names, else as for the
    /// AWS CLI. Where nobody chose a profile, the data directory comes before the AWS CLI's files,
    /// whose default profile is mostly for AWS itself.
    fn access_key(&self, daemon: &Daemon) -> Result<AccessKey, Failure> {
        let aws = &daemon.aws;
        let of_file = |path: &Path, profile: &str| {
            key_of_file(path, profile)?.ok_or_else(|| {
                let path = path.display();
                Failure(format!("{path} has no access key in the profile {profile}"))
            })
        };
        if let Some(path) = &self.credentials {
            return of_file(path, aws.profile());
        }
        if let Some(data) = &daemon.data {
            return of_file(&data.join("credentials"), self.daemon.profile_or_default());
        }
        if let Some(key) = aws.key_of_environment() {
            return Ok(key);
        }
        let names_a_file = aws.environment().get("AWS_SHARED_CREDENTIALS_FILE").is_some();
        let own = daemon::data_by_default(aws).map(|data| data.join("credentials"));
        if !aws.is_profile_chosen()
            && !names_a_file
            && let Some(own) = own.filter(|own| own.exists())
        {
            return of_file(&own, "default");
        }
        aws.key_of_profile().ok_or_else(|| {
            let profile = aws.profile();
            let what = match aws.has_profile() {
                true => "has no access key; kmsctl cannot assume roles",
                false => "is in none of the AWS CLI's files",
            };
            Failure(format!(
                "the profile {profile} {what}; name a file with --credentials FILE, or the daemon's \
                 directory with --data DIR"
            ))
        })
    }
}

/// What a request is signed for, and whose endpoint it is sent to.
struct Scope<'a> {
    region: &'a str,
    service: &'a str,
    at: Service,
}

/// A request that was answered.
struct Sent {
    daemon: Daemon,
    access_key: String,
    answer: Answer,
}

impl Sent {
    /// A refusal, in words for a person.
    fn failure(&self, operation: &str, code: &str, message: &str) -> Failure {
        let Self { daemon, access_key, .. } = self;
        // Often it is another daemon that was meant.
        let asked = match code {
            "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
            | "InvalidSignatureException" => format!(" (access key {access_key} at {daemon})"),
            _ => String::new(),
        };
        Failure(format!("{operation}: {code}: {message}{asked}"))
    }
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

/// A value in a form: everything except letters and digits is percent-encoded.
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
    fn forms_and_documents() {
        assert_eq!(encoded("a b&é"), "a%20b%26%C3%A9");
        assert_eq!(decoded("%7B%22a%22%3A%20%22%C3%A9%22%7D"), "{\"a\": \"é\"}");
        assert_eq!(decoded("100%25"), "100%25");
    }
}
