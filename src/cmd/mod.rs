//! The subcommands, one file each, and what they share.

pub(crate) mod bench;
pub(crate) mod cluster;
mod cluster_file;
mod joining;
pub(crate) mod kv;
pub(crate) mod lab;
pub(crate) mod log;
mod member;
pub(crate) mod membership;
mod node_process;
mod node_status;
mod open_files;
pub(crate) mod serve;
mod signals;
pub(crate) mod snapshot;
pub(crate) mod status;
mod table;
