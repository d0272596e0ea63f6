//! hsm-protocol
#![no_std]
