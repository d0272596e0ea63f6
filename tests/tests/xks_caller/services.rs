//! Proxies behind VPC endpoint services: the operator says which host a name stands for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_tests::xks::{Rig, Store};
use serde_json::{Value, json};

use super::rig::{Caller, text, to_create, to_decrypt, to_encrypt};
use super::{SLOW, credential};

const SERVICE: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0";
/// Another one with the same host.
const TWIN: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef1";
/// One with another host, of another account.
const THEIRS: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef2";
/// The private DNS name, which nothing resolves.
const HOST: &str = "xks.internal.test";

/// Has a proxy serve over TLS, as `localhost` and as [`HOST`].
fn over_tls(theirs: &mut Rig) -> String {
    let address = theirs.address().to_owned();
    let arguments = ["--tls-name", HOST, "--rsa-stock", "0,0,0", "--xks-listen", &address];
    theirs.daemon.stop();
    theirs.daemon.replace_arguments(&arguments.map(str::to_owned));
    theirs.daemon.restart();
    address
}

/// Services by which a caller reaches the proxy at an address.
fn services(address: &str) -> Vec<String> {
    [
        format!("{SERVICE}={HOST}={address}"),
        format!("{TWIN}={HOST}={address}"),
        format!("{THEIRS}@111122223333=theirs.internal.test={address}"),
    ]
    .into_iter()
    .flat_map(|service| ["--xks-proxy-vpc".to_owned(), service])
    .collect()
}

fn behind(name: &str, service: &str, store: &Store) -> Value {
    let mut body = to_create(name, store);
    body["XksProxyConnectivity"] = json!("VPC_ENDPOINT_SERVICE");
    body["XksProxyUriEndpoint"] = json!(format!("https://{HOST}"));
    body["XksProxyVpcEndpointServiceName"] = json!(service);
    body
}

