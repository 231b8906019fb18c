//! What the mistakes of the museum stand for: where each was made, or what teaches that it is one.

/// What a mistake stands for, by its name; `None` if nobody has said.
pub(crate) fn stands_for(mistake: &str) -> Option<&'static str> {
    STAND_FOR.iter().find(|(name, _)| *name == mistake).map(|(_, what)| *what)
}

/// Projects with the numbers of their issues, pages with their section, years where there is no more.
const STAND_FOR: &[(&str, &str)] = &[
    ("CommitsOlderTerms", "LogCabin#44; Figure 8"),
    (
        "ForgetsVote",
        "sofa-jraft#1243, #1245: votes were given, and asked for, before they were saved",
    ),
    ("ForgetsTerm", "hashicorp/raft#661: term and vote are saved apart"),
    ("RepliesBeforeSync", "yugabyte-db#32875, d-engine#446"),
    ("CountsItselfBeforeSync", "etcd#14370: a cluster of one answered before its log was saved"),
    ("VotesForAnyLog", "openraft#1220, databend#16175: a stale log could win"),
    ("ComparesLogsByLength", "section 5.4.1"),
    ("VotesTwice", "section 5.2"),
    ("ForgetsVoteOnStepDown", "CCF#8094, eliben/raft#27"),
    ("ChecksIndexOnly", "openraft#1795: entries were sent without the one before them"),
    ("CommitsBeyondMatch", "Figure 2: the minimum with the last new entry"),
    ("TruncatesOnOldAppend", "Figure 2: only if an entry conflicts"),
    (
        "BelievesOldReplies",
        "etcd#20418: an answer to an earlier question was taken for the later's",
    ),
    ("AppliesOutOfOrder", "section 5.3"),
    ("CountsTruncatedAsDurable", "openraft#1802: committed with fewer than a majority"),
    ("InstallDropsTail", "Figure 13, step 6: entries behind the snapshot stay"),
    ("InstallKeepsConflict", "Figure 13, step 7: a log that conflicts goes"),
    ("ReadsWithoutRound", "etcd and Consul, 2014: stale reads of a deposed leader"),
    ("ReadsBeforeOwnCommit", "etcd#7331, tikv#6340, redisraft#18"),
    ("BelievesAnyVouch", "dissertation, 6.4: who answers must be in the leader's term"),
    ("OneVouchIsAMajority", "dissertation, 6.4: a majority must answer"),
    ("StaleAppendResetsTimer", "section 5.2"),
    ("RefusedVoteResetsTimer", "section 5.2"),
    ("SameTimeouts", "section 9.3: votes split for ever"),
    ("IgnoresHigherTerm", "section 5.1"),
    ("NeverStepsDown", "Cloudflare, 2 November 2020; cockroach#104042"),
    ("BacksUpOneByOne", "section 5.3: a message for each term, not for each entry"),
    ("SendsAllAgain", "section 5.3"),
    ("NeverCompacts", "section 7"),
    ("ChangesInOneStep", "the dissertation's method, flawed until 10 July 2015; hydro#3192"),
    ("SkipsJointConsensus", "section 6, Figure 10"),
    ("CountsNewVotersOnly", "section 6: majorities of both"),
    ("KeepsTruncatedConfiguration", "openraft#1808: a superseded membership was kept"),
    ("SnapshotsLatestConfiguration", "section 7: the configuration as of the last included index"),
    ("PreVoteHidesTerm", "etcd#8243, etcd#8501, openraft#1796, canonical/raft#279"),
    ("NoDirectorySync", "ClickHouse#111339"),
    ("NoLogSync", "etcd#14143: what was not synced was counted on"),
    ("NoSnapshotSync", "etcd#14098, etcd#14140"),
    ("AppliesDuplicates", "section 8"),
    ("SnapshotWithoutSessions", "dissertation, 6.3: sessions are part of the state"),
    ("RetriesUnderNewNumber", "dissertation, 6.3"),
    ("ReadsFromAnybody", "section 8: reads of a follower are stale"),
    ("ComesBackEmpty", "section 5: what is persistent must be"),
];
