//! What must be true of a peer after each of its steps.

use std::time::{Duration, Instant};

use oarlock_raft::simulation::configuration_from;
use oarlock_raft::{EntryId, Index, PeerId};

use crate::invariant::Invariant;
use crate::majority::is_agreed;
use crate::node::{Leadership, Running};
use crate::schedule::Event;
use crate::store::Deed;
use crate::witness::Durable;
use crate::world::World;

/// A leader that has heard no majority for so long must have stepped down: twice the longest election
/// time-out.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// A fault that follows a new configuration comes within so many microseconds.
const STRIKES_WITHIN_US: u64 = 4_000;

impl World {
    /// Looks at a peer that has just done something.
    pub(crate) fn check_step(&mut self, id: PeerId) {
        let node = self.nodes.get_mut(&id).expect("a known node");
        let running = node.running.as_mut().expect("it has just done something");
        let checks = &mut self.checks;
        let peer = &running.peer;
        let term = peer.current_term();
        let led = peer.is_leader() && running.leads.as_ref().is_some_and(|l| l.term == term);
        self.book.see(peer, &mut running.mirror, led, checks);
        checks.require(Invariant::TermNeverFalls, term >= running.term, || {
            format!("S{id} goes from T{} to T{term}", running.term)
        });
        let (base, commit, last) = (peer.base(), peer.commit_index(), peer.last());
        let before = running.commit_index;
        let in_order = before <= commit && base.index <= commit && commit <= last.index;
        checks.require(Invariant::CommitNeverFalls, in_order, || {
            format!("S{id} commits {before} → {commit}, base={base} last={last}")
        });
        if commit > before || base.index > 0 {
            self.book.see_commit(peer, &mut running.mirror, before, checks);
        }
        self.book.end_step(checks);
        if let Some((promised_in, promised)) = node.promised.filter(|(in_term, _)| *in_term == term)
        {
            let kept = promised.index <= base.index || peer.id_at(promised.index) == Some(promised);
            checks.require(Invariant::AcknowledgedStays, kept, || {
                format!("S{id} acknowledged {promised} in T{promised_in} and has it no more")
            });
        }
        let new = commit > before && led;
        let applied = (running.applied, peer.applied());
        (running.term, running.commit_index, running.applied) = (term, commit, applied.1);
        if new {
            self.check_commit(id, commit);
        }
        self.check_applied(id, applied);
        self.check_leader(id, led);
        self.check_leases(id);
        self.check_disk(id);
        let running = self.running(id);
        if running.peer.configuration() != &running.configuration {
            running.configuration = running.peer.configuration().clone();
            self.configuration_changed(id);
        }
    }

    /// A leader has committed by counting in the configuration that was in force before the step.
    fn check_commit(&mut self, id: PeerId, commit: Index) {
        let running = self.nodes[&id].running.as_ref().expect("it leads");
        let (peer, configuration) = (&running.peer, &running.configuration);
        let Some(newest) = peer.id_at(commit) else { return };
        let checks = &mut self.checks;
        checks.require(Invariant::CommittedInOwnTerm, newest.term == peer.current_term(), || {
            format!("S{id} commits {newest} in T{}", peer.current_term())
        });
        let has = |peer| self.nodes[&peer].witness.lock().acknowledged.covers(newest);
        checks.require(Invariant::CommittedByMajority, is_agreed(configuration, has), || {
            let holders: Vec<u64> =
                self.nodes.keys().filter(|peer| has(**peer)).map(|peer| peer.0).collect();
            format!(
                "S{id} commits {newest}, which is on the disks of {holders:?}, of {configuration}"
            )
        });
    }

    fn check_applied(&mut self, id: PeerId, (from, to): (Index, Index)) {
        let node = self.nodes.get_mut(&id).expect("a known node");
        let running = node.running.as_mut().expect("it has just done something");
        let commit = running.commit_index;
        let checks = &mut self.checks;
        checks.require(Invariant::AppliedInOrder, from <= to && to <= commit, || {
            format!("S{id} applied {from} → {to}, commit={commit}")
        });
        let mut last = EntryId::new(from, 0);
        for deed in std::mem::take(&mut running.peer.machine_mut().deeds) {
            match deed {
                Deed::Applied(applied) => {
                    let right = applied.id.index > last.index
                        && self.book.committed_at(applied.id.index) == Some(applied.id);
                    checks.require(Invariant::AppliedInOrder, right, || {
                        format!("S{id} applies {} behind {last}", applied.id)
                    });
                    last = applied.id;
                    self.oracle.applied(id, &applied, checks);
                }
                Deed::Restored => {
                    self.counts.installs += 1;
                    last = EntryId::default();
                }
                Deed::Published => self.counts.published += 1,
            }
        }
    }

