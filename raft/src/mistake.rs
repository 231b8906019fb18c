//! Mistakes made on purpose, to see which tests find them. Nothing of this is in a product: the
//! feature `mistakes` builds them in, and the environment variable `OARLOCK_MISTAKE` makes one.
//!
//! A place that can go wrong says so in one expression: `of_own_term || mistake!(CommitsOlderTerms)`,
//! which is plain `false` without the feature.

/// Whether this mistake is to be made.
#[cfg(feature = "mistakes")]
macro_rules! mistake {
    ($name:ident) => {
        crate::mistake::is_made(crate::mistake::Mistake::$name)
    };
}

/// Whether this mistake is to be made: never, in a build without them.
#[cfg(not(feature = "mistakes"))]
macro_rules! mistake {
    ($name:ident) => {
        false
    };
}

pub(crate) use mistake;

#[cfg(feature = "mistakes")]
pub(crate) use planted::is_made;
#[cfg(feature = "mistakes")]
pub use planted::{Mistake, VARIABLE};

#[cfg(feature = "mistakes")]
mod planted {
    use std::sync::OnceLock;

    /// Names the mistake to make.
    pub const VARIABLE: &str = "OARLOCK_MISTAKE";

    macro_rules! mistakes {
        ($($(#[doc = $what:literal])+ $name:ident,)+) => {
            /// One way to get Raft wrong.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Mistake {
                $($(#[doc = $what])+ $name,)+
            }

            impl Mistake {
                /// All of them.
                pub const ALL: &[Self] = &[$(Self::$name,)+];
            }
        };
    }

    mistakes! {
        /// An entry of an older term counts as committed once a majority has it (Figure 8).
        CommitsOlderTerms,
        /// A vote is not persisted: a restarted peer votes again in the same term.
        ForgetsVote,
        /// Term and vote are not persisted.
        ForgetsTerm,
        /// A follower acknowledges entries before they are on its disk.
        RepliesBeforeSync,
        /// A leader counts its own copy of an entry before that is on its disk.
        CountsItselfBeforeSync,
        /// A vote goes to anybody, whatever the candidate's log.
        VotesForAnyLog,
        /// Logs are compared by length, not by their last term first.
        ComparesLogsByLength,
        /// A vote is given twice in one term.
        VotesTwice,
        /// A peer that steps down within its term forgets its vote of that term.
        ForgetsVoteOnStepDown,
        /// The consistency check looks at the index before the entries, not at its term.
        ChecksIndexOnly,
        /// A follower commits up to `leader_commit`, even behind what the leader vouched for.
        CommitsBeyondMatch,
        /// An old `AppendEntries` truncates entries that came after it.
        TruncatesOnOldAppend,
        /// A reply to a request of an older term counts in this one.
        BelievesOldReplies,
        /// Committed entries reach the service out of order.
        AppliesOutOfOrder,
        /// A truncated entry goes on counting as on disk.
        CountsTruncatedAsDurable,
        /// An installed snapshot drops the entries behind it too, and what they promised.
        InstallDropsTail,
        /// An installed snapshot keeps a log that conflicts with it.
        InstallKeepsConflict,
        /// A read is served without a round of messages that proves leadership.
        ReadsWithoutRound,
        /// A new leader serves reads before it has committed anything in its term.
        ReadsBeforeOwnCommit,
        /// A peer that passes a read on vouches for a leader whose term is over for it.
        BelievesAnyVouch,
        /// One peer's vouch serves a read in a cluster of any size.
        OneVouchIsAMajority,
        /// A peer that passed a read on serves it from a state that lags behind.
        LetsAnyVoucherServe,
        /// An `AppendEntries` of an older term puts off the election.
        StaleAppendResetsTimer,
        /// A refused vote puts off the election.
        RefusedVoteResetsTimer,
        /// All peers have the same election time-out.
        SameTimeouts,
        /// A leader ignores a higher term in a reply.
        IgnoresHigherTerm,
        /// A leader that hears no majority goes on as if it led.
        NeverStepsDown,
        /// A conflict is searched one entry at a time.
        BacksUpOneByOne,
        /// Every message carries the whole log from the last acknowledged entry on.
        SendsAllAgain,
        /// The log before a snapshot is kept.
        NeverCompacts,
        /// A change of one voter is one step, and a leader begins it before it has committed
        /// anything in its term (the flaw found in the dissertation's method in 2015).
        ChangesInOneStep,
        /// A change of any voters is one step: old and new majorities need not overlap.
        SkipsJointConsensus,
        /// While a change of voters is under way, a majority of the new ones is enough.
        CountsNewVotersOnly,
        /// A configuration stays in force though its entry was truncated.
        KeepsTruncatedConfiguration,
        /// A snapshot holds the latest configuration, not the one at its last entry.
        SnapshotsLatestConfiguration,
        /// A pre-vote does not tell its candidate of a higher term.
        PreVoteHidesTerm,
        /// A peer that has just heard a leader votes for another, and says that it would.
        VotesWhileItHears,
        /// A peer that restarts votes at once, though it may have just heard a leader with a lease.
        ForgetsPromiseAtStart,
        /// Who loses its connection to the leader forgets that it promised not to vote.
        PromiseEndsWithConnection,
        /// A leader that told another to campaign goes on reading by its lease.
        LeaseOutlivesHandOver,
        /// A lease is counted from when the answers came, not from when the messages left.
        LeaseFromArrival,
        /// A lease lasts as long as the promises it rests on, whatever the clocks.
        LeaseIgnoresDrift,
    }

    impl std::str::FromStr for Mistake {
        type Err = String;

        fn from_str(name: &str) -> Result<Self, Self::Err> {
            Self::ALL.iter().copied().find(|mistake| format!("{mistake:?}") == name).ok_or_else(
                || format!("{VARIABLE}={name}: no such mistake; there are {:?}", Self::ALL),
            )
        }
    }

    /// Whether the environment asks for this mistake.
    pub(crate) fn is_made(mistake: Mistake) -> bool {
        static CHOSEN: OnceLock<Option<Mistake>> = OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
            Some(name.parse().unwrap_or_else(|error| panic!("{error}")))
        });
        *chosen == Some(mistake)
    }
}
