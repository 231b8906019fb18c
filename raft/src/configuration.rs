//! Who votes: the one value every majority is asked of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oarlock_rpc::codec::{self, CodecError, Wire};
use serde::{Deserialize, Serialize};

use crate::mistake;
use crate::types::PeerId;

/// The members of a cluster, and where they are (section 6).
///
/// One set of voters, or two while a change is under way (*joint consensus*), when a decision needs
/// a majority of each; and learners, which receive the log and count in nothing. A value is never
/// changed: a change of membership is the next value, and the log holds both.
///
/// Invariants, checked where one is decoded:
/// 1. A learner is no voter, neither of the old set nor of the new one.
/// 2. Two sets of voters, or one, or nobody at all; never only old ones.
/// 3. Only members have addresses, and no member is retired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    voters: BTreeSet<PeerId>,
    /// The voters before the change that is under way; empty when none is.
    outgoing: BTreeSet<PeerId>,
    learners: BTreeSet<PeerId>,
    /// Where members are found; what the text means, whoever connects to them knows.
    addresses: BTreeMap<PeerId, String>,
    /// Former voters. Their ids are never given to anybody again.
    retired: BTreeSet<PeerId>,
}

impl Wire for Configuration {
    /// 1 knew neither addresses nor retired members.
    const SCHEMA: u8 = 2;
}

/// The most members a configuration may have.
pub(crate) const MEMBERS_MAX: usize = 64;
/// The longest address, in bytes.
pub(crate) const ADDRESS_BYTES_MAX: usize = 512;

impl Configuration {
    /// A configuration of `voters` and nobody else, without addresses.
    pub fn of_voters(voters: impl IntoIterator<Item = PeerId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// A configuration of voters at these addresses, and nobody else.
    pub fn of_voters_at(addresses: BTreeMap<PeerId, String>) -> Self {
        Self { voters: addresses.keys().copied().collect(), addresses, ..Self::default() }
    }

    /// Whether `peer` counts in a majority.
    pub fn is_voter(&self, peer: PeerId) -> bool {
        self.voters.contains(&peer) || self.outgoing.contains(&peer)
    }

    /// Whether `peer` receives the log and counts in nothing.
    pub fn is_learner(&self, peer: PeerId) -> bool {
        self.learners.contains(&peer)
    }

    /// Whether `peer` receives the log.
    pub fn is_member(&self, peer: PeerId) -> bool {
        self.is_voter(peer) || self.is_learner(peer)
    }

    /// Whether `peer` was a voter once, and is a member no more.
    pub fn is_retired(&self, peer: PeerId) -> bool {
        self.retired.contains(&peer)
    }

    /// Whether a change of voters is under way: then there are two sets of them.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The voters; those after the change, if one is under way.
    pub fn voters(&self) -> &BTreeSet<PeerId> {
        &self.voters
    }

    /// The voters before the change that is under way; empty when none is.
    pub fn outgoing(&self) -> &BTreeSet<PeerId> {
        &self.outgoing
    }

    /// The learners.
    pub fn learners(&self) -> &BTreeSet<PeerId> {
        &self.learners
    }

    /// Everybody who was a voter once, and is a member no more.
    pub fn retired(&self) -> &BTreeSet<PeerId> {
        &self.retired
    }

    /// Where `peer` is found, if the configuration says so.
    pub fn address(&self, peer: PeerId) -> Option<&str> {
        self.addresses.get(&peer).map(String::as_str)
    }

    /// Every member, learners included, in order.
    pub fn members(&self) -> BTreeSet<PeerId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }

