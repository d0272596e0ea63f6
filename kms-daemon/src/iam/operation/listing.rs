//! Pages of a listing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::call::Call;
use crate::iam::check;
use crate::iam::directory::Cached;
use crate::iam::error::IamError;
use crate::iam::{Form, Node};

/// What a page ends with, and whether there is more.
struct End<'e>(Option<&'e str>);

/// A page of the records of a kind in the caller's account, or of all accounts.
pub(super) async fn records<R: Cached>(
    call: &Call<'_>,
    own: bool,
    name: impl Fn(&R) -> &str,
    member: &'static str,
    show: impl Fn(&R) -> Option<Node>,
) -> Result<Node, IamError> {
    let account = own.then(|| call.account());
    let prefix = match account {
        Some(account) => format!("{}{account}/", R::PREFIX),
        None => R::PREFIX.to_owned(),
    };
    let after = marker(call.form)?.map(|last| format!("{prefix}{last}").into_bytes());
    let limit = check::max_items(call.form)?;
    let page = call.directory().list::<R>(account, after, limit).await?;
    let last = page.items.last().map(|last| name(last).to_ascii_lowercase());
    let items = page.items.iter().filter_map(show).collect();
    Ok(finish(member, items, &End(last.as_deref().filter(|_| page.more))))
}

/// A page of names that are at hand, in order.
pub(super) fn names<'n>(
    form: &Form,
    all: impl Iterator<Item = &'n str>,
    member: &'static str,
    show: impl Fn(&str) -> Node,
) -> Result<Node, IamError> {
    let (after, limit) = (marker(form)?, check::max_items(form)?);
    let mut rest = all.skip_while(|name| after.as_deref().is_some_and(|after| *name <= after));
    let page: Vec<&str> = rest.by_ref().take(limit).collect();
    let more = rest.next().is_some();
    let items = page.iter().map(|name| show(name)).collect();
    Ok(finish(member, items, &End(page.last().copied().filter(|_| more))))
}

fn finish(member: &'static str, items: Vec<Node>, end: &End<'_>) -> Node {
    let marker = end.0.map(|last| Node::Text(BASE64.encode(last)));
    Node::members(vec![
        ("IsTruncated", Some(Node::Flag(marker.is_some()))),
        (member, Some(Node::List(items))),
        ("Marker", marker),
    ])
}

/// The name that a page comes after. A marker that was made up begins somewhere else in the same
/// listing, which its caller may read anyway.
fn marker(form: &Form) -> Result<Option<String>, IamError> {
    let Some(marker) = form.optional("Marker") else { return Ok(None) };
    let name = BASE64.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.map(Some).ok_or_else(|| IamError::invalid("Invalid Marker"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_names() {
        let all = ["a", "b", "c"];
        let page = |form: &str| {
            let form = Form::parse(form.as_bytes()).unwrap();
            names(&form, all.into_iter(), "Names", |name| Node::from(name))
        };
        let texts =
            |names: &[&str]| Node::List(names.iter().map(|name| Node::from(*name)).collect());
        let first = page("MaxItems=2").unwrap();
        let marker = BASE64.encode("b");
        let expected = Node::Members(vec![
            ("IsTruncated", Node::Flag(true)),
            ("Names", texts(&["a", "b"])),
            ("Marker", Node::from(marker.as_str())),
        ]);
        assert_eq!(first, expected);
        let second = page(&format!("MaxItems=2&Marker={marker}")).unwrap();
        let expected =
            Node::Members(vec![("IsTruncated", Node::Flag(false)), ("Names", texts(&["c"]))]);
        assert_eq!(second, expected);
        assert!(page("Marker=%21").is_err());
    }
}
