//! The commands there are: what each is called, how many words it takes, and who answers it. From
//! here come `COMMAND` and all its kin, so that clients learn nothing that is not true.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::conversation::Context;
use super::data_commands::{self as data, Planned, Refusal, Rest};
use super::parse::Words;
use super::reply::Reply;
use super::{client_command, cluster, command, config, handshake, info, raft};

/// One command.
pub(super) struct Spec {
    /// In lower case.
    pub(super) name: &'static str,
    /// How many words it has, its name included; if negative, at least so many.
    pub(super) arity: i64,
    /// What clients may conclude, separated by blanks.
    flags: &'static str,
    /// Which words are keys: the first, the last (from the end, if negative), and the step.
    pub(super) keys: (i64, i64, i64),
    /// The chapter of the manual it belongs to.
    pub(super) group: &'static str,
    /// The version of Redis that had it first.
    pub(super) since: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    /// Who answers it.
    pub(super) handler: Handler,
}

/// Who answers a command.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// The store, once it is planned.
    Data(fn(Rest) -> Result<Planned, Refusal>),
    /// A function, on the spot.
    Local(fn(&mut Context<'_>, Words) -> Reply),
    /// The connection itself.
    Special(Special),
}

/// The commands that a connection must handle itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Multi,
    Exec,
    Discard,
    Watch,
    Quit,
    Reset,
}

impl Spec {
    /// Whether the command may have `count` words.
    pub(super) fn takes(&self, count: usize) -> bool {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if self.arity < 0 { count >= -self.arity } else { count == self.arity }
    }

    /// The flags, one by one.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.flags.split_ascii_whitespace()
    }

    /// Whether it may be given before authentication.
    pub(super) fn needs_no_auth(&self) -> bool {
        self.flags().any(|flag| flag == "no_auth")
    }

    /// Whether it waits for `EXEC` between it and `MULTI`.
    pub(super) fn is_queued(&self) -> bool {
        !matches!(self.handler, Handler::Special(_))
    }

    /// The positions of the keys in a command of `count` words; empty if it has none.
    pub(super) fn key_positions(&self, count: usize) -> Vec<usize> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let (first, last, step) = self.keys;
        if first == 0 {
            return Vec::new();
        }
        let last = if last < 0 { count + last } else { last };
        let mut positions = Vec::new();
        let mut at = first;
        while at <= last.min(count - 1) {
            positions.extend(usize::try_from(at));
            at += step;
        }
        positions
    }
}

/// The command of this name, in any case of letters.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    static BY_NAME: LazyLock<BTreeMap<&'static [u8], &'static Spec>> =
        LazyLock::new(|| TABLE.iter().map(|spec| (spec.name.as_bytes(), spec)).collect());
    const NAME_LEN_MAX: usize = 24;
    let mut buffer = [0; NAME_LEN_MAX];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

/// All commands.
pub(super) fn all() -> &'static [Spec] {
    TABLE
}

/// Scripts are not supported; who uses them to let go of a lock is told what does.
fn no_scripts(_: &mut Context<'_>, _: Words) -> Reply {
    Reply::error("scripting is not supported; use DELEX key IFEQ value")
}

fn no_once(_: &mut Context<'_>, _: Words) -> Reply {
    Reply::error("ONCE is not supported yet")
}

macro_rules! table {
    ($($name:literal $arity:literal [$flags:literal] $keys:tt $group:ident $since:literal
       $kind:ident($handler:expr) $summary:literal)*) => {
        &[$(Spec {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            group: stringify!($group),
            since: $since,
            summary: $summary,
            handler: Handler::$kind($handler),
        }),*]
    };
}

