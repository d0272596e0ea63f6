//! Tags of users, roles and managed policies, which conditions can test.

use super::call::{Call, contended, tries};
use super::holder::Holder;
use super::{listing, managed};
use crate::iam::directory::{Cached, Changes};
use crate::iam::limits::same_tag;
use crate::iam::record::{ManagedPolicy, Role, User};
use crate::management::Node;
use crate::management::check::MAX_TAGS;
use kms_base::identifier::Tags;
use kms_keys::Stored;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};

/// A user, a role or a managed policy.
pub(super) trait Tagged: Cached + Clone {
    /// Whether keys that differ in case only are two.
    const CASED: bool;
    /// The quota of its tags, as IAM calls it.
    const QUOTA: &'static str;

    /// The one that the call names.
    ///
    /// # Errors
    /// `Code::NoSuchEntity`; `Code::AccessDenied` if the caller may not do what it does.
    fn requested(call: &Call<'_>) -> impl Future<Output = Result<Stored<Self>, IamError>> + Send;

    /// Its tags.
    fn tags(&self) -> &Tags;

    /// Its tags, to be changed.
    fn tags_mut(&mut self) -> &mut Tags;
}

macro_rules! tagged {
    ($($record:ty, $cased:literal, $quota:literal, $find:expr;)+) => {$(
        impl Tagged for $record {
            const CASED: bool = $cased;
            const QUOTA: &'static str = $quota;

            async fn requested(call: &Call<'_>) -> Result<Stored<Self>, IamError> {
                $find(call).await
            }

            fn tags(&self) -> &Tags {
                &self.tags
            }

            fn tags_mut(&mut self) -> &mut Tags {
                &mut self.tags
            }
        }
    )+};
}

// Of users and roles, keys have no case: they are tags of the caller.
tagged! {
    User, false, "TagsPerUser", User::find;
    Role, false, "TagsPerRole", Role::find;
    ManagedPolicy, true, "TagsPerPolicy", managed::requested;
}

pub(super) async fn list<T: Tagged>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let tagged = T::requested(call).await?;
    let tags = tagged.tags();
    let show = |key: &str| describe(key, tags.get(key).map_or("", String::as_str));
    listing::names(call.form, tags.keys().map(String::as_str), "Tags", show).map(Some)
}

pub(super) async fn put<T: Tagged>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let given = call.tags();
    change::<T>(call, |tags| {
        for (key, value) in &given {
            tags.retain(|known, _| !same_tag(known, key, T::CASED));
            tags.insert(key.clone(), value.clone());
        }
    })
    .await
}

pub(super) async fn delete<T: Tagged>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let keys = call.tag_keys().to_vec();
    change::<T>(call, |tags| {
        tags.retain(|known, _| !keys.iter().any(|key| same_tag(known, key, T::CASED)));
    })
    .await
}

async fn change<T: Tagged>(
    call: &Call<'_>,
    change: impl Fn(&mut Tags) + Send + Sync,
) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let old = T::requested(call).await?;
        let mut new = old.value.clone();
        change(new.tags_mut());
        if new.tags().len() > MAX_TAGS {
            let text = format!("Cannot exceed quota for {}: {MAX_TAGS}", T::QUOTA);
            return Err(IamError::new(Code::LimitExceeded, text));
        }
        if call.commit(Changes::new().replace(&old, &new)?).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

/// Tags in a description; `None` if there are none.
pub(super) fn shown(tags: &Tags) -> Option<Node> {
    let all = || tags.iter().map(|(key, value)| describe(key, value)).collect();
    (!tags.is_empty()).then(|| Node::List(all()))
}

fn describe(key: &str, value: &str) -> Node {
    Node::Members(vec![("Key", Node::from(key)), ("Value", Node::from(value))])
}
