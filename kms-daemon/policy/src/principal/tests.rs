use super::*;

const ACCOUNT: &str = "111122223333";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const USER: &str = "arn:aws:iam::111122223333:user/a/ana";
const ROLE: &str = "arn:aws:iam::111122223333:role/b/reader";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/reader/s1";
const FEDERATED: &str = "arn:aws:sts::111122223333:federated-user/bob";
const AROA: &str = "AROA0123456789ABCDEF";
const SAML: &str = "arn:aws:iam::111122223333:saml-provider/corp";

fn list(json: &str) -> Result<Box<[NamedPrincipal]>, Fault> {
    parse(Json::parse(json).unwrap()).map_err(|error| error.fault)
}

fn ways(json: &str, caller: &Caller<'_>) -> Ways {
    Principals::Any(list(json).unwrap()).ways(caller, false)
}

#[test]
fn principals_are_matched_exactly() {
    let root = Caller::root(ROOT).unwrap();
    let user = Caller::user(USER).unwrap();
    let session = Caller::role_session(SESSION, ROLE).unwrap().with_unique_id(AROA);
    let federated = Caller::federated_user(FEDERATED).unwrap();
    let service = Caller::service(&["logs.amazonaws.com", "logs.eu-west-1.amazonaws.com"]).unwrap();
    let web = Caller::web_identity("accounts.example.com");
    let saml = session.with_provider(SAML);
    let aws = |name: &str| format!(r#"{{"AWS":["{name}"]}}"#);
    let (none, anyone, itself) = (Ways::NONE, Ways::ANYONE, Ways::ITSELF);
    for (json, caller, expected) in [
        ("\"*\"".to_owned(), user, anyone),
        (aws("*"), session, anyone),
        (aws("*"), service, anyone),
        (aws(ACCOUNT), root, Ways::ACCOUNT),
        (aws(ROOT), root, Ways::ACCOUNT),
        (aws(ROOT), user, Ways::ACCOUNT),
        (aws(ROOT), session, Ways::ACCOUNT),
        (aws(ROOT), federated, Ways::ACCOUNT),
        (aws(ROOT), service, none),
        (aws(&ROOT.replace("aws", "aws-cn")), user, none),
        (aws("999999999999"), user, none),
        (aws(USER), user, itself),
        (aws(USER), root, none),
        (aws("arn:aws:iam::111122223333:user/ana"), user, none),
        (aws("arn:aws:iam::111122223333:user/a/Ana"), user, none),
        (aws(ROLE), session, Ways::ROLE),
        (aws("arn:aws:iam::111122223333:role/reader"), session, none),
        (aws(SESSION), session, itself),
        (aws(&SESSION.replace("s1", "s2")), session, none),
        (aws(AROA), session, Ways::ROLE),
        (aws("AIDA0123456789ABCDEF"), user, none),
        (aws("AIDA0123456789ABCDEF"), user.with_unique_id("AIDA0123456789ABCDEF"), itself),
        (aws(FEDERATED), federated, itself),
        (aws(&FEDERATED.replace("bob", "eve")), federated, none),
        (r#"{"Service":"logs.amazonaws.com"}"#.to_owned(), service, itself),
        (r#"{"Service":"logs.eu-west-1.amazonaws.com"}"#.to_owned(), service, itself),
        (r#"{"Service":"s3.amazonaws.com"}"#.to_owned(), service, none),
        (r#"{"Service":"logs.amazonaws.com"}"#.to_owned(), user, none),
        (r#"{"Federated":"accounts.example.com"}"#.to_owned(), web, itself),
        (format!(r#"{{"Federated":"{SAML}"}}"#), saml, Ways::ROLE),
        (format!(r#"{{"Federated":"{SAML}"}}"#), session, none),
        (
            format!(r#"{{"Service":"s3.amazonaws.com","AWS":["{USER}","{ACCOUNT}"]}}"#),
            user,
            itself.and(Ways::ACCOUNT),
        ),
    ] {
        assert_eq!(ways(&json, &caller), expected, "{json} {caller:?}");
    }
}

#[test]
fn account_and_identity_have_to_be_excepted() {
    let aws = |names: &[&str]| format!(r#"{{"AWS":["{}"]}}"#, names.join("\",\""));
    let user = Caller::user(USER).unwrap();
    let root = Caller::root(ROOT).unwrap();
    let session = Caller::role_session(SESSION, ROLE).unwrap();
    let service = Caller::service(&["logs.amazonaws.com"]).unwrap();
    for (json, caller, applies) in [
        (aws(&[ROOT]), root, false),
        (aws(&[ROOT]), user, true),
        (aws(&[USER]), user, true),
        (aws(&[USER, ACCOUNT]), user, false),
        (aws(&[SESSION, ROLE]), session, true),
        (aws(&[SESSION, ROOT]), session, true),
        (aws(&[ROLE, ROOT]), session, false),
        (aws(&[SESSION, ROLE, ROOT]), session, false),
        (r#"{"Service":"logs.amazonaws.com"}"#.to_owned(), service, false),
        (r#"{"Service":"s3.amazonaws.com"}"#.to_owned(), service, true),
    ] {
        let principals = Principals::NoneOf(list(&json).unwrap());
        assert_eq!(principals.ways(&caller, false) != Ways::NONE, applies, "{json}");
        assert_ne!(principals.ways(&caller, true), Ways::NONE, "with a boundary");
    }
}

#[test]
fn what_is_no_principal_is_refused() {
    for text in [
        "arn:aws:iam::111122223333:user/*",
        "arn:aws:iam::*:root",
        "arn:aws:iam::111122223333:group/admins",
        "arn:aws:iam::111122223333:user",
        "arn:aws:iam::111122223333:user/",
        "arn:aws:iam::111122223333:role/${aws:username}",
        "arn:aws:sts::111122223333:assumed-role/reader",
        "arn:aws:sts::111122223333:assumed-role/reader/*",
        "arn:aws:s3:::bucket",
        "11112222333",
        "AIDA",
        "AIDAlowercase1234567",
        "root",
        "",
        "logs.amazonaws.com",
    ] {
        let json = format!(r#"{{"AWS":"{text}"}}"#);
        assert_eq!(list(&json), Err(Fault::Principal(text.to_owned())), "{text}");
    }
    for json in [
        r#""arn:aws:iam::111122223333:root""#,
        r#"{"CanonicalUser":"79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}"#,
        r#"{"Service":"logs"}"#,
        r#"{"Service":"*.amazonaws.com"}"#,
        r#"{"Service":"*"}"#,
        r#"{"Federated":"*"}"#,
        r#"{"Federated":"arn:aws:iam::111122223333:user/ana"}"#,
        r#"{"aws":"*"}"#,
        r#"{"Everyone":"*"}"#,
    ] {
        assert!(matches!(list(json), Err(Fault::Principal(_))), "{json}");
    }
    for json in ["{}", r#"{"AWS":[]}"#] {
        assert_eq!(list(json), Err(Fault::NoPrincipal), "{json}");
    }
    for json in ["[]", "null", "1", r#"{"AWS":1}"#, r#"{"AWS":{}}"#, r#"{"AWS":[["*"]]}"#] {
        assert!(matches!(list(json), Err(Fault::Type { .. })), "{json}");
    }
}

#[test]
fn names_are_shown_as_they_were_written() {
    for text in ["*", ACCOUNT, ROOT, USER, ROLE, SESSION, AROA] {
        let json = format!(r#"{{"AWS":"{text}"}}"#);
        assert_eq!(list(&json).unwrap()[0].to_string(), text);
    }
}

#[test]
fn a_bound_session_is_of_one_role() {
    let bound = |text: &str, id: &str| {
        let mut principal = list(&format!(r#"{{"AWS":"{text}"}}"#)).unwrap();
        principal[0].bind(id.to_owned());
        assert_eq!(principal[0].to_string(), text, "a name is shown as it was written");
        Principals::Any(principal)
    };
    let session = Caller::role_session(SESSION, ROLE).unwrap();
    let other = SESSION.replace("s1", "s2");
    let other = Caller::role_session(&other, ROLE).unwrap().with_unique_id(AROA);
    let user = Caller::user(USER).unwrap().with_unique_id("AIDA0123456789ABCDEF");
    for (text, id, caller, expected) in [
        (SESSION, AROA, session.with_unique_id(AROA), Ways::ITSELF),
        (SESSION, AROA, session.with_unique_id("AROA9999999999999999"), Ways::NONE),
        (SESSION, AROA, session, Ways::NONE),
        (SESSION, AROA, other, Ways::NONE),
        (ROLE, AROA, other, Ways::ROLE),
        (USER, "AIDA0123456789ABCDEF", user, Ways::ITSELF),
        (USER, AROA, user, Ways::NONE),
    ] {
        assert_eq!(bound(text, id).ways(&caller, false), expected, "{text} {id} {caller:?}");
    }
}
