//! Keys of external key stores, with a proxy of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Rig;
use super::device::regions;
use super::rig::{ACCOUNT, REGION, b64, bytes};
use crate::api::Service;
use crate::credentials::Credentials;
use crate::iam::{Iam, Setup};
use crate::proxy::{AllowedHost, EndpointService, Proxies};
use kms_base::clock::{ManualClock, Timestamp};
use kms_installation::link_identity::certificate;
use kms_installation::tls;
use kms_store::{MemoryStore, Store};

/// The VPC endpoint services of the test. The first two have the host of the proxy; the last one is of another
/// account.
const SERVICES: [&str; 4] = [
    "com.amazonaws.vpce.us-east-1.vpce-svc-0a1",
    "com.amazonaws.vpce.us-east-1.vpce-svc-0a2",
    "com.amazonaws.vpce.us-east-1.vpce-svc-0a3",
    "com.amazonaws.vpce.us-east-1.vpce-svc-0a4",
];

/// What the proxy of the test has for keys: nobody else's ciphertext opens.
const KEY: u8 = 0x5a;

/// A proxy that has every key but `gone`, and says of `small` that it is one of 128 bits.
async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let signed = request.headers().get("authorization").is_some_and(|it| {
        let text = it.to_str().unwrap_or_default();
        text.contains("/us-east-1/kms-xks-proxy/aws4_request") && text.contains("host;")
    });
    let body = request.into_body().collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(signed && body["requestMetadata"]["kmsRequestId"].is_string(), "{path}: {body}");
    let tag = |aad: &[u8], ciphertext: &[u8]| {
        let digest = Sha256::new().chain_update([KEY]).chain_update(aad).chain_update(ciphertext);
        digest.finalize()[..16].to_vec()
    };
    let part = |name: &str| match &body[name] {
        Value::Null => Vec::new(),
        value => bytes(value),
    };
    let crypt = |bytes: Vec<u8>| bytes.iter().map(|byte| byte ^ KEY).collect::<Vec<u8>>();
    let aad = part("additionalAuthenticatedData");
    let refused = |name: &str| (400, json!({ "errorName": name, "errorMessage": "m" }));
    let (status, answer) = match path.rsplit('/').next().unwrap() {
        _ if path.contains("/keys/gone/") => refused("KeyNotFoundException"),
        "health" => (
            200,
            json!({
                "xksProxyFleetSize": 1, "xksProxyVendor": "v", "xksProxyModel": "m", "ekmVendor": "v",
                "ekmFleetDetails": [{ "id": "1", "model": "m", "healthStatus": "ACTIVE" }],
            }),
        ),
        "metadata" => (
            200,
            json!({
                "keySpec": if path.contains("/keys/small/") { "AES_128" } else { "AES_256" },
                "keyUsage": ["DECRYPT", "ENCRYPT"], "keyStatus": "ENABLED",
            }),
        ),
        "encrypt" => {
            let ciphertext = crypt(part("plaintext"));
            let (iv, tag) = ([7; 12], tag(&aad, &ciphertext));
            let value = Sha256::digest([&aad, &iv[..], &ciphertext, &tag].concat());
            (
                200,
                json!({
                    "ciphertext": b64(&ciphertext), "initializationVector": b64(iv),
                    "authenticationTag": b64(tag), "ciphertextDataIntegrityValue": b64(value),
                }),
            )
        }
        _ if tag(&aad, &part("ciphertext")) != part("authenticationTag") => {
            refused("InvalidCiphertextException")
        }
        _ => (200, json!({ "plaintext": b64(crypt(part("ciphertext"))) })),
    };
    let response = Response::builder().status(status);
    Ok(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap())
}

async fn proxy(dir: &TempDir) -> SocketAddr {
    let (cert, key) = tls::own(dir.path(), vec!["localhost".to_owned()], "proxy").unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(&cert).unwrap()], tls::private_key(&key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await?;
                let http = hyper::server::conn::http1::Builder::new();
                let served = http.serve_connection(TokioIo::new(stream), service_fn(respond));
                served.await.map_err(std::io::Error::other)
            });
        }
    });
    address
}

