//! Pages of a listing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::call::Call;
use crate::iam::directory::Cached;
use crate::iam::layout;
use crate::iam::record::{Group, ManagedPolicy, Role, User};
use crate::management::{Node, check};
use kms_query::{Form, IamError};

/// What a page ends with, and whether there is more.
pub(super) struct End(Option<String>);

/// A page of the records of a kind in the caller's account, or of all accounts, as they are shown.
pub(super) async fn records<R: Cached>(
    call: &Call<'_>,
    own: bool,
    name: impl Fn(&R) -> &str,
    member: &'static str,
    show: impl Fn(&R) -> Option<Node>,
) -> Result<Node, IamError> {
    let (page, end) = page(call, own, name).await?;
    Ok(finish(member, page.iter().filter_map(show).collect(), &end))
}

/// A page of the records of a kind in the caller's account, or of all accounts.
pub(super) async fn page<R: Cached>(
    call: &Call<'_>,
    own: bool,
    name: impl Fn(&R) -> &str,
) -> Result<(Vec<R>, End), IamError> {
    let account = own.then(|| call.account());
    let prefix = match account {
        Some(account) => format!("{}{account}/", R::PREFIX),
        None => R::PREFIX.to_owned(),
    };
    let after = marker(call.form)?.map(|last| format!("{prefix}{last}").into_bytes());
    let limit = check::max_items(call.form)?;
    let page = call.directory().list::<R>(account, after, limit).await?;
    let last = page.items.last().map(|last| name(last).to_ascii_lowercase());
    Ok((page.items, End(last.filter(|_| page.more))))
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
    Ok(finish(member, items, &End(page.last().filter(|_| more).map(|last| (*last).to_owned()))))
}

/// Where a page of `all` numbered items begins.
pub(super) fn number(form: &Form, all: usize) -> Result<usize, IamError> {
    let Some(text) = marker(form)? else { return Ok(0) };
    let number = text.parse().ok().filter(|number| *number < all);
    number.ok_or_else(|| IamError::invalid("Invalid Marker"))
}

/// A page of `all` numbered items that begins with the one of this number.
pub(super) fn numbered(member: &'static str, items: Vec<Node>, begin: usize, all: usize) -> Node {
    let next = begin + items.len();
    let next = (next < all).then(|| next.to_string());
    finish(member, items, &End(next))
}

/// A kind of record in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Group,
    Role,
    Policy,
}

impl Kind {
    /// Its letter in markers.
    const fn letter(self) -> &'static str {
        match self {
            Self::User => "u",
            Self::Group => "g",
            Self::Role => "r",
            Self::Policy => "p",
        }
    }
}

/// A record that [`walk`] has come to.
pub(super) enum Place<'r> {
    User(&'r User),
    Group(&'r Group),
    Role(&'r Role),
    Policy(&'r ManagedPolicy),
}

/// A record of one of the kinds.
trait Walked: Cached {
    fn name(&self) -> &str;
    fn place(&self) -> Place<'_>;
}

macro_rules! walked {
    ($($record:ty, $place:ident;)+) => {$(
        impl Walked for $record {
            fn name(&self) -> &str {
                &self.name
            }

            fn place(&self) -> Place<'_> {
                Place::$place(self)
            }
        }
    )+};
}

walked! {
    User, User;
    Group, Group;
    Role, Role;
    ManagedPolicy, Policy;
}

/// Records that are looked at for a page, whether they are shown or not.
const MAX_VISITED: usize = 5000;
/// Of those, how many at a time.
const STEP: usize = 250;

/// Goes through the records of several kinds in the caller's account, until a page is full or
/// enough were looked at; `show` says whether it took one. What the page ends with.
pub(super) async fn walk(
    call: &Call<'_>,
    kinds: &[Kind],
    mut show: impl FnMut(Place<'_>) -> bool + Send,
) -> Result<Vec<(&'static str, Node)>, IamError> {
    let (limit, begin) = (check::max_items(call.form)?, marker(call.form)?);
    let mut walk = Walk { call, left: limit, visits: MAX_VISITED, show: &mut show };
    let mut position = match begin.as_deref() {
        None => None,
        Some(text) => {
            let parts = text.split_once('/');
            let kind = parts.and_then(|(letter, name)| {
                let index = kinds.iter().position(|kind| kind.letter() == letter)?;
                Some((index, name.to_owned()))
            });
            Some(kind.ok_or_else(|| IamError::invalid("Invalid Marker"))?)
        }
    };
    let first = position.as_ref().map_or(0, |(index, _)| *index);
    for kind in kinds.iter().skip(first) {
        let after = position.take().map(|(_, name)| name);
        let stopped = match kind {
            Kind::User => walk.kind::<User>(after).await?,
            Kind::Group => walk.kind::<Group>(after).await?,
            Kind::Role => walk.kind::<Role>(after).await?,
            Kind::Policy => walk.kind::<ManagedPolicy>(after).await?,
        };
        if let Some(last) = stopped {
            let marker = BASE64.encode(format!("{}/{last}", kind.letter()));
            return Ok(vec![("IsTruncated", Node::Flag(true)), ("Marker", Node::Text(marker))]);
        }
    }
    Ok(vec![("IsTruncated", Node::Flag(false))])
}

/// A walk under way.
struct Walk<'w, 'c, S> {
    call: &'w Call<'c>,
    /// What the page has room for.
    left: usize,
    /// What may still be looked at.
    visits: usize,
    show: &'w mut S,
}

impl<S: FnMut(Place<'_>) -> bool + Send> Walk<'_, '_, S> {
    /// The records of one kind; what the page ends after, if more follows.
    async fn kind<R: Walked>(&mut self, after: Option<String>) -> Result<Option<String>, IamError> {
        let account = self.call.account();
        let mut last = after;
        loop {
            let from = last.as_ref().map(|last| layout::named(R::PREFIX, account, last));
            let page = self.call.directory().list::<R>(Some(account), from, STEP).await?;
            for record in &page.items {
                if self.left == 0 || self.visits == 0 {
                    return Ok(Some(last.unwrap_or_default()));
                }
                self.visits -= 1;
                self.left -= usize::from((self.show)(record.place()));
                last = Some(record.name().to_ascii_lowercase());
            }
            if !page.more {
                return Ok(None);
            }
        }
    }
}

/// A page with what it ends with.
pub(super) fn finish(member: &'static str, items: Vec<Node>, end: &End) -> Node {
    let marker = end.0.as_ref().map(|last| Node::Text(BASE64.encode(last)));
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
