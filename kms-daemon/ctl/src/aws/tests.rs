//! Precedence, against the documented order.

use std::fs;
use std::path::Path;

use super::*;

const CONFIG: &str = "\
[default]
region = of-default
endpoint_url = http://default-profile
[profile global]
region = of-global
ca_bundle = /global.pem
endpoint_url = http://global-profile
[profile service]
services = local
endpoint_url = http://beside-the-service
[profile only-service]
services = local
[profile other-service]
services = others
endpoint_url = http://for-all-others
[profile apart]
services = apart
endpoint_url = http://beside-both
[profile dangling]
services = nowhere
[profile ignoring]
services = local
endpoint_url = http://ignored
ignore_configured_endpoint_urls = true
[profile keyed]
aws_access_key_id = OFCONFIG
aws_secret_access_key = of-config
[services local]
kms =
  endpoint_url = http://kms-of-services
[services apart]
kms =
  endpoint_url = http://kms-apart
iam =
  endpoint_url = http://iam-apart
[services others]
s3 =
  endpoint_url = http://s3-of-services
";
const CREDENTIALS: &str = "\
[default]
aws_access_key_id = OFDEFAULT
aws_secret_access_key = of-default
[global]
aws_access_key_id = OFGLOBAL
aws_secret_access_key = of-global
aws_session_token = token
";

fn aws(dir: &Path, flag: Option<&str>, variables: &[(&str, &str)]) -> Aws {
    fs::create_dir_all(dir.join(".aws")).unwrap();
    fs::write(dir.join(".aws/config"), CONFIG).unwrap();
    fs::write(dir.join(".aws/credentials"), CREDENTIALS).unwrap();
    let home = [("HOME", dir.to_str().unwrap())];
    let environment = home.iter().chain(variables).copied().collect();
    Aws::load(environment, flag).unwrap()
}

#[test]
fn endpoints_in_the_documented_order() {
    let dir = tempfile::tempdir().unwrap();
    let service = ("AWS_ENDPOINT_URL_KMS", "http://kms-of-environment");
    let global = ("AWS_ENDPOINT_URL", "http://all-of-environment");
    let ignore = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    let never = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false");
    let profile = |name| ("AWS_PROFILE", name);
    for (flag, variables, expected) in [
        // 1. The service's variable, whatever else is there.
        (None, &[service, global, profile("service")][..], Some("http://kms-of-environment")),
        // 2. The variable for all services, before any file.
        (None, &[global, profile("service")], Some("http://all-of-environment")),
        (
            None,
            &[("AWS_ENDPOINT_URL_IAM", "http://iam"), global],
            Some("http://all-of-environment"),
        ),
        // An empty value counts as absent.
        (None, &[("AWS_ENDPOINT_URL_KMS", ""), global], Some("http://all-of-environment")),
        // 3. The service of the services section, before the profile's.
        (None, &[profile("service")], Some("http://kms-of-services")),
        (Some("only-service"), &[], Some("http://kms-of-services")),
        // 4. The profile's, also when its services are others.
        (None, &[profile("global")], Some("http://global-profile")),
        (None, &[profile("other-service")], Some("http://for-all-others")),
        (None, &[], Some("http://default-profile")),
        // The flag chooses the profile before the environment does.
        (Some("global"), &[profile("service")], Some("http://global-profile")),
        (
            None,
            &[("AWS_DEFAULT_PROFILE", "global"), profile("service")],
            Some("http://global-profile"),
        ),
        // A profile without an endpoint does not have that of the default one.
        (Some("keyed"), &[], None),
        // What is configured is ignored, in environment and files.
        (None, &[ignore, service, global, profile("service")], None),
        (None, &[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "TRUE"), service], None),
        (Some("ignoring"), &[service, global], None),
        (Some("ignoring"), &[never], Some("http://kms-of-services")),
        (None, &[never, service], Some("http://kms-of-environment")),
    ] {
        let found = aws(dir.path(), flag, variables).endpoint(Service::Kms).unwrap();
        let found = found.map(|found| found.value);
        assert_eq!(found.as_deref(), expected, "{flag:?} {variables:?}");
    }
    let dangling = aws(dir.path(), Some("dangling"), &[]).endpoint(Service::Kms).unwrap_err();
    assert!(dangling.0.contains("[services nowhere]"), "{dangling}");
    // The environment decides before that is known, as for the AWS CLI.
    assert!(aws(dir.path(), Some("dangling"), &[global]).endpoint(Service::Kms).is_ok());
}

