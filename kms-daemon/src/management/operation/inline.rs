//! Inline policies of users, groups and roles.

use super::call::Call;
use super::holder::Holder;
use super::listing;
use crate::iam::document;
use crate::management::{Node, check};
use kms_keys::document::IdentityPolicy;
use kms_query::{Code, IamError};

pub(super) async fn put<H: Holder>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let name = check::policy(call.form)?;
    let document = call.form.required("PolicyDocument")?;
    H::find(call).await?;
    let document = document::identity(H::KIND, document)?;
    let put = |holder: &mut H| {
        let policies = holder.policies();
        policies.insert(name.to_owned(), document.clone());
        document::check_quota(H::KIND, policies.values().map(IdentityPolicy::text))
    };
    call.change(put).await.map(|()| None)
}

pub(super) async fn find<H: Holder>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let name = check::policy(call.form)?;
    let mut holder = H::find(call).await?.value.clone();
    let document = holder.policies().remove(name).ok_or_else(|| absent(name))?;
    let (parameter, holder) = holder.named();
    Ok(Some(Node::Members(vec![
        (parameter, Node::from(holder)),
        ("PolicyName", Node::from(name)),
        ("PolicyDocument", Node::from(encoded(document.text()))),
    ])))
}

pub(super) async fn list<H: Holder>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let mut holder = H::find(call).await?.value.clone();
    let names = holder.policies().keys().map(String::as_str);
    listing::names(call.form, names, "PolicyNames", |name| Node::from(name)).map(Some)
}

pub(super) async fn delete<H: Holder>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let name = check::policy(call.form)?;
    let delete = |holder: &mut H| match holder.policies().remove(name) {
        Some(_) => Ok(()),
        None => Err(absent(name)),
    };
    call.change(delete).await.map(|()| None)
}

fn absent(name: &str) -> IamError {
    let text = format!("The policy with name {name} cannot be found.");
    IamError::new(Code::NoSuchEntity, text)
}

/// A document as IAM hands it out: percent-encoded (RFC 3986).
pub(super) fn encoded(document: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(document.len() * 2);
    for byte in document.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            let digit = |half: u8| char::from(HEX[usize::from(half)]);
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_percent_encoded() {
        assert_eq!(encoded("{\"a-b\": \"é\"}"), "%7B%22a-b%22%3A%20%22%C3%A9%22%7D");
    }
}
