//! Which network it is to be, and how a process comes to stand in the middle of it.
//!
//! Namespaces are made by a process that has itself been started in new ones: a network namespace,
//! which is the switch between the nodes, and a mount namespace, which holds those of the nodes by
//! name. Nothing on the machine's own network is touched, and all of it is gone once the last
//! process in it has ended, however that came about. Without the rights of root it takes a user
//! namespace around them.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::tools::{Refused, find_program, run, search_path};
use super::{Network, Wanted, trial};

/// Says what the network namespace was outside, to a process that has been started in a new one.
const OUTSIDE: &str = "OARLOCK_CHAOS_OUTSIDE";

/// The programs needed, and the packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ss", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("umount", "mount"),
];

/// How a campaign begins.
#[derive(Debug)]
pub enum Start {
    /// In this process, on this network.
    Here(Network),
    /// In new namespaces: the command is this program again, to be completed with its arguments,
    /// and chooses anew there.
    Again(Command),
}

/// Chooses the network. An error if [`Wanted::Namespaces`] cannot be had, or if they can and do not
/// do what they are told.
pub fn choose(wanted: Wanted) -> anyhow::Result<Start> {
    if wanted == Wanted::Proxies {
        return Ok(Start::Here(Network::Proxies { why: "as asked for".to_owned() }));
    }
    let start = if is_inside()? {
        match trial::run() {
            Err(error) if !error.is::<Refused>() => return Err(error),
            tried => tried.map(|()| Start::Here(Network::Namespaces)),
        }
    } else {
        enter().map(Start::Again)
    };
    match start {
        Err(error) if wanted == Wanted::Auto => {
            let why = format!("for there are no namespaces: {error:#}");
            Ok(Start::Here(Network::Proxies { why }))
        }
        start => start.context("there are no namespaces"),
    }
}

/// Whether this process stands in namespaces made for it: in another one than was outside.
fn is_inside() -> anyhow::Result<bool> {
    let Some(outside) = env::var_os(OUTSIDE) else { return Ok(false) };
    ensure!(
        outside.to_string_lossy().starts_with("net:["),
        "{OUTSIDE} is set, though not by this program"
    );
    Ok(own_namespace()? != outside)
}

fn own_namespace() -> anyhow::Result<std::ffi::OsString> {
    let link = fs::read_link("/proc/self/ns/net");
    Ok(link.context("this system knows no network namespaces")?.into_os_string())
}

/// This program in new namespaces.
fn enter() -> anyhow::Result<Command> {
    for (name, package) in PROGRAMS {
        ensure!(find_program(name).is_some(), "there is no `{name}` (install {package})");
    }
    let outside = own_namespace()?;
    let this = env::current_exe()?;
    let mut refused = None;
    for &way in ways() {
        let mut probe = Command::new("unshare");
        probe.args(way).arg("true");
        match run(probe) {
            Ok(()) => {
                let mut command = Command::new("unshare");
                command.args(way).arg("--").arg(this);
                command.env("PATH", search_path()).env(OUTSIDE, outside);
                return Ok(command);
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.context("there is a way to try")?).context("this machine refuses them")
}

fn ways() -> &'static [&'static [&'static str]] {
    const BY_ROOT: &[&str] = &["--net", "--mount"];
    const BY_ANYBODY: &[&str] = &["--user", "--map-root-user", "--net", "--mount"];
    if rustix::process::geteuid().is_root() { &[BY_ROOT, BY_ANYBODY] } else { &[BY_ANYBODY] }
}
