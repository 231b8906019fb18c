//! The logs of all peers, and what is committed: invariants 2, 3, 4 and 5.

use std::collections::{BTreeMap, VecDeque};

use oarlock_raft::simulation::{Peer, configuration_of};
use oarlock_raft::{Configuration, EntryId, Index, PeerId, Term};

use crate::configurations::ConfigurationBook;
use crate::fingerprint::{mix, mix_bytes};
use crate::invariant::{Checks, Invariant};
use crate::store::Store;

/// An entry and the fingerprint of the log up to it.
type Link = (EntryId, u64);

/// A copy of one peer's log, by identities and fingerprints.
#[derive(Debug, Default)]
pub(crate) struct LogMirror {
    /// The log's base.
    base: EntryId,
    /// The entry before the first link: the base, or what it was before the present step.
    start: EntryId,
    links: VecDeque<Link>,
    last: EntryId,
}

impl LogMirror {
    fn at(&self, index: Index) -> Option<Link> {
        let at = usize::try_from(index.checked_sub(self.start.index + 1)?).ok()?;
        self.links.get(at).copied()
    }

    /// Drops what the log's base covers.
    fn forget(&mut self) {
        if self.start != self.base {
            self.links.drain(..(self.base.index - self.start.index) as usize);
            self.start = self.base;
        }
    }

    /// How many terms its entries are of.
    pub(crate) fn terms(&self) -> usize {
        let mut terms: Vec<Term> = self.links.iter().map(|(id, _)| id.term).collect();
        terms.dedup();
        terms.len() + 1
    }
}

/// The log up to an entry: its fingerprint, and where the latest configuration in it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Prefix {
    chain: u64,
    configuration: EntryId,
}

/// What is known of all logs.
#[derive(Debug)]
pub(crate) struct LogBook {
    /// The log up to each entry there ever was.
    known: BTreeMap<(Index, Term), Prefix>,
    /// What is committed, from index 1 on.
    committed: Vec<Link>,
    pub(crate) configurations: ConfigurationBook,
}

impl LogBook {
    pub(crate) fn new(founders: Configuration) -> Self {
        Self {
            known: BTreeMap::new(),
            committed: Vec::new(),
            configurations: ConfigurationBook::new(founders),
        }
    }

    /// The log up to an entry that somebody had.
    fn up_to(&self, id: EntryId) -> Option<Prefix> {
        if id.index == 0 {
            return Some(Prefix::default());
        }
        self.known.get(&(id.index, id.term)).copied()
    }

    /// The last committed index that anybody knows of.
    pub(crate) fn committed_through(&self) -> Index {
        self.committed.len() as Index
    }

    /// The committed entry at `index`.
    pub(crate) fn committed_at(&self, index: Index) -> Option<EntryId> {
        let at = usize::try_from(index.checked_sub(1)?).ok()?;
        self.committed.get(at).map(|(id, _)| *id)
    }

    /// Sees what has become of a peer's log; `led` says that it led this term before the step.
    pub(crate) fn see(
        &mut self,
        peer: &Peer<Store>,
        mirror: &mut LogMirror,
        led: bool,
        checks: &mut Checks,
    ) {
        let (base, last) = (peer.base(), peer.last());
        if base == mirror.base && last == mirror.last {
            return;
        }
        Self::see_base(base, mirror);
        let mut same = mirror.links.back().map_or(base.index, |(id, _)| id.index).min(last.index);
        while same > base.index && mirror.at(same).map(|link| link.0) != peer.id_at(same) {
            same -= 1;
        }
        let kept = usize::try_from(same - mirror.start.index).expect("a log in memory");
        if led {
            checks.require(Invariant::LeaderAppendOnly, kept >= mirror.links.len(), || {
                format!("S{} leads and drops entries from {} on", peer.id(), same + 1)
            });
        }
        mirror.links.truncate(kept);
        if last.index > same {
            self.append(peer, mirror, checks);
        }
        mirror.last = last;
        if let Some(prefix) = self.up_to(last) {
            self.configurations.check_in_force(peer, prefix.configuration, checks);
        }
    }