/// IAM is asked where the AWS CLI asks it; where that would ask AWS, the daemon that KMS is at.
#[test]
fn identities_have_an_endpoint_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let iam = ("AWS_ENDPOINT_URL_IAM", "http://iam-of-environment");
    let kms = ("AWS_ENDPOINT_URL_KMS", "http://kms-of-environment");
    let global = ("AWS_ENDPOINT_URL", "http://all-of-environment");
    let ignore = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    for (flag, variables, expected) in [
        (Some("keyed"), &[iam, kms, global][..], Some("http://iam-of-environment")),
        (Some("apart"), &[iam], Some("http://iam-of-environment")),
        (Some("keyed"), &[kms, global], Some("http://all-of-environment")),
        (Some("apart"), &[kms], Some("http://iam-apart")),
        (Some("apart"), &[], Some("http://iam-apart")),
        // Of a section that is about KMS alone, and of no configuration for IAM at all.
        (Some("service"), &[], Some("http://beside-the-service")),
        (Some("only-service"), &[], Some("http://kms-of-services")),
        (Some("keyed"), &[kms], Some("http://kms-of-environment")),
        (Some("keyed"), &[], None),
        (Some("keyed"), &[ignore, iam, kms], None),
    ] {
        let found = aws(dir.path(), flag, variables).endpoint(Service::Iam).unwrap();
        let found = found.map(|found| found.value);
        assert_eq!(found.as_deref(), expected, "{flag:?} {variables:?}");
    }
    // And KMS where it was.
    let found = aws(dir.path(), Some("apart"), &[iam]).endpoint(Service::Kms).unwrap();
    assert_eq!(found.unwrap().value, "http://kms-apart");
}

#[test]
fn it_is_told_where_a_value_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let origin = |flag, variables: &[(&str, &str)]| {
        aws(dir.path(), flag, variables).endpoint(Service::Kms).unwrap().unwrap().origin
    };
    assert_eq!(origin(None, &[("AWS_ENDPOINT_URL", "http://x")]), "AWS_ENDPOINT_URL");
    let config = dir.path().join(".aws/config");
    let expected = format!("{}, [services local]", config.display());
    assert_eq!(origin(Some("service"), &[]), expected);
    assert_eq!(origin(Some("global"), &[]), format!("{}, profile global", config.display()));
}

#[test]
fn region_and_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let region = |flag, variables: &[(&str, &str)]| {
        aws(dir.path(), flag, variables).region().map(|found| found.value)
    };
    let both = [("AWS_DEFAULT_REGION", "second"), ("AWS_REGION", "first")];
    assert_eq!(region(Some("global"), &both).as_deref(), Some("first"));
    assert_eq!(region(Some("global"), &both[..1]).as_deref(), Some("second"));
    assert_eq!(region(Some("global"), &[]).as_deref(), Some("of-global"));
    assert_eq!(region(None, &[]).as_deref(), Some("of-default"));
    assert_eq!(region(Some("service"), &[]), None);
    let bundle = |variables: &[(&str, &str)]| {
        aws(dir.path(), Some("global"), variables).ca_bundle().map(|found| found.value)
    };
    assert_eq!(bundle(&[("AWS_CA_BUNDLE", "/x.pem")]), Some(PathBuf::from("/x.pem")));
    assert_eq!(bundle(&[]), Some(PathBuf::from("/global.pem")));
    assert_eq!(aws(dir.path(), None, &[]).ca_bundle(), None);
}

#[test]
fn files_that_the_environment_names() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    fs::write(&other, "[default]\nendpoint_url = http://other\nregion = other\n").unwrap();
    let found = aws(dir.path(), None, &[("AWS_CONFIG_FILE", other.to_str().unwrap())]);
    assert_eq!(found.endpoint(Service::Kms).unwrap().unwrap().value, "http://other");
    // The credentials file may have settings as well, and comes first.
    let found = aws(dir.path(), None, &[("AWS_SHARED_CREDENTIALS_FILE", "~/other")]);
    assert_eq!(found.region().unwrap().value, "other");
    let missing = aws(dir.path(), None, &[("AWS_CONFIG_FILE", "/nowhere/at-all")]);
    assert!(missing.endpoint(Service::Kms).unwrap().is_none());
    assert!(
        Aws::load(Environment::default(), None).unwrap().endpoint(Service::Kms).unwrap().is_none()
    );
}

#[test]
fn access_keys() {
    let dir = tempfile::tempdir().unwrap();
    let variables = [
        ("AWS_ACCESS_KEY_ID", "OFENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_PROFILE", "global"),
    ];
    let id = |key: Option<AccessKey>| key.map(|key| key.id);
    let found = aws(dir.path(), None, &variables);
    assert_eq!(id(found.key_of_environment()).as_deref(), Some("OFENVIRONMENT"));
    let flag = aws(dir.path(), Some("global"), &variables);
    assert_eq!(id(flag.key_of_environment()), None);
    let key = flag.key_of_profile().unwrap();
    assert_eq!((key.id.as_str(), key.secret.as_str()), ("OFGLOBAL", "of-global"));
    assert_eq!(key.token.as_ref().map(|token| token.as_str()), Some("token"));
    let of_config = aws(dir.path(), Some("keyed"), &[]);
    assert_eq!(id(of_config.key_of_profile()).as_deref(), Some("OFCONFIG"));
    assert_eq!(id(aws(dir.path(), Some("service"), &[]).key_of_profile()), None);
    assert!(aws(dir.path(), Some("service"), &[]).has_profile());
    assert!(!aws(dir.path(), Some("none"), &[]).has_profile());
}
