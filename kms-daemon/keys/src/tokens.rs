//! The key tokens of a store: which entries hold them, and what a token says about itself: the
//! domain whose devices can open it, and the domain key that it is under.
//!
//! Key tokens are all that a store holds under domain keys. Other data that devices seal under a
//! domain key never gets here: pre-generated key pairs stay in memory, import tokens go to clients
//! for at most a day, and verified recipients stay in memory for minutes. Ciphertext blobs are
//! under key material, and so are the secrets of access keys and session tokens.

use kms_base::record::RecordError;
use std::collections::BTreeMap;
use std::sync::Arc;

use hsm_protocol::DomainId;
use hsm_protocol::token::KeyToken;

use super::own::{DIGEST_KEYS, DigestKey, SYSTEM_KEYS, SystemKey};
use super::{CatalogError, KeyRecord, layout};
use kms_base::identifier::parse_key_arn;
use kms_store::{BlockingReads, Entry, Page, Range, Store, StoreError};

/// The number of records that are read at a time.
const PAGE: usize = 1000;

/// The prefixes of all entries that hold key tokens.
pub const PREFIXES: [&str; 3] = [layout::KEYS, SYSTEM_KEYS, DIGEST_KEYS];

/// An entry of the store that holds key tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The Region whose devices open the tokens.
    pub region: String,
    /// A name for people: the ARN of a key, or the name of the entry.
    pub name: String,
    /// The tokens of all material that is present, oldest first and pending material last.
    pub tokens: Vec<Vec<u8>>,
}

/// Returns the tokens in an entry; `None` if entries of this name hold no tokens.
///
/// # Errors
/// [`CatalogError::Record`] if the entry cannot be read.
pub fn holder(key: &[u8], value: &[u8]) -> Result<Option<Holder>, CatalogError> {
    let wrong = |error| unreadable(key, error);
    let name = String::from_utf8_lossy(key).into_owned();
    if let Some((scope, id)) = layout::parse_key(key) {
        let record = KeyRecord::decode(value).map_err(wrong)?;
        let materials = record.materials.into_iter().chain(record.pending);
        let tokens = materials.filter(|material| material.is_present());
        let tokens = tokens.map(|material| material.token).collect();
        return Ok(Some(Holder {
            region: scope.region.to_string(),
            name: scope.key_arn(id),
            tokens,
        }));
    }
    let own: [(&str, Token); 2] =
        [(SYSTEM_KEYS, SystemKey::token_in), (DIGEST_KEYS, DigestKey::token_in)];
    for (prefix, token) in own {
        if let Some(region) = name.strip_prefix(prefix) {
            let (region, tokens) = (region.to_owned(), vec![token(value).map_err(wrong)?]);
            return Ok(Some(Holder { region, name, tokens }));
        }
    }
    Ok(None)
}

