//! Certificates over time: made, kept, renewed, replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};

use super::own::{LIFETIME, Made, Own, Why};
use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Whether a client that trusts the file as it was in `trusted` takes what is there now.
fn check(dir: &Path, trusted: &[u8], name: &str, at: SystemTime) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let served = chain(&dir.join("tls/served.pem")).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = UnixTime::since_unix_epoch(since);
    verifier.verify_server_cert(&served[0], &served[1..], &name, &[], now).map(drop)
}

fn trusted(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("tls/certificate.pem")).unwrap()
}

fn served(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("tls/served.pem")).unwrap()
}

#[test]
fn a_certificate_is_made_once_for_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let own = Own::new(dir.path(), names(&["192.0.2.1", "kms.example"]));
    assert_eq!(own.ensure(now).unwrap(), Made::New(Why::Missing));
    for key in ["key.pem", "ca-key.pem"] {
        let mode = fs::metadata(dir.path().join("tls").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let first = trusted(dir.path());
    for name in ["localhost", "127.0.0.1", "::1", "192.0.2.1", "kms.example"] {
        check(dir.path(), &first, name, now).unwrap();
    }
    for name in ["192.0.2.2", "other.example", "x.kms.example"] {
        let refused = check(dir.path(), &first, name, now).unwrap_err();
        assert!(format!("{refused:?}").contains("NotValidForName"), "{name}: {refused:?}");
    }
    let made = served(dir.path());
    assert_eq!(own.ensure(now).unwrap(), Made::Kept);
    assert_eq!((trusted(dir.path()), served(dir.path())), (first, made));
    // The same names in another order are the same.
    let same = Own::new(dir.path(), names(&["kms.example", "192.0.2.1", "localhost"]));
    assert_eq!(same.ensure(now).unwrap(), Made::Kept);
}

#[test]
fn its_dates_are_those_that_clients_take() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    Own::new(dir.path(), []).ensure(now).unwrap();
    let read =
        |name: &str| x509::read(&chain(&dir.path().join("tls").join(name)).unwrap()[0]).unwrap();
    let (leaf, authority) = (read("served.pem"), read("certificate.pem"));
    let lifetime = leaf.not_after.duration_since(leaf.not_before).unwrap();
    assert!(lifetime <= 398 * DAY, "browsers refuse what is longer: {lifetime:?}");
    assert!(leaf.not_before < now && leaf.not_before > now - DAY);
    assert!(leaf.not_after > now + 390 * DAY);
    assert!(authority.not_after < now + 3651 * DAY);
}

#[test]
fn a_renewal_needs_nothing_of_clients() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let own = Own::new(dir.path(), names(&["kms.example"]));
    own.ensure(now).unwrap();
    let (first, served) = (trusted(dir.path()), served(dir.path()));
    assert_eq!(own.ensure(now + LIFETIME - 31 * DAY).unwrap(), Made::Kept);
    let late = now + LIFETIME + DAY;
    let ended = check(dir.path(), &first, "kms.example", late).unwrap_err();
    assert!(format!("{ended:?}").contains("Expired"), "{ended:?}");
    assert_eq!(own.ensure(now + LIFETIME - 29 * DAY).unwrap(), Made::Renewed);
    assert_eq!(trusted(dir.path()), first);
    assert_ne!(self::served(dir.path()), served);
    check(dir.path(), &first, "kms.example", late).unwrap();
    // For nine years, then clients need the file of the next authority.
    let mut at = now;
    let mut made = Made::Kept;
    while !matches!(made, Made::New(_)) {
        at += 360 * DAY;
        made = own.ensure(at).unwrap();
    }
    assert_eq!(made, Made::New(Why::Authority));
    assert!(at > now + 3200 * DAY);
}

#[test]
fn other_names_make_another_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    Own::new(dir.path(), names(&["a.example"])).ensure(now).unwrap();
    let first = trusted(dir.path());
    let other = Own::new(dir.path(), names(&["b.example"]));
    assert_eq!(other.ensure(now).unwrap(), Made::New(Why::Names));
    check(dir.path(), &trusted(dir.path()), "b.example", now).unwrap();
    let old_client = check(dir.path(), &first, "b.example", now).unwrap_err();
    assert!(matches!(old_client, rustls::Error::InvalidCertificate(_)), "{old_client:?}");
}

#[test]
fn names_with_much_below_them_are_known() {
    for wide in ["example", "example.com", "kms.example"] {
        assert!(is_wide(wide), "{wide}");
    }
    for narrow in ["kms.example.com", "localhost", "192.0.2.1", "2001:db8::1", "a.b.example.com"] {
        assert!(!is_wide(narrow), "{narrow}");
    }
}

/// Whoever has the authority's key cannot pose as AWS towards clients that trust the file.
#[test]
fn its_authority_vouches_for_no_other_names() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    Own::new(dir.path(), names(&["kms.example"])).ensure(now).unwrap();
    let trusted = trusted(dir.path());
    let stolen = fs::read_to_string(dir.path().join("tls/ca-key.pem")).unwrap();
    let stolen = KeyPair::from_pem(&stolen).unwrap();
    let path = dir.path().join("tls/served.pem");
    // A certificate of the attacker's by the very issuer, which the right one names.
    let id = kms_base::hex::encode(
        &<sha2::Sha256 as sha2::Digest>::digest(rcgen::PublicKeyData::subject_public_key_info(
            &stolen,
        ))[..4],
    );
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(DnType::CommonName, format!("Strongroom kmsd authority {id}"));
    let issuer = rcgen::Issuer::new(issuer, &stolen);
    let key = KeyPair::generate().unwrap();
    let forge = |name: &str| {
        let forged = CertificateParams::new(names(&[name])).unwrap();
        let pem = forged.signed_by(&key, &issuer).unwrap().pem();
        fs::write(&path, pem).unwrap();
        check(dir.path(), &trusted, name, now)
    };
    forge("kms.example").unwrap(); // the forgery is good in all but the name
    // A constraint is for what is below its name, too: the threat model says so.
    forge("evil.kms.example").unwrap();
    for name in ["kms.us-east-1.amazonaws.com", "192.0.2.9", "evilkms.example", "example"] {
        let refused = forge(name).unwrap_err();
        assert!(format!("{refused:?}").contains("NameConstraint"), "{name}: {refused:?}");
    }
}

