//! The record log against a model, with power cut at every step of flash.
#![allow(clippy::cast_possible_truncation)]

mod cuts;
mod damage;
mod flash;
mod limits;
mod model;
