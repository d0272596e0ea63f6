//! hsm-core
#![no_std]
