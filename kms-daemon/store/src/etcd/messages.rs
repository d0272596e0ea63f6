//! The messages of etcd's API that the engine sends and reads (etcd's `rpc.proto` and `kv.proto`,
//! version 3.4; later versions only add fields).

use hyper::body::Bytes;

use super::wire::{Malformed, Reader, Value, Writer};
use crate::Revision;

/// `/service/method` of a range read.
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
/// `/service/method` of a transaction.
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";
/// `/service/method` of watches.
pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// `/service/method` that makes a token of user name and password.
pub(super) const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";

/// `Compare.target`: how often a key was written since it was made; 0 if it is absent.
const VERSION: u64 = 0;
/// `Compare.target`: the revision of the last change.
const MOD: u64 = 2;

/// A revision, which etcd has as a signed number: so there is always a next one.
fn revision(value: Value) -> Result<Revision, Malformed> {
    let number = value.number()?;
    i64::try_from(number).map(|_| Revision(number)).map_err(|_| Malformed)
}

/// A key with its value, as etcd has it.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct KeyValue {
    pub(super) key: Bytes,
    pub(super) revision: Revision,
    pub(super) value: Bytes,
}

impl KeyValue {
    fn read(message: Bytes) -> Result<Self, Malformed> {
        let (mut read, mut reader) = (Self::default(), Reader::new(message));
        while let Some((field, value)) = reader.next()? {
            match field {
                1 => read.key = value.bytes()?,
                3 => read.revision = revision(value)?,
                5 => read.value = value.bytes()?,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// What every response begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    /// Names the cluster; another one after a restore.
    pub(super) cluster: u64,
    pub(super) revision: Revision,
}

impl Header {
    fn read(message: Bytes) -> Result<Self, Malformed> {
        let (mut read, mut reader) = (Self::default(), Reader::new(message));
        while let Some((field, value)) = reader.next()? {
            match field {
                1 => read.cluster = value.number()?,
                3 => read.revision = revision(value)?,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// A linearizable read.
#[derive(Debug, Clone, Default)]
pub(super) struct RangeRequest {
    pub(super) key: Vec<u8>,
    /// The first key after the range; empty for the one key.
    pub(super) end: Vec<u8>,
    pub(super) limit: u64,
    /// As of then; 0 for now.
    pub(super) revision: Revision,
}

impl RangeRequest {
    pub(super) fn write(&self) -> Writer {
        let message = Writer::new().bytes(1, &self.key);
        // An end that is there and empty means that there is no end.
        let message = match self.end.is_empty() {
            true => message,
            false => message.bytes(2, &self.end),
        };
        message.number(3, self.limit).number(4, self.revision.0)
    }
}

#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct RangeResponse {
    pub(super) header: Header,
    pub(super) entries: Vec<KeyValue>,
    pub(super) more: bool,
}

impl RangeResponse {
    pub(super) fn read(message: Bytes) -> Result<Self, Malformed> {
        let (mut read, mut reader) = (Self::default(), Reader::new(message));
        while let Some((field, value)) = reader.next()? {
            match field {
                1 => read.header = Header::read(value.bytes()?)?,
                2 => read.entries.push(KeyValue::read(value.bytes()?)?),
                3 => read.more = value.number()? != 0,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// `Compare`: the key is absent.
pub(super) fn absent(key: &[u8]) -> Writer {
    Writer::new().number(2, VERSION).bytes(3, key).number(4, 0)
}

/// `Compare`: the key exists and was last changed at `revision`.
pub(super) fn unchanged(key: &[u8], revision: Revision) -> Writer {
    // etcd takes 0 for the revision of a key that is absent; nothing was changed at the last one.
    let revision = if revision.0 == 0 { i64::MAX.cast_unsigned() } else { revision.0 };
    Writer::new().number(2, MOD).bytes(3, key).number(6, revision)
}

/// `RequestOp`: sets a value.
pub(super) fn put(key: &[u8], value: &[u8]) -> Writer {
    Writer::new().message(2, Writer::new().bytes(1, key).bytes(2, value))
}

/// `RequestOp`: removes a key.
pub(super) fn delete(key: &[u8]) -> Writer {
    Writer::new().message(3, Writer::new().bytes(1, key))
}

/// `RequestOp`: a linearizable read of a key.
pub(super) fn get(key: &[u8]) -> Writer {
    Writer::new().message(1, Writer::new().bytes(1, key))
}

/// `TxnRequest`: the operations, if all comparisons hold.
pub(super) fn transaction(
    comparisons: impl Iterator<Item = Writer>,
    operations: impl Iterator<Item = Writer>,
) -> Vec<u8> {
    let message = comparisons.fold(Writer::new(), |message, compare| message.message(1, compare));
    operations.fold(message, |message, operation| message.message(2, operation)).finish()
}

#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct TxnResponse {
    pub(super) header: Header,
    pub(super) succeeded: bool,
}

impl TxnResponse {
    pub(super) fn read(message: Bytes) -> Result<Self, Malformed> {
        let (mut read, mut reader) = (Self::default(), Reader::new(message));
        while let Some((field, value)) = reader.next()? {
            match field {
                1 => read.header = Header::read(value.bytes()?)?,
                2 => read.succeeded = value.number()? != 0,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// `WatchRequest`: the changes of the keys from `key` up to `end`, from revision `start` on.
pub(super) fn watch(key: &[u8], end: &[u8], start: Revision) -> Vec<u8> {
    let create = Writer::new().bytes(1, key).bytes(2, end).number(3, start.0);
    Writer::new().message(1, create).finish()
}

/// A change of one key.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct WatchEvent {
    pub(super) is_deletion: bool,
    pub(super) entry: KeyValue,
}

#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct WatchResponse {
    pub(super) canceled: bool,
    /// Not zero if the watch asked for changes that are gone: the oldest that is still there.
    pub(super) compacted: Revision,
    pub(super) reason: String,
    pub(super) events: Vec<WatchEvent>,
}

impl WatchResponse {
    pub(super) fn read(message: Bytes) -> Result<Self, Malformed> {
        let (mut read, mut reader) = (Self::default(), Reader::new(message));
        while let Some((field, value)) = reader.next()? {
            match field {
                4 => read.canceled = value.number()? != 0,
                5 => read.compacted = revision(value)?,
                6 => read.reason = String::from_utf8_lossy(&value.bytes()?).into_owned(),
                11 => read.events.push(WatchEvent::read(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(read)
    }
}

impl WatchEvent {
    fn read(message: Bytes) -> Result<Self, Malformed> {
        let (mut read, mut reader) = (Self::default(), Reader::new(message));
        while let Some((field, value)) = reader.next()? {
            match field {
                1 => read.is_deletion = value.number()? == 1,
                2 => read.entry = KeyValue::read(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// `AuthenticateRequest`.
pub(super) fn authenticate(user: &str, password: &[u8]) -> Vec<u8> {
    Writer::new().bytes(1, user.as_bytes()).bytes(2, password).finish()
}

/// The token of an `AuthenticateResponse`.
pub(super) fn token(message: Bytes) -> Result<Bytes, Malformed> {
    let (mut token, mut reader) = (Bytes::new(), Reader::new(message));
    while let Some((field, value)) = reader.next()? {
        if field == 2 {
            token = value.bytes()?;
        }
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn revisions_that_nothing_comes_after_are_malformed() {
        let response = |revision: u64| {
            let header = Writer::new().number(1, 7).number(3, revision);
            RangeResponse::read(Writer::new().message(1, header).finish().into())
        };
        let last = i64::MAX.cast_unsigned();
        assert_eq!(response(last).map(|read| read.header.revision), Ok(Revision(last)));
        assert_eq!(response(last + 1), Err(Malformed));
        assert_eq!(response(u64::MAX), Err(Malformed));
        let compacted = Writer::new().number(5, u64::MAX).finish();
        assert_eq!(WatchResponse::read(compacted.into()), Err(Malformed));
    }

    /// Bytes in which fields of the messages are more frequent than in any.
    fn almost_a_message() -> impl Strategy<Value = Vec<u8>> {
        let field = prop_oneof![
            (1_u64..12, any::<u64>()).prop_map(|(field, value)| Writer::new().number(field, value)),
            (1_u64..12, prop::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(field, value)| Writer::new().bytes(field, &value)),
        ];
        let fields = prop::collection::vec(field.prop_map(Writer::finish), 0..6);
        let nested = (1_u64..12, fields.clone())
            .prop_map(|(field, inner)| Writer::new().bytes(field, &inner.concat()).finish());
        let cut = (fields, nested, any::<prop::sample::Index>());
        cut.prop_map(|(fields, nested, at)| {
            let mut bytes = [fields.concat(), nested].concat();
            bytes.truncate(at.index(bytes.len() + 1));
            bytes
        })
    }

    proptest! {
        #[test]
        fn no_response_makes_reading_panic(bytes in almost_a_message()) {
            let bytes = Bytes::from(bytes);
            let read = RangeResponse::read(bytes.clone());
            prop_assert!(read.is_err() || read.unwrap().header.revision.0 < u64::MAX);
            let _ = (TxnResponse::read(bytes.clone()), WatchResponse::read(bytes.clone()));
            let _ = token(bytes);
        }
    }
}
