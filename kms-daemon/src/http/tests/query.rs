//! The Query APIs over HTTP, and `kmsctl` as their client.

use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};

use super::*;
use crate::api::tests::device::regions;
use kms_sigv4::client::Signer;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

impl Rig {
    /// With a device, which seals secrets.
    async fn with_device() -> Self {
        Self::start_on(regions(1), false, Limits::default()).await
    }

    /// A signed form; `accept` is the form of the answer.
    fn form(&self, (service, key): (&str, (&str, &str)), body: &str, accept: &str) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [(HOST, &*self.address.to_string()), (CONTENT_TYPE, FORM), (ACCEPT, accept)]
        {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let (access_key, secret) = key;
        let signer = Signer { access_key, secret, region: "us-east-1", service };
        signer.sign(&mut headers, body.as_bytes(), SystemTime::now()).unwrap();
        let mut request = b"POST / HTTP/1.1\r\n".to_vec();
        for (name, value) in &headers {
            request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        request.extend(format!("content-length: {}\r\n\r\n{body}", body.len()).bytes());
        request
    }

    /// Calls an operation as the root; the result.
    async fn iam(&self, operation: &str, parameters: &str) -> Value {
        let body = format!("Action={operation}&Version=2010-05-08{parameters}");
        let request = self.form(("iam", (ID, SECRET)), &body, "application/json");
        let reply = self.exchange(&request).await;
        assert_eq!(reply.status, 200, "{operation}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()[format!("{operation}Response")][format!("{operation}Result")].take()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_answered_in_xml_and_recorded() {
    let rig = Rig::start().await;
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let reply = rig.exchange(&rig.form(("sts", (ID, SECRET)), body, "*/*")).await;
    let text = String::from_utf8(reply.body.clone()).unwrap();
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/xml")));
    assert!(text.contains("<Arn>arn:aws:iam::000000000000:root</Arn>"), "{text}");
    let record = rig.records()[0].clone();
    assert_eq!(record["eventSource"], "sts.amazonaws.com");
    assert_eq!(record["eventName"], "GetCallerIdentity");
    let id = record["requestID"].as_str().unwrap();
    assert_eq!(reply.header("x-amzn-requestid"), Some(id));
    assert!(text.contains(&format!("<RequestId>{id}</RequestId>")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_codes_of_query_apis_and_are_recorded() {
    let rig = Rig::start().await;
    let list = "Action=ListUsers&Version=2010-05-08";
    let root = ("iam", (ID, SECRET));
    let plain = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n{list}",
        list.len()
    );
    let cases = [
        (plain.into_bytes(), 403, "MissingAuthenticationToken"),
        (rig.form(("kms", (ID, SECRET)), list, "*/*"), 403, "SignatureDoesNotMatch"),
        (rig.form(("iam", (ID, "wrong")), list, "*/*"), 403, "SignatureDoesNotMatch"),
        (
            rig.form(("iam", ("AKIABBBBBBBBBBBBBBBB", SECRET)), list, "*/*"),
            403,
            "InvalidClientTokenId",
        ),
        (
            rig.form(root, "Action=ListInstanceProfiles&Version=2010-05-08", "*/*"),
            400,
            "InvalidAction",
        ),
        (rig.form(root, "Action=ListUsers&Version=2011-06-15", "*/*"), 400, "InvalidAction"),
        (rig.form(root, "Action=ListUsers", "*/*"), 400, "InvalidAction"),
        (rig.form(root, "a=1&a=2", "*/*"), 404, "MalformedQueryString"),
        (rig.form(root, &format!("{list}&Other=1"), "*/*"), 400, "ValidationError"),
    ];
    for (request, status, code) in &cases {
        let reply = rig.exchange(request).await;
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(reply.status, *status, "{text}");
        assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
        assert!(text.starts_with("<ErrorResponse xmlns="), "{text}");
    }
    let codes: Vec<_> = rig.records().iter().map(|record| record["errorCode"].clone()).collect();
    assert_eq!(codes, cases.iter().map(|(_, _, code)| json!(code)).collect::<Vec<_>>());
    assert!(rig.records().iter().all(|record| record["eventSource"] != "kms.amazonaws.com"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_without_its_record() {
    let rig = Rig::start().await;
    rig.audit.set_disk_full(true);
    let create = "Action=CreateUser&Version=2010-05-08&UserName=ana";
    for _ in 0..2 {
        let reply = rig.exchange(&rig.form(("iam", (ID, SECRET)), create, "*/*")).await;
        assert_eq!(reply.status, 500);
    }
    rig.audit.set_disk_full(false);
    let listed = rig.iam("ListUsers", "").await;
    // The first one was carried out before its record could not be written.
    assert!(listed["Users"].as_array().unwrap().len() <= 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_with_its_key_until_it_is_disabled() {
    let rig = Rig::with_device().await;
    rig.iam("CreateUser", "&UserName=ana").await;
    let made = rig.iam("CreateAccessKey", "&UserName=ana").await;
    let text = |member: &str| made["AccessKey"][member].as_str().unwrap().to_owned();
    let (id, secret) = (text("AccessKeyId"), text("SecretAccessKey"));
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let call =
        async || rig.exchange(&rig.form(("sts", (&id, &secret)), body, "application/json")).await;
    let reply = call().await;
    let identity = &reply.json()["GetCallerIdentityResponse"]["GetCallerIdentityResult"];
    assert_eq!(identity["Arn"], "arn:aws:iam::000000000000:user/ana");
    let status = format!("&UserName=ana&AccessKeyId={id}&Status=Inactive");
    rig.iam("UpdateAccessKey", &status).await;
    let reply = call().await;
    let error = &reply.json()["ErrorResponse"]["Error"];
    assert_eq!((reply.status, &error["Code"]), (403, &json!("InvalidClientTokenId")));

    let records = rig.records();
    let users: Vec<_> = records.iter().map(|record| &record["userIdentity"]["type"]).collect();
    assert_eq!(users, ["Root", "Root", "IAMUser", "Root", "Unknown"]);
    assert!(!Value::from(records).to_string().contains(&secret));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kmsctl_manages_accounts_and_users() {
    let rig = Rig::with_device().await;
    let file = rig.dir.path().join("credentials");
    let text = format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n");
    fs::write(&file, text).unwrap();
    let (url, file) = (format!("http://{}", rig.address), file.to_str().unwrap().to_owned());
    let run = async |arguments: &str| {
        let given = ["kmsctl", "--json"].into_iter().chain(arguments.split(' '));
        let given: Vec<_> =
            given.chain(["--url", &url, "--credentials", &file]).map(Into::into).collect();
        tokio::task::spawn_blocking(|| kmsctl::main(given)).await.unwrap()
    };
    let document = rig.dir.path().join("policy.json");
    let text = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "kms:*", "Resource": "*" } });
    fs::write(&document, text.to_string()).unwrap();
    let document = document.to_str().unwrap();
    let good = std::process::ExitCode::SUCCESS;
    for line in [
        "account create --id 111122223333 --name test",
        "account list",
        "iam user create ana --path /team/",
        "iam key create ana",
        "iam key list ana",
        "iam user list",
        "iam group create team",
        "iam group add team ana",
        "iam group members team",
        "iam group list --user ana",
        &format!("iam policy put --group team p {document}"),
        "iam policy list --group team",
        "iam policy show --group team p",
        "iam policy delete --group team p",
        &format!("iam managed create may {document}"),
        "iam policy attach --user ana arn:aws:iam::000000000000:policy/may",
        "iam policy attached --user ana",
        &format!("iam managed update arn:aws:iam::000000000000:policy/may {document}"),
        "iam managed show arn:aws:iam::000000000000:policy/may",
        "iam managed list",
        "iam policy detach --user ana arn:aws:iam::000000000000:policy/may",
        "iam boundary set --user ana arn:aws:iam::000000000000:policy/may",
        "iam user show ana",
        "iam boundary remove --user ana",
        "iam managed delete arn:aws:iam::000000000000:policy/may",
        "iam group remove team ana",
        "iam group delete team",
    ] {
        assert_eq!(run(line).await, good, "{line}");
    }
    let users = rig.iam("ListUsers", "").await;
    assert_eq!(users["Users"][0]["Arn"], "arn:aws:iam::000000000000:user/team/ana");
    for line in ["iam user delete ana", "iam user show ben", "account create --id 1"] {
        assert_ne!(run(line).await, good, "{line}");
    }
    let sources: Vec<_> =
        rig.records().iter().map(|record| record["eventSource"].clone()).collect();
    assert_eq!(sources[..3], ["strongroom", "strongroom", "iam.amazonaws.com"]);
    rig.stop().await;
}
