//! Who and what the examples are about.

/// The account of the key.
pub(crate) const ACCOUNT: &str = "210987654321";
pub(crate) const KEY: &str =
    "arn:aws:kms:eu-north-1:210987654321:key/7d0f2a61-93c4-4e5b-8a10-5b6c7d8e9f01";
pub(crate) const SECOND_KEY: &str =
    "arn:aws:kms:eu-north-1:210987654321:key/0a1b2c3d-4e5f-4061-9273-8495a6b7c8d9";
/// A key in another Region.
pub(crate) const FAR_KEY: &str =
    "arn:aws:kms:ap-south-2:210987654321:key/55aa55aa-0f0f-4f0f-8e8e-123412341234";

pub(crate) const ROOT: &str = "arn:aws:iam::210987654321:root";
pub(crate) const ANA: &str = "arn:aws:iam::210987654321:user/ana";
pub(crate) const BEN: &str = "arn:aws:iam::210987654321:user/ben";
/// A role that administers keys, and a session of it.
pub(crate) const KEEPER: &str = "arn:aws:iam::210987654321:role/keeper";
pub(crate) const KEEPING: &str = "arn:aws:sts::210987654321:assumed-role/keeper/tuesday";
/// A role that uses keys, and a session of it.
pub(crate) const APP: &str = "arn:aws:iam::210987654321:role/app";
pub(crate) const RUN: &str = "arn:aws:sts::210987654321:assumed-role/app/run-7";
/// Another session of that role.
pub(crate) const RERUN: &str = "arn:aws:sts::210987654321:assumed-role/app/run-8";
/// A session that a user made with `GetFederationToken`.
pub(crate) const GUEST: &str = "arn:aws:sts::210987654321:federated-user/guest";

/// The root of an account that works with the owner of the key.
pub(crate) const PARTNER: &str = "arn:aws:iam::345678901234:root";
pub(crate) const EVA: &str = "arn:aws:iam::345678901234:user/eva";
pub(crate) const FINN: &str = "arn:aws:iam::345678901234:user/finn";
/// A role of the other account, and a session of it.
pub(crate) const ENGINEERS: &str = "arn:aws:iam::345678901234:role/engineers";
pub(crate) const ENGINEER: &str = "arn:aws:sts::345678901234:assumed-role/engineers/gus";

/// Services that call for themselves.
pub(crate) const TRAIL: &str = "cloudtrail.amazonaws.com";
pub(crate) const LOGS: &str = "logs.amazonaws.com";