#[test]
fn what_does_not_fit_is_made_anew_and_what_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let own = Own::new(dir.path(), []);
    own.ensure(now).unwrap();
    let tls = dir.path().join("tls");
    // A crash between the files leaves a key of another certificate.
    let other = KeyPair::generate().unwrap().serialize_pem();
    fs::write(tls.join("key.pem"), &other).unwrap();
    assert_eq!(own.ensure(now).unwrap(), Made::Renewed);
    load(&own.pair()).unwrap();
    fs::write(tls.join("ca-key.pem"), &other).unwrap();
    assert_eq!(own.ensure(now).unwrap(), Made::New(Why::Broken));
    for missing in ["ca-key.pem", "served.pem"] {
        fs::remove_file(tls.join(missing)).unwrap();
        assert_eq!(own.ensure(now).unwrap(), Made::New(Why::Broken), "{missing}");
    }
    fs::remove_file(tls.join("key.pem")).unwrap();
    assert_eq!(own.ensure(now).unwrap(), Made::Renewed);
    check(dir.path(), &trusted(dir.path()), "localhost", now).unwrap();
    // Those of earlier versions: without an end, without an authority.
    fs::remove_dir_all(&tls).unwrap();
    super::own(&tls, names(&["localhost"]), "Strongroom kmsd").unwrap();
    assert_eq!(own.ensure(now).unwrap(), Made::New(Why::Authority));
    // Somebody's own, put there by hand.
    fs::remove_dir_all(&tls).unwrap();
    super::own(&tls, names(&["localhost"]), "my own").unwrap();
    let mine = fs::read(tls.join("key.pem")).unwrap();
    let refused = own.ensure(now).unwrap_err().to_string();
    assert!(refused.contains("--tls-cert"), "{refused}");
    assert_eq!(fs::read(tls.join("key.pem")).unwrap(), mine);
}

#[test]
fn a_broken_file_leaves_what_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let pair = |name: &str| {
        let (certificate, key) =
            super::own(&dir.path().join(name), names(&["localhost"]), name).unwrap();
        (fs::read(certificate).unwrap(), fs::read(key).unwrap())
    };
    let ((first, first_key), (second, second_key)) = (pair("first"), pair("second"));
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    let put = |c: &[u8], k: &[u8]| {
        fs::write(&certificate, c).unwrap();
        fs::write(&key, k).unwrap();
    };
    put(&first, &first_key);
    let now = SystemTime::now();
    let served = Served::given(certificate.clone(), key.clone()).unwrap();
    let shown = || served.now().key.cert[0].to_vec();
    let der = |pem: &[u8]| CertificateDer::from_pem_slice(pem).unwrap().to_vec();
    for (c, k) in [(&second, &first_key), (&first, &second_key), (&vec![], &first_key)] {
        put(c, k);
        let refused = served.reload(now).unwrap_err().to_string();
        assert!(refused.contains("c.pem"), "{refused}");
        assert_eq!(shown(), der(&first));
    }
    fs::remove_file(&certificate).unwrap();
    assert!(served.reload(now).unwrap_err().to_string().contains("cannot access"));
    put(&second, &second_key);
    served.reload(now).unwrap();
    assert_eq!(shown(), der(&second));
    assert!(!served.renew_if_due(now + 3650 * DAY).unwrap(), "given ones are not ours to renew");
}

#[test]
fn an_own_certificate_is_renewed_while_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let served = Served::own(dir.path(), names(&["kms.example"]), now).unwrap();
    assert_eq!(served.own_certificate().unwrap(), dir.path().join("tls/certificate.pem"));
    let (first, file) = (served.now().key.cert[0].to_vec(), trusted(dir.path()));
    assert!(!served.renew_if_due(now + 300 * DAY).unwrap());
    assert_eq!(served.now().key.cert[0].to_vec(), first);
    assert!(served.renew_if_due(now + 370 * DAY).unwrap());
    assert_ne!(served.now().key.cert[0].to_vec(), first);
    assert!(served.not_after().unwrap() > now + 700 * DAY);
    check(dir.path(), &file, "kms.example", now + 500 * DAY).unwrap();
}

#[test]
fn wrong_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let own = Own::new(dir.path(), []);
    own.ensure(SystemTime::now()).unwrap();
    let Pair { certificate, key } = own.pair();
    let swapped = Served::given(key.clone(), certificate).unwrap_err().to_string();
    assert!(swapped.contains("key.pem holds no certificate"), "{swapped}");
    let missing = Served::given(dir.path().join("none"), key).unwrap_err().to_string();
    assert!(missing.contains("cannot access"), "{missing}");
    assert!(matches!(
        check(dir.path(), &trusted(dir.path()), "localhost", SystemTime::now() + 3 * LIFETIME),
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
    ));
}
