//! What must be true after every step: the table of invariants, and how often each was checked.

macro_rules! invariants {
    ($($number:literal $name:ident $text:literal,)+) => {
        /// Something that must be true at all times.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Invariant {
            $(#[doc = $text] $name = $number,)+
        }

        impl Invariant {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it says.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

invariants! {
    1 ElectionSafety "at most one peer leads a term (Figure 3)",
    2 LeaderAppendOnly "a leader only appends to its log (Figure 3)",
    3 LogMatching "two logs that hold an entry of one index and term are the same up to it, payloads included (Figure 3)",
    4 LeaderCompleteness "a leader's log holds every entry that was committed in an earlier term (Figure 3)",
    5 StateMachineSafety "no two peers apply or commit different entries at one index (Figure 3)",
    6 AppendDurableBeforeSpoken "what a follower acknowledges is on its disk, with the terms the leader sent",
    7 VoteDurableBeforeSpoken "a vote that is spoken, a candidate's own included, is on the voter's disk",
    8 OneVoteATerm "a peer votes for one candidate a term, restarts or not",
    9 TermNeverFalls "a peer's term never falls, nor below one it has spoken of, restarts or not",
    10 CommitNeverFalls "a peer's commit index never falls while it runs, and lies between its snapshot and its log's end",
    11 CommittedByMajority "what a leader commits is on the disks of a majority, of each half of a joint configuration",
    12 CommittedInOwnTerm "a leader commits by counting only entries of its own term (section 5.4.2)",
    13 AppliedInOrder "a peer applies every committed index once, in order, and none that is not committed",
    14 RecoveredAsAcknowledged "what is found at opening is exactly what the disk had acknowledged, with or without the one step under way",
    15 StartsAfterCrash "a directory opens after every crash",
    16 SnapshotWithinApplied "a snapshot covers nothing that its peer has not applied or received",
    17 StatesEqual "states at one index have the same bytes at every peer",
    18 ExactlyOnce "each numbered request takes effect once, and is answered as that once",
    19 WritesLinearizable "a write that is answered took effect after it was asked for, behind everything seen before",
    20 ReadsLinearizable "a read sees everything that was answered, or seen, before it was asked for, and nothing that never was",
    21 AcknowledgedStays "what a follower acknowledged in a term stays in its log while that term lasts",
    22 MatchIsTrue "what a leader believes to match on a follower's disk is there",
    23 TermsAreHeeded "whoever hears of a higher term in a reply, or from a leader, moves to it (section 5.1)",
    24 TimersAreHeeded "only a leader of this term or a vote given puts off an election (section 5.2)",
    25 OldRepliesIgnored "a reply to a request of an older term changes nothing at a leader",
    26 TimeoutsDiffer "election time-outs are drawn at random (section 5.2)",
    27 LeaderHearsMajority "a peer that hears no majority of the configuration in force for two election time-outs does not lead",
    28 ConflictsAreShort "a conflict is found in at most about a message for each term in the two logs (section 5.3)",
    29 EntriesSentOnce "on a network without faults, entries are sent about once",
    30 LogIsCompacted "the log behind a snapshot stays within its limit",
    31 LeaderAfterHealing "once faults end, a leader is found within bounded time, and stays",
    32 ProgressAfterHealing "once faults end, every request is answered and every peer catches up within bounded time",
    33 AcknowledgedIsReadable "once faults end, every acknowledged write is there",
    34 HistoryLinearizable "what the clerks saw can have happened one call at a time",
    35 ConfigurationOfLog "the configuration in force at a peer is the latest in its log (section 6)",
    36 ConfigurationOfSnapshot "a snapshot holds the configuration in force at its last entry (section 7)",
    37 OneChangeAtATime "a leader appends a configuration only when the one before it is committed",
    38 MajoritiesOverlap "majorities of any two configurations that may be in force have a voter in common (section 6)",
    39 ElectedByMajority "a leader has the votes of a majority of the configuration in force, of each half of a joint one",
    40 RemovedPeersLeave "who stops as removed was removed for good, and who was removed stops if anybody can tell it",
    41 ChangesAreDone "a change that is answered as done is committed and stays, and the last one is done, or refused for a reason",
    42 LeaseMeansAlone "while a leader's lease holds, nobody leads a later term (dissertation 6.4.1)",
}

impl Invariant {
    /// Its number in the table.
    pub fn number(self) -> usize {
        self as usize
    }
}

/// How often each invariant was checked.
#[derive(Clone, Debug)]
pub struct Checks([u64; Invariant::ALL.len()]);

impl Default for Checks {
    fn default() -> Self {
        Self([0; Invariant::ALL.len()])
    }
}

impl Checks {
    /// Fails the run unless the invariant holds.
    ///
    /// # Panics
    ///
    /// Then, with its number, its name and `what`.
    #[track_caller]
    pub(crate) fn require(
        &mut self,
        invariant: Invariant,
        holds: bool,
        what: impl FnOnce() -> String,
    ) {
        self.0[invariant.number() - 1] += 1;
        assert!(holds, "invariant {} ({invariant:?}): {}", invariant.number(), what());
    }

    /// How often `invariant` was checked.
    pub fn of(&self, invariant: Invariant) -> u64 {
        self.0[invariant.number() - 1]
    }

    /// How many checks there were.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_numbered_without_gaps() {
        for (place, invariant) in Invariant::ALL.iter().enumerate() {
            assert_eq!(invariant.number(), place + 1, "{invariant:?}");
        }
    }
}
