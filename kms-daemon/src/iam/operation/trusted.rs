//! Whom a trust policy names: looked up when it is put, so that a user or role that is made again
//! under an old name is not meant.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::iam::directory::Directory;
use crate::iam::error::{Code, IamError};

/// The unique ids of the users and roles that a document names by ARN.
///
/// # Errors
/// [`Code::MalformedPolicyDocument`] if one of them, or an account, does not exist.
pub(super) async fn resolve(
    directory: &Directory,
    document: &str,
) -> Result<BTreeMap<String, String>, IamError> {
    let mut ids = BTreeMap::new();
    for name in names(document) {
        match parse(&name) {
            Named::Account(account) => {
                directory.account(account).await?.ok_or_else(|| unknown(&name))?;
            }
            Named::Identity { account, user, path } => {
                let last = path.rsplit('/').next().unwrap_or_default();
                // The ARN of a session has no path, that of its role may have one.
                let found = if user {
                    let user = directory.user(account, last).await?;
                    user.filter(|user| user.arn() == name).map(|user| user.id.clone())
                } else {
                    let role = directory.role(account, last).await?;
                    role.filter(|role| role.arn() == name).map(|role| role.id.clone())
                };
                ids.insert(name.clone(), found.ok_or_else(|| unknown(&name))?);
            }
            Named::Session { account, role } => {
                let found = directory.role(account, role).await?.map(|role| role.id.clone());
                ids.insert(name.clone(), found.ok_or_else(|| unknown(&name))?);
            }
            Named::Other => {}
        }
    }
    Ok(ids)
}

enum Named<'n> {
    Account(&'n str),
    Identity {
        account: &'n str,
        user: bool,
        path: &'n str,
    },
    Session {
        account: &'n str,
        role: &'n str,
    },
    /// Everyone, or a unique id.
    Other,
}

fn parse(name: &str) -> Named<'_> {
    if name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Named::Account(name);
    }
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    let ["arn", _, service, "", account, resource] = parts[..] else { return Named::Other };
    match (service, resource.split_once('/')) {
        ("iam", None) => Named::Account(account),
        ("iam", Some((kind, path))) => Named::Identity { account, user: kind == "user", path },
        (_, Some(("assumed-role", session))) => {
            let role = session.split('/').next().unwrap_or_default();
            Named::Session { account, role }
        }
        _ => Named::Other,
    }
}

/// Every principal of the kind `AWS`.
fn names(document: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let statements = match &document["Statement"] {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let elements = statements
        .iter()
        .flat_map(|statement| [&statement["Principal"]["AWS"], &statement["NotPrincipal"]["AWS"]]);
    let texts = elements.flat_map(|element| match element {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    });
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn unknown(name: &str) -> IamError {
    let text = format!("Invalid principal in policy: \"AWS\":\"{name}\"");
    IamError::new(Code::MalformedPolicyDocument, text)
}
