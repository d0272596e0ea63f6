//! Encodes the responses of the device of these tests.

use hsm_protocol::ErrorCode;
use hsm_protocol::audit::Receipt;
use hsm_protocol::frame::MAX_PAYLOAD;
use hsm_protocol::request::ResponseHead;

pub(super) fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut out = vec![0; MAX_PAYLOAD];
    let length = postcard::to_slice(value, &mut out).unwrap().len();
    out.truncate(length);
    out
}

pub(super) fn respond(
    id: u16,
    body: Result<Vec<u8>, ErrorCode>,
    receipt: Option<Receipt>,
) -> Vec<u8> {
    let status = body.as_ref().err().copied();
    let head = ResponseHead { id, status, receipt, approved: true };
    let mut out = vec![0; ResponseHead::MAX_SIZE];
    let length = head.write(&mut out).unwrap();
    out.truncate(length);
    out.extend(body.unwrap_or_default());
    out
}
