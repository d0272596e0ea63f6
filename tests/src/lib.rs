//! The rig of Strongroom's end-to-end tests.
//!
//! | module | gives a test |
//! |---|---|
//! | [`calls`] | calls of one device, short enough for tests |
//! | [`daemon`] | a `kmsd` of its own, that can be stopped, killed and started again |
//! | [`ctl`] | `kmsctl` |
//! | [`etcd`] | daemons on a cluster of etcd |
//! | [`model`] | clients that remember what the daemon acknowledged |
//! | [`chaos`] | clients of one daemon while everything below and around it fails |
//! | [`history`] | whether what several clients were told has an order |
//! | [`http`] | raw requests to it, signed or not, well-formed or not |
//! | [`client`] | connections to it that stay open, over either HTTP, in the clear and encrypted |
//! | [`remains`] | what is left of secrets in the memory of a process |
//! | [`xks`] | external key stores, and another KMS that uses them |
//! | [`sdk`] | the AWS SDK for Rust against it |
//! | [`python`] | the Python clients of `tests/clients` against it |
//! | [`javascript`] | those of `tests/clients/javascript` |
//! | [`moto`] | an S3-compatible service of other people's |
//! | [`programs`] | programs of other people's: Terraform, Ansible, OpenBao, MongoDB's driver |
//! | [`browser`] | a page in a headless Chromium |
//! | [`ballots`] | domains that are founded and changed without files |
//! | [`testbed`] | a device on each line a host can reach it by |
//! | [`enclave`] | an attested environment: documents, and what is sealed to it |
//! | [`emulator`] | a QEMU device to boot, connect and kill |
//! | [`pico`] | the board `rp2040` in another emulator |
//! | [`board`] | such a device at the end of a line, to pull out and put back in |
//! | [`probe`] | what is in a QEMU device's RAM, and a debugger |
//! | [`costly`] | policies that take as much of a decision as they may |
//! | [`instructions`] | what a command costs a device |
//! | [`spread`] | whether that depends on secrets |
//! | [`patience`] | waiting for what must happen, on a machine of any speed |
//! | [`process`] | signals and captured output of child processes |
//! | [`vectors`] | published test vectors, and what a registry makes of them |
//! | [`wire`] | a host that speaks to a device without the driver, and may misbehave |
//! | [`seed`] | randomness that a printed seed repeats |
//! | [`environment`] | firmware, interpreter and binaries; says what to do if one is missing |
//!
//! What is missing fails a test, with the command that provides it. Only a program that no package
//! registry has, or a browser, may be missing: [`programs::skip`] says so where nobody can miss it.

pub mod ballots;
pub mod board;
pub mod browser;
pub mod calls;
pub mod chaos;
pub mod client;
pub mod clocks;
pub mod costly;
pub mod ctl;
pub mod daemon;
pub mod device;
pub mod disk;
pub mod emulator;
pub mod enclave;
pub mod environment;
pub mod etcd;
pub mod flash;
pub mod flood;
pub mod history;
pub mod http;
pub mod importer;
pub mod instructions;
pub mod javascript;
pub mod losses;
pub mod model;
pub mod moto;
pub mod patience;
pub mod people;
pub mod pico;
pub mod probe;
pub mod process;
pub mod programs;
pub mod python;
pub mod remains;
pub mod sdk;
pub mod seed;
pub mod signed;
pub mod spread;
pub mod testbed;
pub mod tls;
pub mod trails;
pub mod vectors;
pub mod wire;
pub mod workload;
pub mod xks;
