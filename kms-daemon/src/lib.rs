//! kms-daemon
