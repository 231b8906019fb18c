//! Mistakes of the disk and the service, made on purpose to see whether they are found. Those of the
//! rules are in `oarlock-raft`, behind its feature `mistakes`.

use std::str::FromStr;

use oarlock_storage::SimUnmade;

macro_rules! mistakes {
    ($($(#[doc = $what:literal])+ $name:ident,)+) => {
        /// One way to get storage, or the service, wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mistake {
            $($(#[doc = $what])+ $name,)+
        }

        impl Mistake {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What goes wrong.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($what,)+).trim_ascii(),)+
                }
            }
        }
    };
}

mistakes! {
    /// A file is renamed, or made, without a sync of its directory.
    NoDirectorySync,
    /// A batch of the log is acknowledged without a sync.
    NoLogSync,
    /// A snapshot is made current without a sync.
    NoSnapshotSync,
    /// A request that comes twice is executed twice.
    AppliesDuplicates,
    /// Snapshots do not remember which requests were executed.
    SnapshotWithoutSessions,
    /// A retried request gets a new number.
    RetriesUnderNewNumber,
    /// A read is served by whoever is asked, leader or not.
    ReadsFromAnybody,
    /// A node that forgot everything comes back under its old identity.
    ComesBackEmpty,
}

impl Mistake {
    /// The syncs that are left out.
    pub(crate) fn unmade(self) -> Option<SimUnmade> {
        match self {
            Self::NoDirectorySync => Some(SimUnmade::OfDirectories),
            Self::NoLogSync => Some(SimUnmade::OfFiles("wal-")),
            Self::NoSnapshotSync => Some(SimUnmade::OfFiles("snapshot-")),
            _ => None,
        }
    }
}

impl FromStr for Mistake {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|mistake| format!("{mistake:?}") == name);
        found.ok_or_else(|| format!("no such mistake; there are {:?}", Self::ALL))
    }
}