    fn check_leader(&mut self, id: PeerId, led: bool) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a known node");
        let running = node.running.as_mut().expect("it has just done something");
        let Running { peer, mirror, leads, configuration, .. } = running;
        if !peer.is_leader() {
            *leads = None;
            return;
        }
        let term = peer.current_term();
        if !led {
            let heard = configuration.members().into_iter().map(|peer| (peer, now)).collect();
            *leads = Some(Leadership { term, heard, ..Leadership::default() });
            self.counts.elections += 1;
            self.terms.leads(id, term, configuration, &mut self.checks);
            self.book.see_leader(peer, mirror, &mut self.checks);
            let last = peer.last();
            self.terms.check_draws(&mut self.checks);
            self.note("LEAD", &[id.0, term, last.index], format_args!("S{id} T{term} last={last}"));
            return self.administrator_sees_leader(id);
        }
        let Some(leadership) = leads else { return };
        let recently = |at: &Instant| now < *at + SILENCE_MAX;
        let heard = |peer| peer == id || leadership.heard.get(&peer).is_some_and(recently);
        // The step may have ended a change, with a reply that came just now; whose majority it goes by
        // from here on is then another.
        let is_followed = is_agreed(configuration, heard) || is_agreed(peer.configuration(), heard);
        self.checks.require(Invariant::LeaderHearsMajority, is_followed, || {
            let heard: Vec<u64> = configuration
                .members()
                .into_iter()
                .filter(|&peer| heard(peer))
                .map(|peer| peer.0)
                .collect();
            format!(
                "S{id} leads T{term} of {configuration} and has heard {heard:?} in {SILENCE_MAX:?}"
            )
        });
    }

    /// Another configuration is in force at a peer, which may lead.
    fn configuration_changed(&mut self, id: PeerId) {
        let (now, strikes) = (self.now, self.character.strikes);
        let running = self.running(id);
        let members = running.configuration.members();
        let text = running.configuration.to_string();
        let leads = running.leads.is_some();
        if let Some(leadership) = &mut running.leads {
            leadership.heard.retain(|peer, _| members.contains(peer));
            for peer in members {
                leadership.heard.entry(peer).or_insert(now);
            }
        }
        self.note("CONF", &[id.0], format_args!("S{id} {text}"));
        if leads && !self.healed && self.random.chance(strikes) {
            let within = self.random.pick(&[0, STRIKES_WITHIN_US]);
            let pause = self.random.micros(0, within);
            self.after(pause, Event::Strike { victim: id });
        }
    }

    fn check_disk(&mut self, id: PeerId) {
        let node = self.nodes.get_mut(&id).expect("a known node");
        let witness = node.witness.lock();
        let base = witness.acknowledged.base;
        if base.index == 0 {
            return;
        }
        if node.checked_base != base {
            node.checked_base = base;
            let configuration = configuration_from(&witness.acknowledged.configuration);
            self.book.see_snapshot(id, (base, &configuration), &mut self.checks);
        }
        drop(witness);
        let committed = self.book.committed_at(base.index);
        self.checks.require(Invariant::SnapshotWithinApplied, committed == Some(base), || {
            format!("the snapshot of S{id} ends at {base}, where {committed:?} is committed")
        });
    }

    /// A disk was opened.
    pub(crate) fn check_recovered(&mut self, id: PeerId, found: Durable) {
        let node = &self.nodes[&id];
        let mut witness = node.witness.lock();
        self.checks.require(Invariant::RecoveredAsAcknowledged, witness.allows(&found), || {
            let (known, step) = (&witness.acknowledged, witness.with_step());
            format!("S{id} finds {found:?}, acknowledged {known:?}, with the step {step:?}")
        });
        let term = found.hard_state.current_term;
        self.checks.require(Invariant::TermNeverFalls, term >= node.spoken_term, || {
            format!("S{id} comes back in T{term}, but has spoken of T{}", node.spoken_term)
        });
        witness.opened(found);
    }
}
