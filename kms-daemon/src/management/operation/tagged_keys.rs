//! `GetResources` of the tagging service: the keys of the account in the Region that have tags.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::call::Call;
use crate::management::{Node, check};
use kms_base::identifier::{KeyId, Scope, Tags};
use kms_query::{Form, IamError};

/// Keys that are looked at for a page, whether they are shown or not.
const MAX_VISITED: usize = 5000;
/// Of those, how many at a time.
const STEP: usize = 250;
/// Most keys of a page, and how many there are unless the caller says.
const PER_PAGE: (u32, u32) = (100, 50);
/// Bounds of the tags of a page.
const TAGS_PER_PAGE: (u32, u32) = (100, 500);
/// Most filters, values of one, and ARNs of a request.
const MAX_FILTERS: usize = 50;
const MAX_VALUES: usize = 20;
const MAX_ARNS: usize = 100;

/// A tag that a key has to have, with one of these values if there are any.
struct Filter<'f> {
    key: &'f str,
    values: Vec<&'f str>,
}

impl Filter<'_> {
    fn holds(&self, tags: &Tags) -> bool {
        let value = tags.get(self.key);
        value.is_some_and(|own| self.values.is_empty() || self.values.contains(&own.as_str()))
    }
}

/// A page that is being filled.
struct Page {
    mappings: Vec<Node>,
    /// Room for keys and for tags.
    keys: usize,
    tags: usize,
    compliance: bool,
}

impl Page {
    /// Whether there is room for a key with these tags. The first one has it.
    fn takes(&self, tags: &Tags) -> bool {
        self.keys > 0 && (self.mappings.is_empty() || tags.len() <= self.tags)
    }

    fn add(&mut self, arn: String, tags: &Tags) {
        self.keys -= 1;
        self.tags = self.tags.saturating_sub(tags.len());
        let tag = |(key, value): (&String, &String)| {
            let (key, value) = (Node::from(key.as_str()), Node::from(value.as_str()));
            Node::Members(vec![("Key", key), ("Value", value)])
        };
        // There are no policies for tags that anything could violate.
        let compliant = || {
            Node::Members(vec![
                ("NoncompliantKeys", Node::List(Vec::new())),
                ("KeysWithNoncompliantValues", Node::List(Vec::new())),
                ("ComplianceStatus", Node::Flag(true)),
            ])
        };
        self.mappings.push(Node::members(vec![
            ("ResourceARN", Some(Node::from(arn))),
            ("Tags", Some(Node::List(tags.iter().map(tag).collect()))),
            ("ComplianceDetails", self.compliance.then(compliant)),
        ]));
    }
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let form = call.form;
    let filters = filters(form)?;
    let kinds = form.list("ResourceTypeFilters")?;
    check::many("ResourceTypeFilters", kinds.len(), MAX_ARNS)?;
    let arns = form.list("ResourceARNList")?;
    check::many("ResourceARNList", arns.len(), MAX_ARNS)?;
    let (max, default) = PER_PAGE;
    let keys = check::number(form, "ResourcesPerPage", (1, max))?.unwrap_or(default);
    let tags = check::number(form, "TagsPerPage", TAGS_PER_PAGE)?.unwrap_or(u32::MAX);
    let compliance = check::flag(form, "IncludeComplianceDetails")?;
    let only_others = check::flag(form, "ExcludeCompliantResources")?;
    if only_others && !compliance {
        let text = "ExcludeCompliantResources can only be true if IncludeComplianceDetails is.";
        return Err(IamError::invalid(text));
    }
    let token = form.optional("PaginationToken").filter(|token| !token.is_empty());
    let after = token.map(read_token).transpose()?;
    let narrowed = !filters.is_empty() || !kinds.is_empty() || after.is_some();
    if !arns.is_empty() && narrowed {
        let text = "ResourceARNList cannot be given together with TagFilters, \
                    ResourceTypeFilters or PaginationToken.";
        return Err(IamError::invalid(text));
    }
    call.authorize(None)?;

    let scope = Scope::new(call.account(), call.region());
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let mut page = Page { mappings: Vec::new(), keys: size(keys), tags: size(tags), compliance };
    let is_key = |kind: &&str| ["kms", "kms:key"].contains(kind);
    let mut next = None;
    if !arns.is_empty() && !only_others {
        page.keys = arns.len();
        these(call, &scope, &arns, &mut page).await?;
    } else if arns.is_empty() && !only_others && (kinds.is_empty() || kinds.iter().any(is_key)) {
        next = all(call, &scope, &filters, after, &mut page).await?;
    }
    let token = next.map(|id| BASE64.encode(id.to_string())).unwrap_or_default();
    Ok(Some(Node::Members(vec![
        ("PaginationToken", Node::from(token)),
        ("ResourceTagMappingList", Node::List(page.mappings)),
    ])))
}

/// Fills a page with the keys that the filters let through; the key after which it goes on.
async fn all(
    call: &Call<'_>,
    scope: &Scope,
    filters: &[Filter<'_>],
    after: Option<KeyId>,
    page: &mut Page,
) -> Result<Option<KeyId>, IamError> {
    let mut last = after;
    for _ in 0..MAX_VISITED / STEP {
        let found = call.keys.catalog().list_tags(scope, last, STEP).await?;
        for (id, tags) in &found.items {
            if !tags.is_empty() && filters.iter().all(|filter| filter.holds(tags)) {
                if !page.takes(tags) {
                    return Ok(last);
                }
                page.add(scope.key_arn(*id), tags);
            }
            last = Some(*id);
        }
        if !found.more {
            return Ok(None);
        }
    }
    Ok(last)
}

/// Fills a page with the keys that are named. ARNs that are not keys here are left out.
async fn these(
    call: &Call<'_>,
    scope: &Scope,
    arns: &[&str],
    page: &mut Page,
) -> Result<(), IamError> {
    for arn in arns {
        let id = arn.rsplit('/').next().and_then(KeyId::parse);
        let Some(id) = id.filter(|id| scope.key_arn(*id) == **arn) else { continue };
        if let Some(key) = call.keys.catalog().key(scope, id).await?
            && !key.tags.is_empty()
        {
            page.add(key.arn(), &key.tags);
        }
    }
    Ok(())
}

fn filters(form: &Form) -> Result<Vec<Filter<'_>>, IamError> {
    let count = form.items("TagFilters", &["Key", "Values[]"])?;
    check::many("TagFilters", count, MAX_FILTERS)?;
    let filter = |number| {
        let start = format!("TagFilters.member.{number}");
        let key = form.required(&format!("{start}.Key"))?;
        let values = form.list(&format!("{start}.Values"))?;
        check::many("values", values.len(), MAX_VALUES)?;
        Ok(Filter { key, values })
    };
    (1..=count).map(filter).collect()
}

/// The key that a page comes after. A token that was made up begins somewhere else in the same
/// listing, which its caller may read anyway.
fn read_token(token: &str) -> Result<KeyId, IamError> {
    let text = BASE64.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let id = text.and_then(|text| KeyId::parse(&text));
    id.ok_or_else(|| IamError::invalid("The PaginationToken is not one of this service."))
}
