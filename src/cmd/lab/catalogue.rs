//! The mistakes that can be built into Raft, and the lab tests that ought to find them.

/// A mistake on purpose.
pub(crate) struct Planted {
    /// As the suites know it.
    pub(crate) name: &'static str,
    /// What goes wrong, as half a sentence.
    pub(crate) what: &'static str,
    /// The tests to try, by their short names; none for what no lab does: change who the members
    /// are, forward reads, or read by lease. Those are for the unit tests and the simulations.
    pub(crate) tests: &'static [&'static str],
}

/// All mistakes of `raft/src/mistake.rs`.
pub(crate) const CATALOGUE: &[Planted] = &[
    Planted {
        name: "CommitsOlderTerms",
        what: "an entry of an older term counts as committed once a majority has it (Figure 8)",
        tests: &["figure_8_2c", "figure_8_unreliable_2c"],
    },
    Planted {
        name: "ForgetsVote",
        what: "a vote is not persisted: a restarted peer votes again in the same term",
        tests: &["persist2_2c"],
    },
    Planted {
        name: "ForgetsTerm",
        what: "term and vote are not persisted",
        tests: &["persist1_2c"],
    },
    Planted {
        name: "RepliesBeforeSync",
        what: "a follower acknowledges entries before they are on its disk",
        tests: &["reliable_churn_2c"],
    },
    Planted {
        name: "CountsItselfBeforeSync",
        what: "a leader counts its own copy of an entry before that is on its disk",
        tests: &["figure_8_2c"],
    },
    Planted {
        name: "VotesForAnyLog",
        what: "a vote goes to anybody, whatever the candidate's log",
        tests: &["persist2_2c", "rejoin_2b"],
    },
    Planted {
        name: "ComparesLogsByLength",
        what: "logs are compared by length, not by their last term first",
        tests: &["rejoin_2b"],
    },
    Planted {
        name: "VotesTwice",
        what: "a vote is given twice in one term",
        tests: &["many_elections_2a"],
    },
    Planted {
        name: "ForgetsVoteOnStepDown",
        what: "a peer that steps down within its term forgets its vote of that term",
        tests: &["figure_8_unreliable_2c"],
    },
    Planted {
        name: "ChecksIndexOnly",
        what: "the consistency check looks at the index before the entries, not at its term",
        tests: &["rejoin_2b"],
    },
    Planted {
        name: "CommitsBeyondMatch",
        what: "a follower commits up to `leader_commit`, even behind what the leader vouched for",
        tests: &["rejoin_2b"],
    },
    Planted {
        name: "TruncatesOnOldAppend",
        what: "an old `AppendEntries` truncates entries that came after it",
        tests: &["unreliable_agree_2c"],
    },
    Planted {
        name: "BelievesOldReplies",
        what: "a reply to a request of an older term counts in this one",
        tests: &["figure_8_unreliable_2c"],
    },
    Planted {
        name: "AppliesOutOfOrder",
        what: "committed entries reach the service out of order",
        tests: &["snapshot_basic_2d"],
    },
    Planted {
        name: "CountsTruncatedAsDurable",
        what: "a truncated entry goes on counting as on disk",
        tests: &["rejoin_2b"],
    },
    Planted {
        name: "InstallDropsTail",
        what: "an installed snapshot drops the entries behind it too, and what they promised",
        tests: &["snapshot_install_un_crash_2d"],
    },
    Planted {
        name: "InstallKeepsConflict",
        what: "an installed snapshot keeps a log that conflicts with it",
        tests: &["snapshot_install_2d"],
    },
    Planted {
        name: "ReadsWithoutRound",
        what: "a read is served without a round of messages that proves leadership",
        tests: &["one_partition_3a"],
    },
    Planted {
        name: "ReadsBeforeOwnCommit",
        what: "a new leader serves reads before it has committed anything in its term",
        tests: &["persist_partition_unreliable_linearizable_3a"],
    },
    Planted {
        name: "BelievesAnyVouch",
        what: "a peer that passes a read on vouches for a leader whose term is over for it",
        tests: &[],
    },
    Planted {
        name: "OneVouchIsAMajority",
        what: "one peer's vouch serves a read in a cluster of any size",
        tests: &[],
    },
    Planted {
        name: "LetsAnyVoucherServe",
        what: "a peer that passed a read on serves it from a state that lags behind",
        tests: &[],
    },
    Planted {
        name: "StaleAppendResetsTimer",
        what: "an `AppendEntries` of an older term puts off the election",
        tests: &["re_election_2a"],
    },
    Planted {
        name: "RefusedVoteResetsTimer",
        what: "a refused vote puts off the election",
        tests: &["rejoin_2b"],
    },
    Planted {
        name: "SameTimeouts",
        what: "all peers have the same election time-out",
        tests: &["many_elections_2a"],
    },
    Planted {
        name: "IgnoresHigherTerm",
        what: "a leader ignores a higher term in a reply",
        tests: &["re_election_2a"],
    },
    Planted {
        name: "NeverStepsDown",
        what: "a leader that hears no majority goes on as if it led",
        tests: &["re_election_2a"],
    },
    Planted {
        name: "BacksUpOneByOne",
        what: "a conflict is searched one entry at a time",
        tests: &["backup_2b"],
    },
    Planted {
        name: "SendsAllAgain",
        what: "every message carries the whole log from the last acknowledged entry on",
        tests: &["rpc_bytes_2b", "count_2b"],
    },
    Planted {
        name: "NeverCompacts",
        what: "the log before a snapshot is kept",
        tests: &["snapshot_basic_2d"],
    },
    Planted {
        name: "ChangesInOneStep",
        what: "a change of one voter is one step, and a leader begins it before it has committed \
               anything in its term (the flaw found in the dissertation's method in 2015)",
        tests: &[],
    },
    Planted {
        name: "SkipsJointConsensus",
        what: "a change of any voters is one step: old and new majorities need not overlap",
        tests: &[],
    },
    Planted {
        name: "CountsNewVotersOnly",
        what: "while a change of voters is under way, a majority of the new ones is enough",
        tests: &[],
    },
    Planted {
        name: "KeepsTruncatedConfiguration",
        what: "a configuration stays in force though its entry was truncated",
        tests: &[],
    },
    Planted {
        name: "SnapshotsLatestConfiguration",
        what: "a snapshot holds the latest configuration, not the one at its last entry",
        tests: &[],
    },
    Planted {
        name: "PreVoteHidesTerm",
        what: "a pre-vote does not tell its candidate of a higher term",
        tests: &["rejoin_2b"],
    },
    Planted {
        name: "VotesWhileItHears",
        what: "a peer that has just heard a leader votes for another, and says that it would",
        tests: &[],
    },
    Planted {
        name: "ForgetsPromiseAtStart",
        what: "a peer that restarts votes at once, though it may have just heard a leader with a lease",
        tests: &[],
    },
    Planted {
        name: "PromiseEndsWithConnection",
        what: "who loses its connection to the leader forgets that it promised not to vote",
        tests: &[],
    },
    Planted {
        name: "LeaseOutlivesHandOver",
        what: "a leader that told another to campaign goes on reading by its lease",
        tests: &[],
    },
    Planted {
        name: "LeaseFromArrival",
        what: "a lease is counted from when the answers came, not from when the messages left",
        tests: &[],
    },
    Planted {
        name: "LeaseIgnoresDrift",
        what: "a lease lasts as long as the promises it rests on, whatever the clocks",
        tests: &[],
    },
];
