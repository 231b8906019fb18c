//! One line per event, one fixed form: topic (the log target), peer, term, then the event in the
//! paper's words. The logger puts the time in front.
//!
//! Topics: `VOTE TERM LEAD REPL CMIT APLY PERS SNAP READ CONF NETW`. Each change of role or term
//! and each decision about an RPC has a line; loops and wake-ups have none.

/// Traces one event of a peer's rules: `trace!(rules, "VOTE", "grants …")`.
macro_rules! trace {
    ($rules:expr, $topic:literal, $($event:tt)+) => {
        log::debug!(
            target: $topic,
            "S{} T{} {}", $rules.me, $rules.current_term, format_args!($($event)+)
        )
    };
}

pub(crate) use trace;
