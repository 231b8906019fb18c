//! Who votes: the one value every majority is asked of.

use std::collections::BTreeSet;
use std::sync::Arc;

use oarlock_rpc::codec::{self, CodecError, Wire};
use serde::{Deserialize, Serialize};

use crate::types::PeerId;

/// The members of a cluster (section 6).
///
/// One set of voters, or two while a change is under way, when a decision needs a majority of each;
/// and learners, which receive the log and count in nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    voters: BTreeSet<PeerId>,
    /// The voters before the change that is under way; empty when none is.
    outgoing: BTreeSet<PeerId>,
    learners: BTreeSet<PeerId>,
}

impl Wire for Configuration {}

impl Configuration {
    /// A configuration of `voters` and nobody else.
    pub fn of_voters(voters: impl IntoIterator<Item = PeerId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether `peer` counts in a majority.
    pub fn is_voter(&self, peer: PeerId) -> bool {
        self.voters.contains(&peer) || self.outgoing.contains(&peer)
    }

    /// Every member, learners included, in order.
    pub fn members(&self) -> BTreeSet<PeerId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }

    /// Whether those for whom `agrees` holds are a majority (of each set of voters).
    pub fn has_majority(&self, agrees: impl Fn(PeerId) -> bool) -> bool {
        self.voter_sets().all(|set| set.iter().filter(|&&p| agrees(p)).count() > set.len() / 2)
    }

    /// The greatest value that a majority (of each set of voters) has reached.
    pub fn majority_value<V: Ord + Copy + Default>(&self, value: impl Fn(PeerId) -> V) -> V {
        let reached = |set: &BTreeSet<PeerId>| {
            let mut values: Vec<V> = set.iter().map(|&p| value(p)).collect();
            values.sort_unstable();
            // Of n values in rising order, the one at (n - 1) / 2 has a majority at or above it.
            values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
        };
        self.voter_sets().map(reached).min().unwrap_or_default()
    }

    /// The sets a majority is needed of; a cluster without voters decides nothing.
    fn voter_sets(&self) -> impl Iterator<Item = &BTreeSet<PeerId>> {
        std::iter::once(&self.voters).chain((!self.outgoing.is_empty()).then_some(&self.outgoing))
    }

    /// The bytes kept in a snapshot.
    pub(crate) fn encode(&self) -> Arc<[u8]> {
        codec::encode(self).expect("a cluster of fewer than 10,000 members fits the limit").into()
    }

    /// Reads what [`Self::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: std::ops::Range<u64>) -> Configuration {
        Configuration::of_voters(voters.map(PeerId))
    }

    #[test]
    fn a_majority_is_more_than_half() {
        for (size, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let configuration = of(0..size);
            assert!(configuration.has_majority(|p| p.0 < needed), "{needed} of {size}");
            assert!(!configuration.has_majority(|p| p.0 + 1 < needed), "{} of {size}", needed - 1);
        }
        assert!(!of(0..0).has_majority(|_| true), "nobody is no majority");
    }

    #[test]
    fn a_majority_has_reached_the_middle_value() {
        assert_eq!(of(0..3).majority_value(|p| [7, 9, 3][p.0 as usize]), 7);
        assert_eq!(of(0..4).majority_value(|p| [7, 9, 3, 1][p.0 as usize]), 3);
        assert_eq!(of(0..1).majority_value(|_| 5), 5);
    }

    #[test]
    fn a_change_under_way_needs_both_majorities() {
        let joint = Configuration { outgoing: of(3..6).voters, ..of(0..3) };
        assert!(!joint.has_majority(|p| p.0 < 3));
        assert!(joint.has_majority(|p| p.0 % 3 < 2));
        assert_eq!(joint.majority_value(|p| p.0), 1);
    }

    #[test]
    fn it_survives_its_encoding() {
        let configuration = of(1..4);
        assert_eq!(Configuration::decode(&configuration.encode()).unwrap(), configuration);
    }
}