/// A service whose custom key stores may name `localhost`, where the proxy is.
async fn rig(dir: &TempDir) -> Rig {
    let address = proxy(dir).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let regions = regions(1);
    let mut roots = Credentials::default();
    roots.insert_root(ACCOUNT, "AKIAEXAMPLE", "secret-access-key".to_owned().into());
    let iam = Iam::open(Setup {
        store: Arc::clone(&store),
        regions: Arc::clone(&regions),
        region: REGION.to_owned(),
        clock: clock.clone(),
        account: ACCOUNT.to_owned(),
        roots,
    })
    .await
    .unwrap();
    let trusted = dir.path().join("certificate.pem");
    let tls = tls::proxies(Vec::new(), Some(&trusted), None).unwrap();
    let host = AllowedHost { name: "localhost".to_owned(), address: Some(address) };
    let hosts = ["localhost", "localhost", "other.example", "theirs.example"];
    let services = SERVICES.iter().zip(hosts).map(|(service, host)| {
        let owner = if host == "theirs.example" { "@444455556666" } else { "" };
        EndpointService::parse(&format!("{service}{owner}={host}={address}")).unwrap()
    });
    let proxies = Proxies::new(tls, vec![host], Duration::from_secs(10));
    let proxies = proxies.with_services(services.collect());
    let service = Service::open(store, regions, clock.clone()).await.unwrap();
    let service = service.with_identities(Arc::new(iam)).with_proxies(Arc::new(proxies));
    Rig { service: Arc::new(service), clock, region: REGION }
}

fn to_create(name: &str) -> Value {
    json!({
        "CustomKeyStoreName": name,
        "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
        "XksProxyConnectivity": "PUBLIC_ENDPOINT",
        "XksProxyUriEndpoint": "https://localhost",
        "XksProxyUriPath": format!("/{name}/kms/xks/v1"),
        "XksProxyAuthenticationCredential": {
            "AccessKeyId": "XKSAAAAAAAAAAAAAAAAA", "RawSecretAccessKey": "s".repeat(43),
        },
    })
}

async fn create(rig: &Rig, name: &str) -> Value {
    let made = rig.ok("CreateCustomKeyStore", to_create(name)).await;
    json!({ "CustomKeyStoreId": made["CustomKeyStoreId"] })
}

async fn state(rig: &Rig, store: &Value) -> Value {
    let found = rig.ok("DescribeCustomKeyStores", store.clone()).await;
    found["CustomKeyStores"][0]["ConnectionState"].clone()
}

