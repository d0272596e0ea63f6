//! Input that no client should send: each gets its typed error, and the next request succeeds.

use std::time::Duration;

use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Answer, Connection, Request, call};
use hsm_tests::patience::until;
use serde_json::json;

/// Checks that the answer is an error of the API in every respect.
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.1"));
    assert!(answer.header("x-amzn-requestid").is_some_and(|id| id.len() == 36), "{answer:?}");
    assert!(answer.header("date").is_some());
}

/// Checks that the daemon still works.
fn assert_serves(daemon: &Daemon) {
    let answer = call(daemon, "GenerateRandom", &json!({ "NumberOfBytes": 16 }));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A signed call with a body that need not be JSON.
fn signed(daemon: &Daemon, operation: &str, body: impl Into<Vec<u8>>) -> Answer {
    Request::new(operation, body).signed(daemon).send(daemon)
}

#[test]
fn bodies_that_are_no_json() {
    let daemon = Daemon::start(&["soft"]);
    let whole = json!({ "KeyId": "x", "Plaintext": "AAAA" }).to_string();
    let mut bodies: Vec<Vec<u8>> =
        (1..whole.len()).map(|length| whole.as_bytes()[..length].to_vec()).collect();
    bodies.extend([
        b"\xff\xfe".to_vec(),
        b"{\"KeyId\":\"\xc3\x28\"}".to_vec(),
        b"{} {}".to_vec(),
        b"{\"KeyId\":\"x\",}".to_vec(),
        b"nul".to_vec(),
        b"[".repeat(100_000),
        b"{\"a\":".repeat(20_000),
    ]);
    for body in bodies {
        let answer = signed(&daemon, "Encrypt", body);
        assert_refused(&answer, 400, "SerializationException");
    }
    assert_serves(&daemon);
}

/// A parameter that was nested deeply was recorded so, and nobody could read the record.
#[test]
fn forms_of_any_depth_spoil_no_record() {
    let mut daemon = Daemon::start(&["soft"]);
    let dots = |count: usize| format!("UserName{}", ".a".repeat(count));
    let root = daemon.credentials();
    let (version, json) = ("2010-05-08", "application/x-amz-json-1.1");
    for count in [1, 8, 16, 17, 64, 124, 125, 1000, 200_000] {
        let name = dots(count);
        let form = Request::form(version, "GetUser", &[(&name, "x")]);
        let answer = form.signed_for("iam", &root, &daemon).send(&daemon);
        assert_eq!(answer.status / 100, 4, "{count}: {answer:?}");
        let body = json!({ name.replace("UserName", "TagFilters"): "x" }).to_string();
        let target = "ResourceGroupsTaggingAPI_20170126.GetResources";
        let call = Request::new("", body).header("x-amz-target", target);
        let answer = call.header("content-type", json).signed_for("tagging", &root, &daemon);
        let answer = answer.send(&daemon);
        assert_eq!(answer.status / 100, 4, "{count}: {answer:?}");
    }
    for parameters in [
        &[("UserName", "x"), ("PermissionsBoundary.member.1", "arn")][..],
        &[("UserName", "x"), ("Tags", "a")],
        &[("UserName.x", "x")],
    ] {
        let form = Request::form(version, "CreateUser", parameters);
        let answer = form.signed_for("iam", &root, &daemon).send(&daemon);
        assert_eq!(answer.status, 400, "{parameters:?}: {answer:?}");
    }
    assert_serves(&daemon);
    assert!(daemon.stop().success());
    let (intact, report) = ctl::verify(&daemon.data().join("audit"));
    assert!(intact, "{report}");
    daemon.restart();
    assert_serves(&daemon);
}

#[test]
fn members_of_a_wrong_type() {
    let daemon = Daemon::start(&["soft"]);
    for (operation, body) in [
        ("Encrypt", json!([])),
        ("Encrypt", json!("x")),
        ("Encrypt", json!(7)),
        ("Encrypt", json!({ "KeyId": 7, "Plaintext": "AAAA" })),
        ("Encrypt", json!({ "KeyId": ["x"], "Plaintext": "AAAA" })),
        ("Encrypt", json!({ "KeyId": "x", "Plaintext": 7 })),
        ("Encrypt", json!({ "KeyId": "x", "Plaintext": "not base64!" })),
        ("Encrypt", json!({ "KeyId": "x", "Plaintext": "AAA" })),
        ("Encrypt", json!({ "KeyId": "x", "Plaintext": "AAAA", "EncryptionContext": [] })),
        ("Encrypt", json!({ "KeyId": "x", "Plaintext": "AAAA", "EncryptionContext": { "a": 1 } })),
        ("Encrypt", json!({ "KeyId": "x", "Plaintext": "AAAA", "DryRun": "yes" })),
        ("GenerateRandom", json!({ "NumberOfBytes": "16" })),
        ("GenerateRandom", json!({ "NumberOfBytes": 16.5 })),
        ("GenerateRandom", json!({ "NumberOfBytes": 1e30 })),
        ("ListKeys", json!({ "Limit": true })),
        ("ListKeys", json!({ "Marker": {} })),
        ("CreateKey", json!({ "Tags": { "TagKey": "a" } })),
        ("CreateKey", json!({ "Tags": ["a"] })),
        ("CreateKey", json!({ "MultiRegion": 0 })),
        ("CreateKey", json!({ "Description": 1 })),
    ] {
        let answer = signed(&daemon, operation, body.to_string());
        assert_refused(&answer, 400, "SerializationException");
    }
    assert_serves(&daemon);
}

#[test]
fn unknown_and_null_members_are_ignored() {
    let daemon = Daemon::start(&["soft"]);
    let body = json!({
        "NumberOfBytes": 8, "Recipient": null, "CustomKeyStoreId": null,
        "FromTheFuture": { "a": [1, 2, { "b": null }] },
    });
    let answer = call(&daemon, "GenerateRandom", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_key_id_of_a_megabyte() {
    let daemon = Daemon::start(&["soft"]);
    let long = "x".repeat(1 << 20);
    for operation in ["DescribeKey", "DisableKey", "GetKeyPolicy"] {
        let answer = signed(&daemon, operation, json!({ "KeyId": long }).to_string());
        // Either the constraint or the limit of a body says it, whichever the daemon meets first.
        match answer.status {
            413 => assert_refused(&answer, 413, "RequestEntityTooLargeException"),
            _ => assert_refused(&answer, 400, "ValidationException"),
        }
        assert!(answer.body.len() < 4096, "an error does not repeat a megabyte");
    }
    let edge = signed(&daemon, "DescribeKey", json!({ "KeyId": "x".repeat(2049) }).to_string());
    assert_refused(&edge, 400, "ValidationException");
    assert_serves(&daemon);
}

#[test]
fn bodies_over_the_limit() {
    let daemon = Daemon::start(&["soft"]);
    let huge = signed(&daemon, "Encrypt", vec![b' '; 8 << 20]);
    assert_refused(&huge, 413, "RequestEntityTooLargeException");

    // Only announced: the refusal must not wait for the bytes.
    let mut connection = Connection::open(&daemon);
    let head = "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.Encrypt\r\n\
                content-length: 99999999999\r\n\r\n";
    connection.write(head.as_bytes()).expect("sent");
    let answer = connection.read().expect("an answer before the body");
    assert_refused(&answer, 413, "RequestEntityTooLargeException");

    // Chunked: no length is announced at all.
    let mut connection = Connection::open(&daemon);
    let head = "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.Encrypt\r\n\
                transfer-encoding: chunked\r\n\r\n";
    connection.write(head.as_bytes()).expect("sent");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    while connection.write(&chunk).is_ok() {
        if connection.has_answer() {
            break;
        }
    }
    let answer = connection.read().expect("an answer before the end of the body");
    assert_refused(&answer, 413, "RequestEntityTooLargeException");
    assert_serves(&daemon);
}

#[test]
fn targets_that_name_no_operation() {
    let daemon = Daemon::start(&["soft"]);
    for target in [
        "TrentService.Encrpyt",
        "TrentService.encrypt",
        "TrentService.",
        "TrentService",
        "Encrypt",
        "TrentService.Encrypt.Encrypt",
        "AWSSecurityTokenService.Encrypt",
        "",
        &"x".repeat(4000),
    ] {
        let request = Request::new("Encrypt", "{}").header("x-amz-target", target);
        let answer = request.signed(&daemon).send(&daemon);
        assert_refused(&answer, 400, "UnknownOperationException");
    }
    let mut none = Request::new("Encrypt", "{}");
    none.headers.retain(|(name, _)| name != "x-amz-target");
    let answer = none.signed(&daemon).send(&daemon);
    assert_refused(&answer, 400, "UnknownOperationException");
    assert_serves(&daemon);
}

#[test]
fn methods_and_paths_that_are_not_the_api() {
    let daemon = Daemon::start(&["soft"]);
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let mut request = Request::new("ListKeys", "{}");
        request.method = method.to_owned();
        let answer = request.signed(&daemon).send(&daemon);
        assert!((400..500).contains(&answer.status), "{method}: {answer:?}");
    }
    let mut request = Request::new("ListKeys", "{}");
    request.path = "/elsewhere".to_owned();
    let answer = request.signed(&daemon).send(&daemon);
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert_serves(&daemon);
}

#[test]
fn requests_without_a_good_signature() {
    let daemon = Daemon::start(&["soft"]);
    let unsigned = Request::new("ListKeys", "{}");
    let answer = unsigned.send(&daemon);
    assert_refused(&answer, 400, "MissingAuthenticationTokenException");

    for authorization in [
        "Basic dXNlcjpwYXNz",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/kms/aws4_request",
        "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=00",
        &format!("AWS4-HMAC-SHA256 {}", "Credential=".repeat(500)),
    ] {
        let answer = unsigned.clone().header("authorization", authorization).send(&daemon);
        assert_refused(&answer, 400, "IncompleteSignatureException");
    }

    let mut changed = Request::new("ListKeys", r#"{"Limit":1}"#).signed(&daemon);
    changed.body = br#"{"Limit":2}"#.to_vec();
    assert_refused(&changed.send(&daemon), 400, "InvalidSignatureException");
    assert_serves(&daemon);
}

#[test]
fn bytes_that_are_no_http() {
    let daemon = Daemon::start(&["soft"]);
    for bytes in [
        b"\0\0\0\0\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut connection = Connection::open(&daemon);
        let _ = connection.write(bytes);
        connection.finish();
        if let Ok(answer) = connection.read() {
            assert!((400..600).contains(&answer.status), "{}: {answer:?}", bytes.escape_ascii());
        }
    }
    let mut many = Request::new("ListKeys", "{}");
    for number in 0..1000 {
        many = many.header(&format!("x-header-{number}"), "value");
    }
    let answer = many.send(&daemon);
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert_serves(&daemon);
}

/// Connections that send a byte now and then hold nobody else up, and are ended.
#[test]
fn clients_that_hardly_send() {
    let daemon = Daemon::start(&["soft"]);
    let open = || {
        let mut slow: Vec<Connection> = (0..200).map(|_| Connection::open(&daemon)).collect();
        let head = b"POST / HTTP/1.1\r\nhost: x\r\n";
        for (number, connection) in slow.iter_mut().enumerate() {
            // Some stop in the head, some in the body. On a slow machine the first have been ended by now.
            let _ = connection.write(head);
            if number % 2 == 0 {
                let rest = b"x-amz-target: TrentService.ListKeys\r\ncontent-length: 100\r\n\r\n{";
                let _ = connection.write(rest);
            }
        }
        slow
    };
    // Others are served while these are there, and not only once they have been ended.
    let mut slow = Vec::new();
    until("others are served beside slow clients", || {
        slow = open();
        assert_serves(&daemon);
        slow.iter_mut().any(|connection| !connection.is_over())
    });

    // A byte a second must not keep a connection for good.
    until("slow connections are ended", || {
        for connection in &mut slow {
            let _ = connection.write(b"x");
        }
        std::thread::sleep(Duration::from_secs(1));
        slow.iter_mut().all(Connection::is_over)
    });
    assert_serves(&daemon);
}

#[test]
fn a_connection_serves_on_after_refusals() {
    let daemon = Daemon::start(&["soft"]);
    let mut connection = Connection::open(&daemon);
    for round in 0..20 {
        let bad = Request::new("Encrypt", "{").signed(&daemon);
        connection.write(&bad.to_bytes(daemon.address())).expect("sent");
        assert_refused(&connection.read().expect("answered"), 400, "SerializationException");
        let good = Request::new("ListKeys", "{}").signed(&daemon);
        connection.write(&good.to_bytes(daemon.address())).expect("sent");
        assert_eq!(connection.read().expect("answered").status, 200, "round {round}");
    }
}
