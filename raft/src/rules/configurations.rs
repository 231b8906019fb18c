//! Which configuration was in force where in the log: the latest one in the log is, committed or
//! not, and goes with its entry if that is truncated (section 6).

use oarlock_rpc::codec::CodecError;

use crate::configuration::Configuration;
use crate::mistake;
use crate::types::{Entry, EntryId, EntryKind, Index, PeerId};

/// The configuration at every index from the log's base on.
///
/// Invariant: `in_log` has an item for each entry of kind `Configuration` in the log, and no other,
/// in order.
#[derive(Debug)]
pub(super) struct Configurations {
    /// In force at the log's base.
    base: Configuration,
    /// Whether `base` is from a snapshot; if not, it is only what this peer was started with.
    base_is_stored: bool,
    in_log: Vec<(Index, Configuration)>,
}

impl Configurations {
    /// Of a log that begins behind a snapshot, which says what is in force there, or at its very
    /// beginning, with what the peer was started with.
    pub(super) fn new(snapshot: Option<Configuration>, initial: Configuration) -> Self {
        let base_is_stored = snapshot.is_some();
        Self { base: snapshot.unwrap_or(initial), base_is_stored, in_log: Vec::new() }
    }

    /// The one in force.
    pub(super) fn latest(&self) -> &Configuration {
        self.in_log.last().map_or(&self.base, |(_, configuration)| configuration)
    }

    /// Where it stands in the log; 0 if it is the one at the base, which is committed.
    pub(super) fn latest_index(&self) -> Index {
        self.in_log.last().map_or(0, |(index, _)| *index)
    }

    /// Whether the one in force is in the log or in a snapshot. If not, another start of this peer
    /// may be given another one.
    pub(super) fn is_stored(&self) -> bool {
        self.base_is_stored || !self.in_log.is_empty()
    }

    /// The one in force at `index`, which is the base's or above.
    pub(super) fn at(&self, index: Index) -> &Configuration {
        if mistake!(SnapshotsLatestConfiguration) {
            return self.latest();
        }
        let before = self.in_log.partition_point(|(at, _)| *at <= index);
        before.checked_sub(1).map_or(&self.base, |last| &self.in_log[last].1)
    }

    /// Whether `peer` votes in any configuration in force at `index` or later.
    pub(super) fn is_voter_since(&self, index: Index, peer: PeerId) -> bool {
        let later = self.in_log.iter().filter(|(at, _)| *at > index);
        self.at(index).is_voter(peer) || later.map(|(_, c)| c).any(|c| c.is_voter(peer))
    }

    /// Takes notice of an entry that was appended. Returns whether it changed what is in force.
    pub(super) fn appended(&mut self, entry: &Entry) -> Result<bool, CodecError> {
        if EntryKind::from_tag(entry.tag) != Some(EntryKind::Configuration) {
            return Ok(false);
        }
        let EntryId { index, .. } = entry.id;
        assert!(index > self.latest_index(), "configuration {} appended again", entry.id);
        self.in_log.push((index, Configuration::decode(&entry.data)?));
        Ok(true)
    }

    /// Every entry from `index` on is gone. Returns whether that changed what is in force.
    pub(super) fn truncated_from(&mut self, index: Index) -> bool {
        let kept = self.in_log.partition_point(|(at, _)| *at < index);
        let changed = kept < self.in_log.len();
        let superseded = self.latest().clone();
        self.in_log.truncate(kept);
        if changed && mistake!(KeepsTruncatedConfiguration) {
            self.in_log.push((index - 1, superseded));
        }
        changed
    }

    /// The log's base moved up to `index`, to a snapshot of this very log.
    pub(super) fn compacted(&mut self, index: Index) {
        self.base = self.at(index).clone();
        self.base_is_stored = true;
        self.in_log.retain(|(at, _)| *at > index);
    }

    /// The log's base moved up to `index`, to a snapshot from elsewhere that says what is in force
    /// there. The entries behind it are still there if `log_kept`.
    pub(super) fn installed(&mut self, index: Index, base: Configuration, log_kept: bool) {
        self.base = base;
        self.base_is_stored = true;
        self.in_log.retain(|(at, _)| log_kept && *at > index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: u64) -> Configuration {
        Configuration::of_voters((1..=voters).map(PeerId))
    }

    /// Nothing stored, and configurations of 2 and 3 voters at 2 and 5.
    fn two_in_log() -> Configurations {
        let mut configurations = Configurations::new(None, of(1));
        for (index, voters) in [(2, 2), (5, 3)] {
            let tag = EntryKind::Configuration.tag();
            let data = of(voters).encode().into();
            let entry = Entry { id: EntryId::new(index, 1), tag, data };
            assert_eq!(configurations.appended(&entry), Ok(true));
        }
        configurations
    }

    #[test]
    fn the_latest_in_the_log_is_in_force_until_it_is_truncated() {
        let mut configurations = two_in_log();
        assert_eq!((configurations.latest(), configurations.latest_index()), (&of(3), 5));
        assert!(!configurations.truncated_from(6), "it is still there");
        assert!(configurations.truncated_from(4));
        assert_eq!((configurations.latest(), configurations.latest_index()), (&of(2), 2));
        assert!(configurations.truncated_from(1) && !configurations.is_stored());
        assert_eq!((configurations.latest(), configurations.latest_index()), (&of(1), 0));
    }

    #[test]
    fn a_snapshot_gets_the_one_at_its_last_entry_not_the_latest() {
        let mut configurations = two_in_log();
        let voters = |index| configurations.at(index).voters().len();
        assert_eq!([1, 2, 4, 5, 6].map(voters), [1, 2, 2, 3, 3]);
        configurations.compacted(4);
        assert_eq!((configurations.at(4), configurations.latest()), (&of(2), &of(3)));
        configurations.compacted(7);
        assert_eq!((configurations.latest(), configurations.latest_index()), (&of(3), 0));
        assert!(configurations.is_stored());
    }

    #[test]
    fn an_installed_snapshot_brings_its_own_and_keeps_what_is_behind_it_with_its_log() {
        let mut kept = two_in_log();
        kept.installed(4, of(7), true);
        assert_eq!((kept.at(4), kept.latest()), (&of(7), &of(3)));
        let mut dropped = two_in_log();
        dropped.installed(4, of(7), false);
        assert_eq!((dropped.latest(), dropped.latest_index()), (&of(7), 0));
    }
}
