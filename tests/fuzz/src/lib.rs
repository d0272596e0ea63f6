//! Fuzz targets: functions of bytes that must not panic, and must find what they assert.
//!
//! `cargo xtask fuzz` runs them with coverage feedback; `cargo test` runs them once over the
//! checked-in corpora, and over every input that was ever found to fail.

mod device;
mod external_stores;
mod firmware;
mod forms;
mod parsers;
mod pkcs11;
mod policies;
mod sigv4;

/// A target: its name, which is that of its corpus, and what it does with an input.
pub struct Target(pub &'static str, pub fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    Target("frames", parsers::frames),
    Target("handshake", parsers::handshake),
    Target("records", parsers::records),
    Target("request_bodies", parsers::request_bodies),
    Target("tokens", parsers::tokens),
    Target("manifests", firmware::manifests),
    Target("attestation", parsers::attestation),
    Target("statements", parsers::statements),
    Target("private_keys", parsers::private_keys),
    Target("public_keys", parsers::public_keys),
    Target("policies", policies::documents),
    Target("forms", forms::forms),
    Target("sigv4", sigv4::requests),
    Target("external_stores", external_stores::requests),
    Target("external_proxies", external_stores::responses),
    Target("token_requests", pkcs11::requests),
    Target("token_answers", pkcs11::answers),
    Target("device_line", device::line),
    Target("device_requests", device::requests),
];
