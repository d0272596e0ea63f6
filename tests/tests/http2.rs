//! HTTP/2 by curl, which also has a SigV4 signer of its own.

use std::process::Command;

use hsm_tests::daemon::{Daemon, REGION};
use serde_json::{Value, json};

/// What curl got: protocol version, status, body.
#[derive(Debug, PartialEq)]
struct Got(String, String, Value);

/// Calls an operation with curl, signed by it, with these further arguments.
fn curl(daemon: &Daemon, operation: &str, body: &Value, arguments: &[&str]) -> Got {
    let credentials = daemon.credentials();
    let mut command = Command::new("curl");
    command
        .args(["--disable", "--silent", "--show-error", "--max-time", "600"])
        .args(["--aws-sigv4", &format!("aws:amz:{REGION}:kms")])
        .args(["--user", &format!("{}:{}", credentials.id, credentials.secret)])
        .args(["--header", "content-type: application/x-amz-json-1.1"])
        .args(["--header", &format!("x-amz-target: TrentService.{operation}")])
        .args(["--data-binary", &body.to_string()])
        .args(["--write-out", "\n%{http_version} %{http_code}"])
        .args(arguments)
        .arg(daemon.url());
    let output = command.output().expect("curl is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}; curl must be one with HTTP/2 and --aws-sigv4");
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, end) = text.rsplit_once('\n').expect("a last line");
    let (version, status) = end.split_once(' ').expect("two words");
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"));
    Got(version.to_owned(), status.to_owned(), body)
}

fn check(daemon: &Daemon, version: &str, arguments: &[&str]) {
    let Got(spoken, status, body) =
        curl(daemon, "GenerateRandom", &json!({ "NumberOfBytes": 16 }), arguments);
    assert_eq!((spoken.as_str(), status.as_str()), (version, "200"), "{body}");
    assert_eq!(body["Plaintext"].as_str().map(str::len), Some(24));
    let Got(spoken, status, body) = curl(daemon, "Nothing", &json!({}), arguments);
    assert_eq!((spoken.as_str(), status.as_str()), (version, "400"));
    assert_eq!(body["__type"], "UnknownOperationException");
}

#[test]
fn in_clear() {
    let daemon = Daemon::start(&["soft"]);
    check(&daemon, "2", &["--http2-prior-knowledge"]);
    check(&daemon, "1.1", &["--http1.1"]);
    // The way to HTTP/2 by `Upgrade` is not taken.
    check(&daemon, "1.1", &["--http2"]);
}

#[test]
fn over_tls() {
    let daemon = Daemon::start_on("0.0.0.0:0", &["soft"]);
    let certificate = daemon.data().join("tls/certificate.pem");
    let trust = ["--cacert", certificate.to_str().expect("a path in UTF-8")];
    check(&daemon, "2", &[trust.as_slice(), &["--http2"]].concat());
    check(&daemon, "1.1", &[trust.as_slice(), &["--http1.1"]].concat());
}

/// A body over the limit ends its stream only.
#[test]
fn too_large() {
    let daemon = Daemon::start(&["soft"]);
    let body = json!({ "KeyId": "x".repeat(2 << 20) });
    let file = daemon.data().join("body");
    std::fs::write(&file, body.to_string()).expect("written");
    let data = format!("@{}", file.display());
    let Got(version, status, body) = curl(
        &daemon,
        "DescribeKey",
        &json!(null),
        &["--http2-prior-knowledge", "--data-binary", &data],
    );
    assert_eq!((version.as_str(), status.as_str()), ("2", "413"), "{body}");
    check(&daemon, "2", &["--http2-prior-knowledge"]);
}
