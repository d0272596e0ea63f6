//! Services besides KMS over HTTP: those that are here in part, and those that are not here.

use hyper::header::{CONTENT_TYPE, HOST};

use super::*;
use kms_sigv4::client::Signer;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

impl Rig {
    /// Returns a request that is signed for a service as that service's SDKs do.
    fn to(&self, service: &str, line: &str, more: &[(&'static str, &str)], body: &str) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&self.address.to_string()).unwrap());
        for (name, value) in more {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let signer = Signer { access_key: ID, secret: SECRET, region: "us-east-1", service };
        signer.sign(&mut headers, body.as_bytes(), SystemTime::now()).unwrap();
        let mut request = format!("{line} HTTP/1.1\r\n").into_bytes();
        for (name, value) in &headers {
            request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        request.extend(format!("content-length: {}\r\n\r\n{body}", body.len()).bytes());
        request
    }

    fn form_to(&self, service: &str, body: &str) -> Vec<u8> {
        self.to(service, "POST /", &[(CONTENT_TYPE.as_str(), FORM)], body)
    }

    fn json_to(&self, service: &str, target: &str, body: &str) -> Vec<u8> {
        let kind = (CONTENT_TYPE.as_str(), "application/x-amz-json-1.1");
        self.to(service, "POST /", &[kind, ("x-amz-target", target)], body)
    }
}

/// Each refusal has the form that the service's clients read, so that they can say what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_another_service_is_told_so() {
    let rig = Rig::start().await;
    let query = "Action=ListTopics&Version=2010-03-31";
    let cbor = ("smithy-protocol", "rpc-v2-cbor");
    let cases = [
        (
            "secretsmanager",
            rig.json_to("secretsmanager", "secretsmanager.ListSecrets", "{}"),
            400,
            "\"__type\":\"UnknownOperationException\",\"message\":",
        ),
        ("sns", rig.form_to("sns", query), 400, "<Code>InvalidAction</Code>"),
        (
            "lambda",
            rig.to("lambda", "GET /2015-03-31/functions/", &[], ""),
            404,
            "\"__type\":\"UnknownOperationException\"",
        ),
        (
            "s3",
            rig.to("s3", "GET /", &[], ""),
            501,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NotImplemented</Code><Message>",
        ),
        (
            "route53",
            rig.to("route53", "GET /2013-04-01/hostedzone", &[], ""),
            400,
            "<Error><Type>Sender</Type><Code>InvalidAction</Code>",
        ),
        (
            "monitoring",
            rig.to(
                "monitoring",
                "POST /service/GraniteServiceVersion20100801/operation/ListMetrics",
                &[cbor],
                "",
            ),
            400,
            "UnknownOperationException",
        ),
    ];
    for (service, request, status, part) in &cases {
        let reply = rig.exchange(request).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, *status, "{service}: {text}");
        assert!(text.contains(part), "{service}: {text}");
        assert!(text.contains(&format!("The service {service} is not here.")), "{text}");
        assert!(text.contains("kms, iam and sts"), "{text}");
    }
    let records = rig.records();
    assert_eq!(records.len(), cases.len());
    for ((service, ..), record) in cases.iter().zip(&records) {
        assert_eq!(record["eventSource"], format!("{service}.amazonaws.com"));
        assert_eq!(record["userIdentity"]["type"], "Unknown");
    }
    assert_eq!(records[0]["eventName"], "secretsmanager.ListSecrets");
    assert_eq!(records[1]["eventName"], "ListTopics");
    assert_eq!(records[2]["eventName"], "GET /2015-03-31/functions/");
    rig.stop().await;
}

/// Requests to services that are here are refused as usual if they are signed for something else.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_is_not_elsewhere() {
    let rig = Rig::start().await;
    let reply = rig.exchange(&rig.json_to("s3", LIST_KEYS, "{}")).await;
    assert_eq!((reply.status, reply.code()), (400, "InvalidSignatureException".to_owned()));
    let list = "Action=ListUsers&Version=2010-05-08";
    let reply = rig.exchange(&rig.form_to("sns", list)).await;
    assert_eq!(reply.status, 403);
    assert!(String::from_utf8(reply.body).unwrap().contains("SignatureDoesNotMatch"));
    // An invalid service name appears in no response and no record.
    let reply = rig.exchange(&rig.to("<x>", "GET /a", &[], "")).await;
    assert_eq!((reply.status, reply.code()), (400, "UnknownOperationException".to_owned()));
    assert_eq!(rig.records()[2]["eventSource"], "kms.amazonaws.com");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_and_keys_by_their_tags() {
    let rig = Rig::start_on(crate::api::tests::device::regions(1), false, Limits::default()).await;
    let body = "Action=DescribeRegions&Version=2016-11-15";
    let reply = rig.exchange(&rig.form_to("ec2", body)).await;
    let text = String::from_utf8(reply.body).unwrap();
    assert_eq!(reply.status, 200, "{text}");
    assert!(text.contains("<regionInfo><item><regionName>us-east-1</regionName>"), "{text}");
    let target = "ResourceGroupsTaggingAPI_20170126.GetResources";
    let filter = r#"{"TagFilters":[{"Key":"team","Values":["red"]}]}"#;
    let reply = rig.exchange(&rig.json_to("tagging", target, filter)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), json!({ "PaginationToken": "", "ResourceTagMappingList": [] }));
    let records = rig.records();
    assert_eq!(records[0]["eventSource"], "ec2.amazonaws.com");
    assert_eq!(records[1]["eventSource"], "tagging.amazonaws.com");
    assert_eq!(records[1]["eventName"], "GetResources");
    assert_eq!(
        records[1]["requestParameters"]["tagFilters"],
        json!([{ "key": "team", "values": ["red"] }])
    );
    assert_eq!(records[1]["readOnly"], true);

    let unknown = "ResourceGroupsTaggingAPI_20170126.TagResources";
    for (request, status, part) in [
        (
            rig.form_to("ec2", "Action=DescribeInstances&Version=2016-11-15"),
            400,
            "<Response><Errors><Error><Code>InvalidAction</Code>",
        ),
        (rig.form_to("kms", body), 401, "<Code>AuthFailure</Code>"),
        (rig.form_to("ec2", &format!("{body}&Other=1")), 400, "<Code>InvalidParameterValue</Code>"),
        (rig.json_to("tagging", unknown, "{}"), 400, "UnknownOperationException"),
        (rig.json_to("kms", target, "{}"), 400, "InvalidSignatureException"),
        (rig.json_to("tagging", target, "[]"), 400, "SerializationException"),
        (
            rig.json_to("tagging", target, r#"{"ResourcesPerPage":0}"#),
            400,
            "InvalidParameterException",
        ),
    ] {
        let reply = rig.exchange(&request).await;
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(reply.status, status, "{text}");
        assert!(text.contains(part), "{text}");
    }
    rig.stop().await;
}

/// The use of an access key is recorded, whatever the service.
#[tokio::test(flavor = "multi_thread")]
async fn uses_of_access_keys_are_noted() {
    let rig = Rig::start().await;
    rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await;
    tokio::time::sleep(Duration::from_millis(5)).await; // times are in milliseconds
    let body = format!("Action=GetAccessKeyLastUsed&Version=2010-05-08&AccessKeyId={ID}");
    let last = async || {
        let reply = rig.exchange(&rig.form_to("iam", &body)).await;
        String::from_utf8(reply.body).unwrap()
    };
    // The request is signed with the key itself.
    assert!(last().await.contains("<ServiceName>iam</ServiceName><Region>us-east-1</Region>"));
    let wrong = Signer { access_key: ID, secret: "wrong", region: "us-east-1", service: "sts" };
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(&rig.address.to_string()).unwrap());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    wrong.sign(&mut headers, identity.as_bytes(), SystemTime::now()).unwrap();
    let mut request = b"POST / HTTP/1.1\r\n".to_vec();
    for (name, value) in &headers {
        request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    request.extend(format!("content-length: {}\r\n\r\n{identity}", identity.len()).bytes());
    assert_eq!(rig.exchange(&request).await.status, 403);
    assert!(!last().await.contains("<ServiceName>sts</ServiceName>"), "nobody has signed that");
    rig.stop().await;
}
