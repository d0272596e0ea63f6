//! Checks of the whole store, for the root of the first account.

use serde_json::json;

use super::call::Call;
use crate::management::Node;
use kms_base::error::KmsError;
use kms_installation::report::scrub::{DEFAULT_RATE, MAX_RATE, Scrub};
use kms_query::{Code, IamError};
use kms_store::{Follower as _, StoreError};

pub(super) async fn start(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let rate = match call.form.optional("Rate") {
        None => DEFAULT_RATE,
        Some(text) => {
            let rate = text.parse().ok().filter(|rate| (1..=MAX_RATE).contains(rate));
            rate.ok_or_else(|| IamError::invalid(format!("Rate is 1 to {MAX_RATE}.")))?
        }
    };
    let store = call.keys.catalog().store();
    let scrub = Scrub::ask(&**store, rate).await.map_err(failed)?;
    call.element("scrubId", json!(scrub.id));
    Ok(Some(shown(&scrub)))
}

pub(super) async fn describe(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let last = Scrub::last(&**call.keys.catalog().store()).await.map_err(failed)?;
    let nothing = || IamError::new(Code::NoSuchEntity, "The store was never checked.");
    Ok(Some(shown(&last.ok_or_else(nothing)?)))
}

/// The report is a document for `kmsctl`, in one member.
fn shown(scrub: &Scrub) -> Node {
    Node::Members(vec![("Report", Node::from(json!(scrub).to_string()))])
}

fn failed(error: StoreError) -> IamError {
    KmsError::internal(error).into()
}
