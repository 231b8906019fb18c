//! What must be true at all times: the paper's Figure 3, and what is spoken is durable.

use std::collections::BTreeMap;

use oarlock_storage::{MemoryPersister, Persister, Recovered};

use crate::configuration::Configuration;
use crate::rules::Rules;
use crate::types::{EntryId, Index, PeerId, Term};

/// Everything the checks remember of a whole run.
#[derive(Default)]
pub(super) struct Check {
    /// Every committed entry, with its payload.
    committed: BTreeMap<Index, Committed>,
    /// Who led each term.
    leaders: BTreeMap<Term, PeerId>,
    /// Whom each voter voted for.
    votes: BTreeMap<(PeerId, Term), PeerId>,
    pub(super) reads_served: u64,
    /// Joint configurations that were left.
    pub(super) changes: u64,
}

struct Committed {
    id: EntryId,
    data: Vec<u8>,
    /// The term of the leader that first committed it, which may be later than the entry's own.
    in_term: Term,
}

/// What a leader's commit is judged by: what held before it.
pub(super) struct Before {
    pub(super) commit_index: Index,
    pub(super) leads: bool,
    configuration: Configuration,
}

impl Before {
    pub(super) fn of(rules: &Rules) -> Self {
        Self {
            commit_index: rules.commit_index(),
            leads: rules.is_leader(),
            configuration: rules.configuration().clone(),
        }
    }
}

/// Whether `agrees` holds for more than half of the new voters, and of the old ones if there are
/// any. Counted here once more: what is checked must not do its own sums.
fn is_agreed(configuration: &Configuration, agrees: impl Fn(PeerId) -> bool) -> bool {
    [configuration.voters(), configuration.outgoing()].iter().all(|set| {
        let yes = set.iter().filter(|&&peer| agrees(peer)).count();
        set.is_empty() || 2 * yes > set.len()
    })
}

/// What a disk would give back after a crash now.
pub(super) fn durable(disk: &MemoryPersister) -> Recovered {
    disk.copy().load()
}

fn covers(durable: &Recovered, id: EntryId) -> bool {
    let base = durable.snapshot.as_ref().map_or(EntryId::default(), |s| s.meta.last_included);
    id.index < base.index || id == base || durable.entries.iter().any(|entry| entry.id == id)
}

impl Check {
    pub(super) fn committed_count(&self) -> u64 {
        self.committed.len() as u64
    }

    pub(super) fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    pub(super) fn last_committed(&self) -> Index {
        self.committed.last_key_value().map_or(0, |(&index, _)| index)
    }

    /// State-machine safety: nobody applies another entry at the same index.
    pub(super) fn applied(&self, peer: PeerId, id: EntryId, data: &[u8]) {
        let known = self.committed.get(&id.index).expect("no leader has committed it");
        assert_eq!(known.id, id, "S{peer} applies {id}, another applied {}", known.id);
        assert_eq!(known.data, data, "S{peer} applies other bytes at {id}");
    }

    /// Election safety, and leader completeness: one leader a term, voted for by a majority of the
    /// configuration in force there, and it has every entry committed in an earlier term.
    pub(super) fn leads(&mut self, rules: &Rules) {
        let (peer, term) = (rules.me(), rules.current_term());
        let known = *self.leaders.entry(term).or_insert(peer);
        assert_eq!(known, peer, "S{known} and S{peer} both lead term {term}");
        let votes = |voter| self.votes.get(&(voter, term)) == Some(&peer);
        let configuration = rules.configuration();
        assert!(
            is_agreed(configuration, votes),
            "S{peer} leads term {term} without a majority of {configuration}"
        );
        // What a later leader has committed meanwhile need not be there: a late vote may elect the
        // leader of a term that is over.
        for id in self.committed.values().filter(|c| c.in_term < term).map(|c| c.id) {
            let has = id.index <= rules.log().base().index || rules.log().holds(id);
            assert!(has, "S{peer} leads term {term} without committed entry {id}");
        }
    }

    /// One vote a term, across restarts; and it is on disk before it is spoken.
    pub(super) fn votes(
        &mut self,
        voter: PeerId,
        term: Term,
        candidate: PeerId,
        disk: &MemoryPersister,
    ) {
        let known = *self.votes.entry((voter, term)).or_insert(candidate);
        assert_eq!(known, candidate, "S{voter} votes for S{known} and S{candidate} in {term}");
        let hard_state = durable(disk).hard_state;
        assert!(
            hard_state.current_term > term
                || (hard_state.current_term == term && hard_state.voted_for == Some(candidate.0)),
            "S{voter} speaks of a vote in term {term} that is not on its disk: {hard_state:?}"
        );
    }

    /// A follower that says *matched* in `term` has it on disk.
    ///
    /// If its disk is in a later term already, the entries may have been truncated before they were
    /// ever written: the leader of the later term was elected by logs that held them, so they can
    /// only go if no majority had them, and the late answer is as harmless as one that travelled
    /// slowly.
    pub(super) fn matched(peer: PeerId, term: Term, up_to: Index, disk: &MemoryPersister) {
        let durable = durable(disk);
        if durable.hard_state.current_term > term {
            return;
        }
        let base = durable.snapshot.as_ref().map_or(0, |s| s.meta.last_included.index);
        let last = base + durable.entries.len() as Index;
        assert!(up_to <= last, "S{peer} acknowledges {up_to}, its disk ends at {last}");
    }

    /// The commit index never passes what a majority has made durable.
    pub(super) fn commits(
        &mut self,
        rules: &Rules,
        before: &Before,
        disks: &BTreeMap<PeerId, MemoryPersister>,
    ) {
        let to = rules.commit_index();
        let Some(newest) = rules.log().id_at(to) else { return };
        let Before { commit_index: from, configuration, .. } = before;
        let has = |peer| covers(&durable(&disks[&peer]), newest);
        assert!(
            is_agreed(configuration, has),
            "S{} commits {newest} without a majority of {configuration}",
            rules.me()
        );
        self.changes += u64::from(configuration.is_joint() && !rules.configuration().is_joint());
        for entry in rules.log().slice(from + 1, (to - from) as usize, usize::MAX) {
            let in_term = rules.current_term();
            let new = || Committed { id: entry.id, data: entry.data.to_vec(), in_term };
            self.committed.entry(entry.id.index).or_insert_with(new);
            self.applied(rules.me(), entry.id, &entry.data);
        }
    }

    /// Log matching: two logs that hold the same entry agree before it.
    pub(super) fn logs_match(a: &Rules, b: &Rules) {
        let last = a.log().last().index.min(b.log().last().index);
        let first = a.log().base().index.max(b.log().base().index);
        let mut same_above = false;
        for index in (first..=last).rev() {
            let (ours, theirs) = (a.log().id_at(index), b.log().id_at(index));
            assert!(
                !same_above || ours == theirs,
                "logs of S{} and S{} meet above {index} and differ there: {ours:?}, {theirs:?}",
                a.me(),
                b.me()
            );
            same_above |= ours == theirs;
        }
    }
}