    /// A snapshot is on disk.
    pub(crate) fn see_snapshot(
        &self,
        peer: PeerId,
        (base, configuration): (EntryId, &Configuration),
        checks: &mut Checks,
    ) {
        if let Some(prefix) = self.up_to(base) {
            let latest = prefix.configuration;
            self.configurations.check_snapshot(peer, (base, configuration), latest, checks);
        }
    }

    /// A step is over.
    pub(crate) fn end_step(&mut self, checks: &mut Checks) {
        let last = self.committed.last().map_or(EntryId::default(), |(id, _)| *id);
        self.configurations.check_fresh(last, checks);
    }

    fn see_base(base: EntryId, mirror: &mut LogMirror) {
        let held = mirror.at(base.index).is_some_and(|(id, _)| id == base);
        if base != mirror.base && !held {
            mirror.links.clear();
            mirror.start = base;
        }
        mirror.base = base;
    }

    fn append(&mut self, peer: &Peer<Store>, mirror: &mut LogMirror, checks: &mut Checks) {
        let from = mirror.links.back().map_or(mirror.start, |(id, _)| *id);
        // Nobody can have a snapshot of entries that nobody ever had.
        let Some(mut prefix) = self.up_to(from) else {
            panic!("S{} begins at {from}, which nobody ever appended", peer.id())
        };
        for entry in peer.entries_from(from.index + 1) {
            let id = entry.id;
            prefix.chain = mix(mix(prefix.chain, id.term), u64::from(entry.tag));
            prefix.chain = mix_bytes(prefix.chain, &entry.data);
            if let Some(configuration) = configuration_of(&entry) {
                let before = std::mem::replace(&mut prefix.configuration, id);
                self.configurations.appended(peer, id, before, configuration, checks);
            }
            let known = *self.known.entry((id.index, id.term)).or_insert(prefix);
            checks.require(Invariant::LogMatching, known == prefix, || {
                format!("S{} holds {id}, but another log before it", peer.id())
            });
            mirror.links.push_back((id, prefix.chain));
        }
    }

    /// A peer's commit index moved from `from` to its present value.
    pub(crate) fn see_commit(
        &mut self,
        peer: &Peer<Store>,
        mirror: &mut LogMirror,
        from: Index,
        checks: &mut Checks,
    ) {
        self.see_committed(peer, mirror, from, checks);
        mirror.forget();
    }

    fn see_committed(
        &mut self,
        peer: &Peer<Store>,
        mirror: &LogMirror,
        from: Index,
        checks: &mut Checks,
    ) {
        for index in from + 1..=peer.commit_index() {
            let link = match mirror.at(index) {
                Some(link) => link,
                None if index == mirror.base.index => {
                    let base = mirror.base;
                    let known = self.up_to(base);
                    (base, known.expect("a snapshot is of entries that somebody had").chain)
                }
                // Covered by a snapshot, whose last entry vouches for it.
                None => continue,
            };
            let at = usize::try_from(index - 1).expect("an index in memory");
            if at == self.committed.len() {
                self.committed.push(link);
                self.configurations.commits(link.0);
            }
            let known = self.committed.get(at).copied();
            checks.require(Invariant::StateMachineSafety, known == Some(link), || {
                let known = known.map(|link| link.0);
                format!("S{} commits {} where {known:?} is committed", peer.id(), link.0)
            });
        }
    }

    /// A peer begins to lead.
    pub(crate) fn see_leader(&self, peer: &Peer<Store>, mirror: &LogMirror, checks: &mut Checks) {
        let Some(&last) = self.committed.last() else { return };
        let has = last.0.index <= mirror.base.index || mirror.at(last.0.index) == Some(last);
        let later = last.0.term >= peer.current_term();
        checks.require(Invariant::LeaderCompleteness, has || later, || {
            format!("S{} leads T{} without {}", peer.id(), peer.current_term(), last.0)
        });
    }
}