/// Returns an entry with new tokens, each in place of the former token of the same material.
///
/// # Errors
/// [`CatalogError::Record`] if the entry cannot be read.
pub fn replaced(
    key: &[u8],
    value: &[u8],
    tokens: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<Arc<[u8]>, CatalogError> {
    let wrong = |error| unreadable(key, error);
    if layout::parse_key(key).is_some() {
        let mut record = KeyRecord::decode(value).map_err(wrong)?;
        for material in record.materials.iter_mut().chain(&mut record.pending) {
            if let Some(new) = tokens.get(&material.token) {
                material.token.clone_from(new);
            }
        }
        return Ok(record.encode().map_err(wrong)?.into());
    }
    let with: WithToken = match key.starts_with(SYSTEM_KEYS.as_bytes()) {
        true => SystemKey::with_token,
        false => DigestKey::with_token,
    };
    match tokens.values().next() {
        Some(new) => Ok(with(value, new.clone()).map_err(wrong)?.into()),
        None => Ok(value.into()),
    }
}

/// The numbers of a Region's key tokens, by domain and domain key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally(BTreeMap<(DomainId, u32), u64>);

impl Tally {
    /// Returns the number of tokens under a key of a domain.
    #[must_use]
    pub fn under(&self, domain: DomainId, key: u32) -> u64 {
        self.0.get(&(domain, key)).copied().unwrap_or_default()
    }

    /// Returns the keys of a domain that tokens are under, with the number of tokens.
    #[must_use]
    pub fn of(&self, domain: DomainId) -> BTreeMap<u32, u64> {
        let of_domain = self.0.iter().filter(|((of, _), _)| *of == domain);
        of_domain.map(|((_, key), count)| (*key, *count)).collect()
    }

    fn add(&mut self, region: &str, entries: &[Entry]) -> Result<(), CatalogError> {
        for entry in entries.iter().filter(|entry| is_of(&entry.key, region)) {
            let Some(holder) = holder(&entry.key, &entry.value)? else { continue };
            for token in holder.tokens.iter().filter_map(|token| place(token)) {
                *self.0.entry(token).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// Returns the domain that a token states, and the number of its domain key.
#[must_use]
pub fn place(token: &[u8]) -> Option<(DomainId, u32)> {
    let attributes = KeyToken::parse(token).ok()?.attributes;
    Some((attributes.domain, attributes.domain_key))
}

/// Counts the tokens of a Region.
///
/// # Errors
/// [`CatalogError`] if the store cannot be read.
pub async fn tally(store: &dyn Store, region: &str) -> Result<Tally, CatalogError> {
    let mut tally = Tally::default();
    for prefix in PREFIXES {
        let mut pages = Pages::of(prefix);
        while let Some(range) = pages.next() {
            let page = store.range(range).await?.value;
            tally.add(region, &page.entries)?;
            pages.took(&page);
            // A page takes some milliseconds to read, so other tasks get a turn.
            tokio::task::yield_now().await;
        }
    }
    Ok(tally)
}

/// Counts the tokens of a Region where no daemon runs. Blocks.
///
/// # Errors
/// [`CatalogError`] if the store cannot be read.
pub fn tally_blocking(store: &dyn BlockingReads, region: &str) -> Result<Tally, CatalogError> {
    let mut tally = Tally::default();
    for prefix in PREFIXES {
        let mut pages = Pages::of(prefix);
        while let Some(range) = pages.next() {
            let page = store.range_blocking(&range)?;
            tally.add(region, &page.entries)?;
            pages.took(&page);
        }
    }
    Ok(tally)
}

/// Key tokens drawn at random.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The number of tokens that the sample was drawn from.
    pub total: u64,
    /// The drawn tokens, each after the name of its [`Holder`].
    pub tokens: Vec<(String, Vec<u8>)>,
}

/// Draws key tokens of a domain in a Region, each with the same probability. Blocks.
///
/// # Errors
/// [`CatalogError`] if the store cannot be read.
pub fn sample_blocking(
    store: &dyn BlockingReads,
    region: &str,
    domain: DomainId,
    size: usize,
) -> Result<Sample, CatalogError> {
    let mut sample = Sample { total: 0, tokens: Vec::new() };
    for prefix in PREFIXES {
        let mut pages = Pages::of(prefix);
        while let Some(range) = pages.next() {
            let page = store.range_blocking(&range)?;
            for entry in page.entries.iter().filter(|entry| is_of(&entry.key, region)) {
                let Some(holder) = holder(&entry.key, &entry.value)? else { continue };
                for token in holder.tokens {
                    if place(&token).is_some_and(|(of, _)| of == domain) {
                        sample.draw(size, &holder.name, token)?;
                    }
                }
            }
            pages.took(&page);
        }
    }
    Ok(sample)
}

impl Sample {
    /// Adds a token to the sample, by Vitter's algorithm R.
    fn draw(&mut self, size: usize, name: &str, token: Vec<u8>) -> Result<(), StoreError> {
        self.total += 1;
        let drawn = (name.to_owned(), token);
        if self.tokens.len() < size {
            self.tokens.push(drawn);
            return Ok(());
        }
        // With fewer than 2^32 tokens, the bias of the remainder is below 2^-32.
        let random = getrandom::u64().map_err(|error| StoreError::Engine(error.to_string()))?;
        let index = usize::try_from(random % self.total).unwrap_or(usize::MAX);
        if let Some(place) = self.tokens.get_mut(index) {
            *place = drawn;
        }
        Ok(())
    }
}

/// A walk over the names of a Region's entries with tokens, one page at a time.
pub struct Walk<'s> {
    store: &'s dyn Store,
    region: &'s str,
    pages: Vec<Pages>,
}

impl<'s> Walk<'s> {
    /// Starts at the first entry.
    #[must_use]
    pub fn new(store: &'s dyn Store, region: &'s str) -> Self {
        Self {
            store,
            region,
            pages: PREFIXES.iter().rev().map(|prefix| Pages::of(prefix)).collect(),
        }
    }

    /// Returns the next page in its present state; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, StoreError> {
        while let Some(pages) = self.pages.last_mut() {
            let Some(range) = pages.next() else {
                self.pages.pop();
                continue;
            };
            let mut page = self.store.range(range).await?.value;
            pages.took(&page);
            page.entries.retain(|entry| is_of(&entry.key, self.region));
            return Ok(Some(page.entries));
        }
        Ok(None)
    }
}

/// The position of a walk over the entries of a prefix.
struct Pages {
    prefix: &'static str,
    /// The last entry that was read; `None` at the end of the walk.
    after: Option<Option<Vec<u8>>>,
}

impl Pages {
    fn of(prefix: &'static str) -> Self {
        Self { prefix, after: Some(None) }
    }

    fn next(&self) -> Option<Range> {
        let after = self.after.clone()?;
        Some(Range { prefix: self.prefix.into(), after, limit: PAGE })
    }

    fn took(&mut self, page: &Page) {
        let last = page.entries.last().filter(|_| page.more);
        self.after = last.map(|entry| Some(entry.key.clone()));
    }
}

/// Whether an entry belongs to a Region, judging by its name.
fn is_of(key: &[u8], region: &str) -> bool {
    let name = || std::str::from_utf8(key).ok();
    match layout::parse_key(key) {
        Some((scope, _)) => *scope.region == *region,
        None => name().and_then(|name| name.split_once('/')).is_some_and(|(_, of)| of == region),
    }
}

type Token = fn(&[u8]) -> Result<Vec<u8>, RecordError>;
type WithToken = fn(&[u8], Vec<u8>) -> Result<Vec<u8>, RecordError>;

/// How many tokens to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Stop at the first token.
    First,
    /// Look at all tokens.
    All,
}

/// Counts the key tokens of a Region by domain. A damaged record is passed over, and logged: one record does not keep the
/// daemon, which repairs it, from starting. Blocks.
///
/// # Errors
/// [`CatalogError`] if the store cannot be read, or if there are only damaged records: it is not known of which domain.
pub fn domains(
    store: &dyn BlockingReads,
    region: &str,
    look: Look,
) -> Result<BTreeMap<DomainId, usize>, CatalogError> {
    let mut found = BTreeMap::new();
    let mut damaged = None;
    let own: [(Vec<u8>, Token); 2] = [
        (SystemKey::entry(region), SystemKey::token_in),
        (DigestKey::entry(region), DigestKey::token_in),
    ];
    for (key, token) in own {
        if let Some(entry) = store.get_blocking(&key)? {
            match token(&entry.value) {
                Ok(token) => count(&mut found, &token),
                Err(error) => damaged = Some(unreadable(&key, error)),
            }
        }
    }
    let mut after = None;
    while found.is_empty() || look == Look::All {
        let page =
            store.range_blocking(&Range { prefix: layout::KEYS.into(), after, limit: PAGE })?;
        for entry in &page.entries {
            let of_region =
                layout::parse_key(&entry.key).is_some_and(|(scope, _)| *scope.region == *region);
            if of_region {
                match KeyRecord::decode(&entry.value) {
                    Ok(key) => {
                        let materials = key.materials.iter().chain(&key.pending);
                        materials.for_each(|material| count(&mut found, &material.token));
                    }
                    Err(error) => damaged = Some(unreadable(&entry.key, error)),
                }
            }
        }
        after = page.entries.last().map(|entry| entry.key.clone());
        if !page.more {
            break;
        }
    }
    match damaged {
        Some(error) if found.is_empty() => return Err(error),
        Some(error) => {
            tracing::error!(%error, "a record cannot be read; run: kmsctl store scrub");
        }
        None => {}
    }
    Ok(found)
}

/// Counts a token. Imported material that is gone has an empty token, which does not count.
fn count(found: &mut BTreeMap<DomainId, usize>, token: &[u8]) {
    if let Ok(token) = KeyToken::parse(token) {
        *found.entry(token.attributes.domain).or_default() += 1;
    }
}

/// Whether a store holds a key. Blocks.
///
/// # Errors
/// [`CatalogError::Store`] if the store cannot be read.
pub fn has_key(store: &dyn BlockingReads, arn: &str) -> Result<bool, CatalogError> {
    let Some((scope, id)) = parse_key_arn(arn) else { return Ok(false) };
    Ok(store.get_blocking(&layout::key(&scope, id))?.is_some())
}

fn unreadable(key: &[u8], error: RecordError) -> CatalogError {
    CatalogError::Record { key: String::from_utf8_lossy(key).into_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_tokens_is_read_and_replaced() {
        let own = |more: &str| {
            format!(
                r#"{{"version":1,"region":"us-east-1","id":"00000000-0000-4000-8000-000000000000","material":"{}","token":"AQID"{more}}}"#,
                "07".repeat(32)
            )
        };
        let digest = own(r#","public":"BAUG","created":1800000000000"#);
        for (key, value) in
            [("system-keys/us-east-1", own("")), ("trail-keys/us-east-1", digest.clone())]
        {
            let found = holder(key.as_bytes(), value.as_bytes()).unwrap().unwrap();
            let (region, name) = ("us-east-1".to_owned(), key.to_owned());
            assert_eq!(found, Holder { region, name, tokens: vec![vec![1, 2, 3]] });
            let tokens = [(vec![1, 2, 3], vec![4, 5, 6])].into();
            let new = replaced(key.as_bytes(), value.as_bytes(), &tokens).unwrap();
            let text = String::from_utf8(new.to_vec()).unwrap();
            assert_eq!(text, value.replace("AQID", "BAUG"), "nothing else has changed");
        }
        for prefix in PREFIXES {
            assert!(
                is_of(format!("{prefix}us-east-1").as_bytes(), "us-east-1")
                    || prefix == layout::KEYS
            );
        }
        let key = b"keys/000000000000/us-east-1/00000000-0000-4000-8000-000000000000";
        assert!(is_of(key, "us-east-1") && !is_of(key, "eu-west-1"));
        assert_eq!(holder(b"aliases/x", b"").unwrap(), None);
        assert!(
            holder(b"system-keys/us-east-1", b"{}").is_err(),
            "a damaged record does not count as none"
        );
    }

    #[test]
    fn each_token_is_drawn_with_the_same_chance() {
        const SIZE: usize = 5;
        const ROUNDS: usize = 4000;
        let mut drawn = [0_usize; 20];
        for _ in 0..ROUNDS {
            let mut sample = Sample { total: 0, tokens: Vec::new() };
            for token in 0..20 {
                sample.draw(SIZE, "x", vec![token]).unwrap();
            }
            assert_eq!((sample.total, sample.tokens.len()), (20, SIZE));
            sample.tokens.iter().for_each(|(_, token)| drawn[usize::from(token[0])] += 1);
        }
        // 1,000 are expected, with a standard deviation of 27. A deviation of seven times that has
        // a probability of 10^-11.
        assert!(drawn.iter().all(|count| count.abs_diff(1000) < 190), "{drawn:?}");
    }
}
