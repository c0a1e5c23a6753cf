#![forbid(unsafe_code)]

pub mod admin;
pub mod catalog;
pub mod channel;
pub mod cli;
pub mod config;
pub mod form;
pub mod gate;
pub mod image;
pub mod inspect;
pub mod json;
pub mod key;
pub mod ledger;
pub mod metrics;
pub mod mock;
pub mod money;
pub mod multipart;
pub mod policy;
pub mod server;