async fn connect(rig: &Rig, store: &Value) {
    rig.ok("ConnectCustomKeyStore", store.clone()).await;
    for _ in 0..10_000 {
        if state(rig, store).await == "CONNECTED" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not connected");
}

fn to_make(store: &Value, key: &str) -> Value {
    let id = &store["CustomKeyStoreId"];
    json!({ "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": id, "XksKeyId": key })
}

#[tokio::test]
async fn each_state_allows_what_it_should() {
    let dir = TempDir::new().unwrap();
    let rig = rig(&dir).await;
    let store = create(&rig, "a").await;
    assert_eq!(state(&rig, &store).await, "DISCONNECTED");
    let wrong = "CustomKeyStoreInvalidStateException";
    assert_eq!(rig.refused("DisconnectCustomKeyStore", store.clone()).await, wrong);
    assert_eq!(rig.refused("CreateKey", to_make(&store, "k")).await, wrong);
    connect(&rig, &store).await;
    rig.ok("ConnectCustomKeyStore", store.clone()).await;
    assert_eq!(rig.refused("DeleteCustomKeyStore", store.clone()).await, wrong);
    assert_eq!(rig.refused("CreateKey", to_make(&store, "gone")).await, "XksKeyNotFoundException");
    let small = rig.refused("CreateKey", to_make(&store, "small")).await;
    assert_eq!(small, "XksKeyInvalidConfigurationException");
    let mut cluster = to_make(&store, "k");
    cluster["Origin"] = json!("AWS_CLOUDHSM");
    cluster.as_object_mut().unwrap().remove("XksKeyId");
    assert_eq!(rig.refused("CreateKey", cluster).await, "UnsupportedOperationException");
    let mut regions = to_make(&store, "k");
    regions["MultiRegion"] = json!(true);
    assert_eq!(rig.refused("CreateKey", regions).await, "UnsupportedOperationException");

    let made = rig.ok("CreateKey", to_make(&store, "k")).await;
    let key = json!({ "KeyId": made["KeyMetadata"]["KeyId"] });
    assert_eq!(rig.refused("CreateKey", to_make(&store, "k")).await, "XksKeyAlreadyInUseException");
    rig.ok("DisconnectCustomKeyStore", store.clone()).await;
    let metadata = |found: Value| found["KeyMetadata"].clone();
    let found = metadata(rig.ok("DescribeKey", key.clone()).await);
    assert_eq!((&found["KeyState"], &found["Enabled"]), (&json!("Unavailable"), &json!(false)));
    let generate = json!({ "KeyId": key["KeyId"], "KeySpec": "AES_256" });
    assert_eq!(rig.refused("GenerateDataKey", generate.clone()).await, "KMSInvalidStateException");
    let has_keys = "CustomKeyStoreHasCMKsException";
    assert_eq!(rig.refused("DeleteCustomKeyStore", store.clone()).await, has_keys);
    connect(&rig, &store).await;
    rig.ok("GenerateDataKey", generate).await;
    rig.ok("DisableKey", key.clone()).await;
    assert_eq!(metadata(rig.ok("DescribeKey", key.clone()).await)["KeyState"], "Disabled");

    // What waits for its deletion counts, until it is gone.
    let mut window = key.clone();
    window["PendingWindowInDays"] = json!(7);
    rig.ok("ScheduleKeyDeletion", window).await;
    rig.ok("DisconnectCustomKeyStore", store.clone()).await;
    assert_eq!(metadata(rig.ok("DescribeKey", key.clone()).await)["KeyState"], "PendingDeletion");
    assert_eq!(rig.refused("DeleteCustomKeyStore", store.clone()).await, has_keys);
    rig.clock.advance(Duration::from_secs(8 * 86_400));
    let catalog = rig.service.catalog();
    let id = kms_base::identifier::KeyId::parse(key["KeyId"].as_str().unwrap()).unwrap();
    let stored = catalog.key(&rig.scope(), id).await.unwrap().unwrap();
    let due = stored.deletion.unwrap();
    let end = catalog.destruction(stored, due, rig.service.now()).await.unwrap().unwrap();
    assert!(end.commit(catalog).await.unwrap());
    rig.ok("DeleteCustomKeyStore", store.clone()).await;
    let gone = rig.refused("ConnectCustomKeyStore", store).await;
    assert_eq!(gone, "CustomKeyStoreNotFoundException");
}

#[tokio::test]
async fn names_uris_and_numbers_are_bounded() {
    let dir = TempDir::new().unwrap();
    let rig = rig(&dir).await;
    let first = create(&rig, "a").await;
    let refused = |body: Value| rig.refused("CreateCustomKeyStore", body);
    assert_eq!(refused(to_create("a")).await, "CustomKeyStoreNameInUseException");
    let mut same = to_create("b");
    same["XksProxyUriPath"] = json!("/a/kms/xks/v1");
    same["XksProxyUriEndpoint"] = json!("https://LOCALHOST");
    assert_eq!(refused(same).await, "XksProxyUriInUseException");
    for (member, value, code) in [
        ("XksProxyUriPath", json!("/b/kms/xks/v2"), "XksProxyInvalidConfigurationException"),
        (
            "XksProxyUriEndpoint",
            json!("https://elsewhere"),
            "XksProxyInvalidConfigurationException",
        ),
        ("XksProxyConnectivity", json!("VPC_ENDPOINT_SERVICE"), "ValidationException"),
        ("XksProxyConnectivity", json!(null), "ValidationException"),
        ("XksProxyUriPath", json!(null), "ValidationException"),
        ("XksProxyUriEndpoint", json!(null), "ValidationException"),
        ("XksProxyAuthenticationCredential", json!(null), "ValidationException"),
        ("XksProxyVpcEndpointServiceName", json!(SERVICES[0]), "ValidationException"),
        ("XksProxyVpcEndpointServiceOwner", json!("111122223333"), "ValidationException"),
        ("KeyStorePassword", json!("password"), "ValidationException"),
    ] {
        let mut body = to_create("b");
        body[member] = value;
        assert_eq!(refused(body).await, code, "{member}");
    }
    for number in 1..10 {
        create(&rig, &format!("s{number}")).await;
    }
    assert_eq!(refused(to_create("b")).await, "LimitExceededException");

    let update = |member: &str, value: Value| {
        let mut body = first.clone();
        body[member] = value;
        body
    };
    let changed = |body: Value| rig.refused("UpdateCustomKeyStore", body);
    assert_eq!(changed(first.clone()).await, "ValidationException");
    let name = update("NewCustomKeyStoreName", json!("s1"));
    assert_eq!(changed(name).await, "CustomKeyStoreNameInUseException");
    let path = update("XksProxyUriPath", json!("/s1/kms/xks/v1"));
    assert_eq!(changed(path).await, "XksProxyUriInUseException");
    rig.ok("UpdateCustomKeyStore", update("XksProxyUriPath", json!("/new/kms/xks/v1"))).await;
    rig.ok("UpdateCustomKeyStore", update("NewCustomKeyStoreName", json!("a"))).await;
    let found = rig.ok("DescribeCustomKeyStores", json!({ "CustomKeyStoreName": "a" })).await;
    let proxy = &found["CustomKeyStores"][0]["XksProxyConfiguration"];
    assert_eq!(proxy["UriPath"], "/new/kms/xks/v1");
}

#[tokio::test]
async fn ciphertexts_have_two_layers() {
    let dir = TempDir::new().unwrap();
    let rig = rig(&dir).await;
    let store = create(&rig, "a").await;
    connect(&rig, &store).await;
    let made = rig.ok("CreateKey", to_make(&store, "k")).await;
    let key = made["KeyMetadata"]["KeyId"].clone();
    let made = rig.ok("Encrypt", json!({ "KeyId": key, "Plaintext": b64("secret") })).await;
    let blob = bytes(&made["CiphertextBlob"]);
    let outer = kms_xks::Outer::parse(&blob).unwrap();
    assert!(outer.ciphertext.windows(6).all(|window| window != b"secret"));
    let decrypt = |blob: &[u8]| json!({ "KeyId": key, "CiphertextBlob": b64(blob) });
    let opened = rig.ok("Decrypt", decrypt(&blob)).await;
    assert_eq!(opened["Plaintext"], b64("secret"));

    // What the owner of the proxy has is worth nothing without the proxy.
    let inner: Vec<u8> = outer.ciphertext.iter().map(|byte| byte ^ KEY).collect();
    assert!(outer.holds(&inner));
    assert_eq!(rig.refused("Decrypt", decrypt(&inner)).await, "InvalidCiphertextException");
    let to = rig.create("SYMMETRIC_DEFAULT").await;
    let moved = json!({ "CiphertextBlob": b64(&inner), "DestinationKeyId": to });
    assert_eq!(rig.refused("ReEncrypt", moved).await, "InvalidCiphertextException");
    // Nor is a blob of an ordinary key in a second layer taken.
    let other = rig.ok("Encrypt", json!({ "KeyId": to, "Plaintext": b64("x") })).await;
    let other = bytes(&other["CiphertextBlob"]);
    let made = kms_xks::Encrypted {
        ciphertext: other.iter().map(|byte| byte ^ KEY).collect(),
        iv: vec![7; 12],
        tag: [0; 16],
        metadata: Vec::new(),
    };
    let wrapped = kms_xks::Outer::write(&other, &made).unwrap();
    let body = json!({ "CiphertextBlob": STANDARD.encode(wrapped) });
    assert_eq!(rig.refused("Decrypt", body).await, "InvalidCiphertextException");

    let mut dry = json!({ "KeyId": key, "Plaintext": b64("x"), "DryRun": true });
    assert_eq!(rig.refused("Encrypt", dry.clone()).await, "DryRunOperationException");
    dry = decrypt(&blob);
    dry["DryRun"] = json!(true);
    assert_eq!(rig.refused("Decrypt", dry).await, "DryRunOperationException");
}

/// A store whose proxy is behind a service.
fn behind(name: &str, service: &str, host: &str) -> Value {
    let mut body = to_create(name);
    body["XksProxyConnectivity"] = json!("VPC_ENDPOINT_SERVICE");
    body["XksProxyUriEndpoint"] = json!(format!("https://{host}"));
    body["XksProxyVpcEndpointServiceName"] = json!(service);
    body
}

#[tokio::test]
async fn services_and_endpoints_are_of_one_store() {
    let dir = TempDir::new().unwrap();
    let rig = rig(&dir).await;
    let refused = |body: Value| rig.refused("CreateCustomKeyStore", body);
    let unknown = "com.amazonaws.vpce.us-east-1.vpce-svc-0a5";
    let elsewhere = "com.amazonaws.vpce.eu-west-1.vpce-svc-0a1";
    for (service, host, code) in [
        (unknown, "localhost", "XksProxyVpcEndpointServiceNotFoundException"),
        (elsewhere, "localhost", "XksProxyVpcEndpointServiceNotFoundException"),
        (SERVICES[3], "theirs.example", "XksProxyVpcEndpointServiceNotFoundException"),
        (SERVICES[0], "other.example", "XksProxyVpcEndpointServiceInvalidConfigurationException"),
        ("vpce-svc-0a1", "localhost", "ValidationException"),
    ] {
        assert_eq!(refused(behind("a", service, host)).await, code, "{service} {host}");
    }
    let mut owned = behind("a", SERVICES[3], "theirs.example");
    owned["XksProxyVpcEndpointServiceOwner"] = json!("444455556666");
    let theirs = rig.ok("CreateCustomKeyStore", owned).await;
    // Nobody has connected to it yet: there is no certificate for this name.
    rig.ok("ConnectCustomKeyStore", theirs.clone()).await;
    while state(&rig, &theirs).await == "CONNECTING" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = rig.ok("DescribeCustomKeyStores", theirs).await;
    let found = &found["CustomKeyStores"][0];
    assert_eq!(found["ConnectionErrorCode"], "XKS_PROXY_INVALID_TLS_CONFIGURATION", "{found}");

    rig.ok("CreateCustomKeyStore", behind("b", SERVICES[0], "LOCALHOST")).await;
    let mut other = behind("c", SERVICES[0], "localhost");
    assert_eq!(refused(other.clone()).await, "XksProxyVpcEndpointServiceInUseException");
    other["XksProxyUriPath"] = json!("/b/kms/xks/v1");
    assert_eq!(refused(other).await, "XksProxyUriInUseException");
    let in_use = "XksProxyUriEndpointInUseException";
    assert_eq!(refused(behind("c", SERVICES[1], "localhost")).await, in_use);
    assert_eq!(refused(to_create("c")).await, in_use);
    let wrong_path = json!("/c/kms/xks/v2");
    let mut other = behind("c", SERVICES[2], "other.example");
    other["XksProxyUriPath"] = wrong_path;
    assert_eq!(refused(other).await, "XksProxyInvalidConfigurationException");
}

#[tokio::test]
async fn connectivity_changes_with_its_endpoint_only() {
    let dir = TempDir::new().unwrap();
    let rig = rig(&dir).await;
    let store = create(&rig, "a").await;
    let update = |more: Value| {
        let mut body = store.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let refused = |more: Value| rig.refused("UpdateCustomKeyStore", update(more));
    let (service, endpoint) = (SERVICES[0], "https://localhost");
    for more in [
        json!({ "XksProxyVpcEndpointServiceName": service }),
        json!({ "XksProxyVpcEndpointServiceOwner": "111122223333" }),
        json!({ "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE" }),
        json!({ "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE", "XksProxyUriEndpoint": endpoint }),
        json!({
            "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE", "XksProxyVpcEndpointServiceName": service,
        }),
    ] {
        assert_eq!(refused(more.clone()).await, "ValidationException", "{more}");
    }
    let to_service = json!({
        "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE", "XksProxyUriEndpoint": endpoint,
        "XksProxyVpcEndpointServiceName": service,
    });
    rig.ok("UpdateCustomKeyStore", update(to_service)).await;
    let configuration = async || {
        let found = rig.ok("DescribeCustomKeyStores", store.clone()).await;
        found["CustomKeyStores"][0]["XksProxyConfiguration"].clone()
    };
    let found = configuration().await;
    assert_eq!(found["Connectivity"], "VPC_ENDPOINT_SERVICE");
    assert_eq!(found["VpcEndpointServiceName"], service);
    assert!(found["VpcEndpointServiceOwner"].is_null());

    let owner = json!({ "XksProxyVpcEndpointServiceOwner": "111122223333" });
    rig.ok("UpdateCustomKeyStore", update(owner)).await;
    let next = json!({ "XksProxyVpcEndpointServiceName": SERVICES[1] });
    rig.ok("UpdateCustomKeyStore", update(next)).await;
    let found = configuration().await;
    assert_eq!(found["VpcEndpointServiceName"], SERVICES[1]);
    assert_eq!(found["VpcEndpointServiceOwner"], "111122223333");
    let elsewhere = json!({ "XksProxyVpcEndpointServiceName": SERVICES[2] });
    let code = "XksProxyVpcEndpointServiceInvalidConfigurationException";
    assert_eq!(refused(elsewhere).await, code, "it has another host");

    connect(&rig, &store).await;
    for more in [
        json!({ "XksProxyVpcEndpointServiceName": service }),
        json!({ "XksProxyVpcEndpointServiceOwner": "111122223333" }),
        json!({ "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE" }),
    ] {
        assert_eq!(refused(more).await, "CustomKeyStoreInvalidStateException");
    }
    rig.ok("DisconnectCustomKeyStore", store.clone()).await;
    let public = json!({ "XksProxyConnectivity": "PUBLIC_ENDPOINT" });
    assert_eq!(refused(public).await, "ValidationException");
    let public =
        json!({ "XksProxyConnectivity": "PUBLIC_ENDPOINT", "XksProxyUriEndpoint": endpoint });
    rig.ok("UpdateCustomKeyStore", update(public)).await;
    let found = configuration().await;
    assert_eq!(found["Connectivity"], "PUBLIC_ENDPOINT");
    assert!(
        found["VpcEndpointServiceName"].is_null() && found["VpcEndpointServiceOwner"].is_null()
    );
    connect(&rig, &store).await;
}