#[test]
fn proxies_behind_endpoint_services() {
    let mut theirs = Rig::start();
    let (store, external) = theirs.with_key("partner");
    let other = theirs.store("other", &[]);
    let address = over_tls(&mut theirs);
    let trusted = theirs.daemon.data().join("tls/certificate.pem");
    let trusted = trusted.to_str().expect("UTF-8");
    let services = services(&address);
    let more: Vec<&str> = services.iter().map(String::as_str).chain(SLOW).collect();
    let mut caller = Caller::start(&address, trusted, &more);

    for (service, host, code) in [
        ("com.amazonaws.vpce.us-east-1.vpce-svc-0", HOST, "NotFound"),
        (THEIRS, "theirs.internal.test", "NotFound"),
        (SERVICE, "localhost", "InvalidConfiguration"),
    ] {
        let mut body = behind("private", service, &store);
        body["XksProxyUriEndpoint"] = json!(format!("https://{host}"));
        let refused = caller.refused("CreateCustomKeyStore", &body);
        assert_eq!(refused, format!("XksProxyVpcEndpointService{code}Exception"), "{service}");
    }
    let mut public = to_create("private", &store);
    public["XksProxyUriEndpoint"] = json!(format!("https://{HOST}"));
    let refused = caller.refused("CreateCustomKeyStore", &public);
    assert_eq!(refused, "XksProxyInvalidConfigurationException", "it is a name of services only");

    // The proxy is called when the store is connected, and not before.
    theirs.daemon.kill();
    let made = caller.ok("CreateCustomKeyStore", &behind("private", SERVICE, &store));
    let id = text(&made["CustomKeyStoreId"]);
    let named = json!({ "CustomKeyStoreId": id });
    let found = &caller.described(&id)["XksProxyConfiguration"];
    assert_eq!(found["Connectivity"], "VPC_ENDPOINT_SERVICE");
    assert_eq!(found["UriEndpoint"], format!("https://{HOST}"));
    assert_eq!(found["VpcEndpointServiceName"], SERVICE);
    assert_eq!(caller.connect(&id)["ConnectionErrorCode"], "XKS_PROXY_NOT_REACHABLE");
    theirs.daemon.restart();
    caller.ok("DisconnectCustomKeyStore", &named);
    assert_eq!(caller.connect(&id)["ConnectionState"], "CONNECTED");
    let key = text(&caller.key(&id, &external)["KeyId"]);
    let blob = caller.ok("Encrypt", &to_encrypt(&key, b"secret"))["CiphertextBlob"].take();
    let assert_opens = |caller: &Caller| {
        let opened = caller.ok("Decrypt", &to_decrypt(&blob));
        assert_eq!(opened["Plaintext"], BASE64.encode("secret"));
    };
    assert_opens(&caller);

    // A service and its host are of one store.
    let refused = |body: &Value| caller.refused("CreateCustomKeyStore", body);
    let in_use = "XksProxyVpcEndpointServiceInUseException";
    assert_eq!(refused(&behind("other", SERVICE, &other)), in_use);
    let in_use = "XksProxyUriEndpointInUseException";
    assert_eq!(refused(&behind("other", TWIN, &other)), in_use);

    // A store that is connected keeps its service, and a credential that the proxy does not take changes nothing.
    let update = |more: Value| {
        let mut body = named.clone();
        body.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        body
    };
    let to_twin = update(json!({ "XksProxyVpcEndpointServiceName": TWIN }));
    let refused = |body: &Value| caller.refused("UpdateCustomKeyStore", body);
    assert_eq!(refused(&to_twin), "CustomKeyStoreInvalidStateException");
    let wrong = update(json!({ "XksProxyAuthenticationCredential": credential(&other) }));
    assert_eq!(refused(&wrong), "XksProxyInvalidConfigurationException");
    assert_opens(&caller);

    // To a public endpoint, where the proxy is called at once, and back.
    caller.ok("DisconnectCustomKeyStore", &named);
    caller.ok("UpdateCustomKeyStore", &to_twin);
    let public = json!({
        "XksProxyConnectivity": "PUBLIC_ENDPOINT", "XksProxyUriEndpoint": "https://localhost",
    });
    theirs.daemon.kill();
    let unreachable = caller.refused("UpdateCustomKeyStore", &update(public.clone()));
    assert_eq!(unreachable, "XksProxyUriUnreachableException");
    theirs.daemon.restart();
    caller.ok("UpdateCustomKeyStore", &update(public));
    assert_eq!(caller.described(&id)["XksProxyConfiguration"]["Connectivity"], "PUBLIC_ENDPOINT");
    assert_eq!(caller.connect(&id)["ConnectionState"], "CONNECTED");
    assert_opens(&caller);
    caller.ok("DisconnectCustomKeyStore", &named);
    let private = json!({
        "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
        "XksProxyUriEndpoint": format!("https://{HOST}"),
        "XksProxyVpcEndpointServiceName": SERVICE,
    });
    caller.ok("UpdateCustomKeyStore", &update(private));
    assert_eq!(caller.connect(&id)["ConnectionState"], "CONNECTED");
    assert_opens(&caller);

    // The operator takes the service away, and gives it another host.
    let renamed = format!("{SERVICE}=other.internal.test={address}");
    for (services, error) in [
        (vec![], "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND"),
        (vec!["--xks-proxy-vpc", &renamed], "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION"),
    ] {
        let localhost = format!("localhost={address}");
        let hosts = ["--xks-proxy-allow", &localhost, "--xks-proxy-ca", trusted];
        let arguments = [&hosts[..], &["--rsa-stock", "0,0,0"], &SLOW, &services].concat();
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        caller.daemon.stop();
        caller.daemon.replace_arguments(&arguments);
        caller.daemon.restart();
        assert_eq!(caller.refused("Decrypt", &to_decrypt(&blob)), "KMSInvalidStateException");
        caller.ok("DisconnectCustomKeyStore", &named);
        assert_eq!(caller.connect(&id)["ConnectionErrorCode"], error);
    }
}