static TABLE: &[Spec] = table! {
    "append" 3 ["write denyoom fast"] (1, 1, 1) string "2.0.0"
        Data(data::append) "Adds to the end of a value, or sets it"
    "asking" 1 ["fast"] (0, 0, 0) cluster "3.0.0"
        Local(handshake::always_ok) "Accepted; every node takes every command"
    "auth" -2 ["noscript loading stale fast no_auth"] (0, 0, 0) connection "1.0.0"
        Local(handshake::auth) "Says the password"
    "client" -2 ["noscript loading stale"] (0, 0, 0) connection "2.4.0"
        Local(client_command::client) "Asks and says things about connections"
    "cluster" -2 ["stale"] (0, 0, 0) cluster "3.0.0"
        Local(cluster::cluster) "Tells who the members are"
    "command" -1 ["loading stale"] (0, 0, 0) server "2.8.13"
        Local(command::command) "Tells what commands there are"
    "config" -2 ["admin noscript loading stale"] (0, 0, 0) server "2.0.0"
        Local(config::config) "Tells the configuration"
    "dbsize" 1 ["readonly fast"] (0, 0, 0) server "1.0.0"
        Data(data::dbsize) "Counts the keys"
    "decr" 2 ["write denyoom fast"] (1, 1, 1) string "1.0.0"
        Data(data::decr) "Takes one from a number"
    "decrby" 3 ["write denyoom fast"] (1, 1, 1) string "1.0.0"
        Data(data::decrby) "Takes something from a number"
    "del" -2 ["write"] (1, -1, 1) generic "1.0.0"
        Data(data::del) "Deletes keys"
    "delex" -2 ["write fast"] (1, 1, 1) string "8.4.0"
        Data(data::delex) "Deletes a key if its value is, or is not, the one given"
    "delifeq" 3 ["write fast"] (1, 1, 1) string "9.0.0"
        Data(data::delifeq) "Deletes a key if its value is the one given"
    "discard" 1 ["noscript loading stale fast"] (0, 0, 0) transactions "2.0.0"
        Special(Special::Discard) "Forgets the commands since MULTI"
    "echo" 2 ["loading stale fast"] (0, 0, 0) connection "1.0.0"
        Local(handshake::echo) "Says the same"
    "eval" -3 ["noscript"] (0, 0, 0) scripting "2.6.0"
        Local(no_scripts) "Not supported"
    "eval_ro" -3 ["noscript"] (0, 0, 0) scripting "7.0.0"
        Local(no_scripts) "Not supported"
    "evalsha" -3 ["noscript"] (0, 0, 0) scripting "2.6.0"
        Local(no_scripts) "Not supported"
    "evalsha_ro" -3 ["noscript"] (0, 0, 0) scripting "7.0.0"
        Local(no_scripts) "Not supported"
    "exec" 1 ["noscript loading stale"] (0, 0, 0) transactions "1.2.0"
        Special(Special::Exec) "Executes the commands since MULTI, as one"
    "exists" -2 ["readonly fast"] (1, -1, 1) generic "1.0.0"
        Data(data::exists) "Counts which of the keys exist"
    "expire" -3 ["write fast"] (1, 1, 1) generic "1.0.0"
        Data(data::no_expiry) "Not supported"
    "expireat" -3 ["write fast"] (1, 1, 1) generic "1.2.0"
        Data(data::no_expiry) "Not supported"
    "fcall" -3 ["noscript"] (0, 0, 0) scripting "7.0.0"
        Local(no_scripts) "Not supported"
    "fcall_ro" -3 ["noscript"] (0, 0, 0) scripting "7.0.0"
        Local(no_scripts) "Not supported"
    "function" -2 ["noscript"] (0, 0, 0) scripting "7.0.0"
        Local(no_scripts) "Not supported"
    "get" 2 ["readonly fast"] (1, 1, 1) string "1.0.0"
        Data(data::get) "Tells a value"
    "getdel" 2 ["write fast"] (1, 1, 1) string "6.2.0"
        Data(data::getdel) "Deletes a key and tells its value"
    "getset" 3 ["write denyoom fast"] (1, 1, 1) string "1.0.0"
        Data(data::getset) "Sets a value and tells the one before"
    "hello" -1 ["noscript loading stale fast no_auth"] (0, 0, 0) connection "6.0.0"
        Local(handshake::hello) "Chooses the version of the protocol"
    "incr" 2 ["write denyoom fast"] (1, 1, 1) string "1.0.0"
        Data(data::incr) "Adds one to a number"
    "incrby" 3 ["write denyoom fast"] (1, 1, 1) string "1.0.0"
        Data(data::incrby) "Adds something to a number"
    "info" -1 ["loading stale"] (0, 0, 0) server "1.0.0"
        Local(info::info) "Tells about this node"
    "keys" 2 ["readonly"] (0, 0, 0) generic "1.0.0"
        Data(data::keys) "Tells all keys that match a pattern"
    "mget" -2 ["readonly fast"] (1, -1, 1) string "1.0.0"
        Data(data::mget) "Tells several values"
    "mset" -3 ["write denyoom"] (1, -1, 2) string "1.0.1"
        Data(data::mset) "Sets several values, as one"
    "msetnx" -3 ["write denyoom"] (1, -1, 2) string "1.0.1"
        Data(data::msetnx) "Sets several values, as one, if none of the keys exists"
    "multi" 1 ["noscript loading stale fast"] (0, 0, 0) transactions "1.2.0"
        Special(Special::Multi) "Begins a transaction"
    "once" -4 ["write"] (0, 0, 0) generic "0.1.0"
        Local(no_once) "Not supported yet"
    "persist" 2 ["readonly fast"] (1, 1, 1) generic "2.2.0"
        Data(data::persist) "Makes a key stay; it does"
    "pexpire" -3 ["write fast"] (1, 1, 1) generic "2.6.0"
        Data(data::no_expiry) "Not supported"
    "pexpireat" -3 ["write fast"] (1, 1, 1) generic "2.6.0"
        Data(data::no_expiry) "Not supported"
    "ping" -1 ["fast"] (0, 0, 0) connection "1.0.0"
        Local(handshake::ping) "Answers"
    "psetex" 4 ["write denyoom"] (1, 1, 1) string "2.6.0"
        Data(data::no_expiry) "Not supported"
    "pttl" 2 ["readonly fast"] (1, 1, 1) generic "2.6.0"
        Data(data::ttl) "Tells when a key expires; none does"
    "quit" -1 ["noscript loading stale fast no_auth"] (0, 0, 0) connection "1.0.0"
        Special(Special::Quit) "Ends the connection"
    "raft" -2 ["admin loading stale"] (0, 0, 0) server "0.1.0"
        Local(raft::raft) "Tells about consensus"
    "readonly" 1 ["loading stale fast"] (0, 0, 0) cluster "3.0.0"
        Local(handshake::always_ok) "Accepted; every node takes every command"
    "readwrite" 1 ["loading stale fast"] (0, 0, 0) cluster "3.0.0"
        Local(handshake::always_ok) "Accepted; every node takes every command"
    "reset" 1 ["noscript loading stale fast no_auth"] (0, 0, 0) connection "6.2.0"
        Special(Special::Reset) "Makes the connection as it was at first"
    "role" 1 ["noscript loading stale fast"] (0, 0, 0) server "2.8.12"
        Local(handshake::role) "Tells what this node is for clients"
    "scan" -2 ["readonly"] (0, 0, 0) generic "2.8.0"
        Data(data::scan) "Tells all keys, some at a time"
    "script" -2 ["noscript"] (0, 0, 0) scripting "2.6.0"
        Local(no_scripts) "Not supported"
    "select" 2 ["loading stale fast"] (0, 0, 0) connection "1.0.0"
        Local(handshake::select) "Chooses a database; there is one"
    "set" -3 ["write denyoom"] (1, 1, 1) string "1.0.0"
        Data(data::set) "Sets a value, perhaps on a condition"
    "setex" 4 ["write denyoom"] (1, 1, 1) string "2.0.0"
        Data(data::no_expiry) "Not supported"
    "setnx" 3 ["write denyoom fast"] (1, 1, 1) string "1.0.0"
        Data(data::setnx) "Sets a value if there is none"
    "strlen" 2 ["readonly fast"] (1, 1, 1) string "2.2.0"
        Data(data::strlen) "Tells how long a value is"
    "time" 1 ["loading stale fast"] (0, 0, 0) server "2.6.0"
        Local(handshake::time) "Tells the time of this node"
    "ttl" 2 ["readonly fast"] (1, 1, 1) generic "1.0.0"
        Data(data::ttl) "Tells when a key expires; none does"
    "type" 2 ["readonly fast"] (1, 1, 1) generic "1.0.0"
        Data(data::kind) "Tells what a value is"
    "unlink" -2 ["write fast"] (1, -1, 1) generic "4.0.0"
        Data(data::del) "Deletes keys"
    "unwatch" 1 ["noscript loading stale fast"] (0, 0, 0) transactions "2.2.0"
        Local(handshake::always_ok) "Accepted; nothing is watched"
    "wait" 3 ["blocking"] (0, 0, 0) generic "3.0.0"
        Local(handshake::wait) "Tells how many other nodes have every answered write"
    "watch" -2 ["noscript loading stale fast"] (1, -1, 1) transactions "2.2.0"
        Special(Special::Watch) "Not supported"
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_are_in_order() {
        assert_eq!(find(b"GeT").unwrap().name, "get");
        assert!(find(b"gets").is_none());
        assert!(find(&[b'x'; 1000]).is_none());
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name), "sorted, none twice");
        assert!(TABLE.iter().all(|spec| find(spec.name.as_bytes()).is_some()));
    }

    #[test]
    fn arity_is_exact_or_a_minimum() {
        let get = find(b"get").unwrap();
        assert!(get.takes(2) && !get.takes(1) && !get.takes(3));
        let set = find(b"set").unwrap();
        assert!(!set.takes(2) && set.takes(3) && set.takes(9));
    }

    #[test]
    fn key_positions_follow_from_the_table() {
        let positions = |name: &[u8], count| find(name).unwrap().key_positions(count);
        assert_eq!(positions(b"get", 2), [1]);
        assert_eq!(positions(b"mget", 4), [1, 2, 3]);
        assert_eq!(positions(b"mset", 5), [1, 3]);
        assert_eq!(positions(b"ping", 2), [0; 0]);
    }
}