    /// Whether those for whom `agrees` holds are a majority (of each set of voters).
    pub fn has_majority(&self, agrees: impl Fn(PeerId) -> bool) -> bool {
        self.voter_sets().all(|set| is_majority(set, &agrees))
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

    /// This configuration with `peer` as a learner at `address`.
    pub(crate) fn with_learner(&self, peer: PeerId, address: String) -> Self {
        assert!(!self.is_member(peer), "S{peer} is a member already");
        let mut next = self.clone();
        next.learners.insert(peer);
        next.addresses.insert(peer, address);
        next
    }

    /// The first step of a change of voters: decisions need a majority of the present voters and
    /// of `voters`, which are members already. Learners who are to `leave` are gone at once.
    pub(crate) fn joint(&self, voters: BTreeSet<PeerId>, leave: &BTreeSet<PeerId>) -> Self {
        assert!(!self.is_joint(), "a change is under way: {self:?}");
        assert!(voters.iter().all(|&peer| self.is_member(peer)), "{voters:?} in {self:?}");
        let learners = self.learners.iter().filter(|p| !voters.contains(p) && !leave.contains(p));
        let mut next = self.clone();
        next.learners = learners.copied().collect();
        if voters != self.voters {
            next.outgoing = std::mem::replace(&mut next.voters, voters);
        }
        next.forget_strangers();
        next
    }

    /// The second step: the new voters alone. Whoever votes no more retires.
    pub(crate) fn settled(&self) -> Self {
        let mut next = self.clone();
        next.retired.extend(self.outgoing.difference(&self.voters));
        next.outgoing.clear();
        next.forget_strangers();
        next
    }

    fn forget_strangers(&mut self) {
        let members = self.members();
        self.addresses.retain(|peer, _| members.contains(peer));
    }

    /// The sets a majority is needed of; a cluster without voters decides nothing.
    fn voter_sets(&self) -> impl Iterator<Item = &BTreeSet<PeerId>> {
        let outgoing = self.is_joint() && !mistake!(CountsNewVotersOnly);
        std::iter::once(&self.voters).chain(outgoing.then_some(&self.outgoing))
    }

    /// The bytes kept in the log and in snapshots.
    pub(crate) fn encode(&self) -> Arc<[u8]> {
        codec::encode(self).expect("the members and their addresses are bounded").into()
    }

    /// Reads what [`Self::encode`] wrote, and checks the numbered invariants.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let found: Self = codec::decode(bytes)?;
        let members = found.members();
        let apart = found.learners.iter().all(|&peer| !found.is_voter(peer));
        let has_voters = !found.voters.is_empty() || members.is_empty();
        let known = found.addresses.keys().all(|peer| members.contains(peer));
        if apart && has_voters && known && found.retired.is_disjoint(&members) {
            return Ok(found);
        }
        let type_name = std::any::type_name::<Self>();
        Err(CodecError::Malformed { type_name, reason: "its members contradict each other".into() })
    }
}

fn is_majority(set: &BTreeSet<PeerId>, agrees: impl Fn(PeerId) -> bool) -> bool {
    set.iter().filter(|&&peer| agrees(peer)).count() > set.len() / 2
}

/// As in a trace: `{1,2,3}`, `{1,2,4}&{1,2,3} learners {5}`.
impl std::fmt::Display for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |set: &BTreeSet<PeerId>| {
            set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        write!(f, "{{{}}}", list(&self.voters))?;
        if self.is_joint() {
            write!(f, "&{{{}}}", list(&self.outgoing))?;
        }
        if !self.learners.is_empty() {
            write!(f, " learners {{{}}}", list(&self.learners))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: std::ops::Range<u64>) -> Configuration {
        Configuration::of_voters(voters.map(PeerId))
    }

    fn set(ids: &[u64]) -> BTreeSet<PeerId> {
        ids.iter().copied().map(PeerId).collect()
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
    fn a_learner_becomes_a_voter_in_two_steps_and_whoever_it_replaces_retires() {
        let learning = of(1..4).with_learner(PeerId(4), "d".to_owned());
        assert!(learning.is_learner(PeerId(4)) && learning.has_majority(|p| p.0 < 3));
        assert!(!learning.has_majority(|p| p.0 > 2), "a learner counts in nothing");
        let joint = learning.joint(set(&[1, 2, 4]), &BTreeSet::new());
        assert!(joint.is_joint() && joint.is_voter(PeerId(3)) && joint.is_voter(PeerId(4)));
        assert!(!joint.has_majority(|p| p.0 == 1 || p.0 == 4), "no majority of the old ones");
        assert_eq!(joint.to_string(), "{1,2,4}&{1,2,3}");
        let settled = joint.settled();
        assert!(!settled.is_joint() && settled.is_retired(PeerId(3)));
        assert_eq!(settled.members(), set(&[1, 2, 4]));
        assert_eq!(settled.address(PeerId(4)), Some("d"));
    }

    #[test]
    fn a_learner_that_leaves_was_no_voter_and_needs_no_second_step() {
        let learning = of(1..4).with_learner(PeerId(4), "d".to_owned());
        let left = learning.joint(set(&[1, 2, 3]), &set(&[4]));
        assert_eq!(left, of(1..4));
    }

    #[test]
    fn it_survives_its_encoding() {
        let one = of(1..4).with_learner(PeerId(4), "host:1".to_owned());
        for configuration in [one.joint(set(&[1, 4]), &set(&[])), one, of(0..0)] {
            assert_eq!(Configuration::decode(&configuration.encode()).unwrap(), configuration);
        }
    }

    #[test]
    fn contradictions_are_not_decoded() {
        let learner_and_voter = Configuration { learners: set(&[1]), ..of(1..4) };
        let only_old = Configuration { outgoing: set(&[1]), ..Configuration::default() };
        let stranger = Configuration { addresses: [(PeerId(9), String::new())].into(), ..of(1..4) };
        let undead = Configuration { retired: set(&[1]), ..of(1..4) };
        for wrong in [learner_and_voter, only_old, stranger, undead] {
            let error = Configuration::decode(&wrong.encode()).unwrap_err();
            assert!(error.to_string().contains("contradict"), "{error}");
        }
    }
}
