//! One node: its loop.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_rpc::Promise;
use raft::eraftpb::{Entry, EntryType, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use super::disk::Disk;
use super::{Inboxes, Input};
use crate::library::Waking;
use crate::library::command::{Answer, Applied, Tally};
use crate::library::window::Window;

const TICK: Duration = Duration::from_millis(10);
/// Heartbeats and election time-outs in ticks, as for all systems: so long that a busy machine
/// elects nobody.
const HEARTBEAT_TICKS: usize = 5;
const ELECTION_TICKS: usize = 100;
/// After so many entries the log in memory is compacted, but for as many.
const COMPACTED_ENTRIES: u64 = 1 << 16;

enum Waiter {
    One(Promise<Answer>),
    Window(Arc<Window>),
}

/// A node, and what its thread needs.
pub struct Node {
    me: usize,
    inboxes: Inboxes,
    raw: RawNode<MemStorage>,
    disk: Option<Disk>,
    tally: Tally,
    /// Who waits for which entry, in order; a window for all of a run.
    waiting: VecDeque<(u64, Waiter)>,
    compacted: u64,
    waking: Waking,
}

impl Node {
    /// A node of three, with an empty log.
    pub fn new(
        me: usize,
        inboxes: Inboxes,
        applied: Arc<Applied>,
        dir: Option<PathBuf>,
        waking: Waking,
    ) -> Self {
        let config = Config {
            id: me as u64 + 1,
            heartbeat_tick: HEARTBEAT_TICKS,
            election_tick: ELECTION_TICKS,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            ..Config::default()
        };
        let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, storage, &logger).expect("a configuration that is right");
        let disk = dir.map(|dir| Disk::open(&dir));
        let (tally, waiting) = (Tally::new(applied), VecDeque::new());
        Self { me, inboxes, raw, disk, tally, waiting, compacted: 0, waking }
    }

    /// Runs until its inbox is closed; says once that it leads.
    pub fn run(mut self, on_leading: impl FnOnce()) {
        let mut on_leading = Some(on_leading);
        let mut inputs = Vec::new();
        let mut tick_at = Instant::now() + TICK;
        if self.me == 0 {
            self.raw.campaign().expect("a voter may");
        }
        let inboxes = Arc::clone(&self.inboxes);
        while inboxes[self.me].take(&mut inputs, Some(tick_at)) {
            inputs.drain(..).for_each(|input| self.accept(input));
            let now = Instant::now();
            if now >= tick_at {
                self.raw.tick();
                tick_at = now + TICK;
            }
            while self.raw.has_ready() {
                self.deal_with_ready();
            }
            if self.raw.raft.state == StateRole::Leader
                && let Some(on_leading) = on_leading.take()
            {
                on_leading();
            }
        }
    }

    fn accept(&mut self, input: Input) {
        match input {
            // A message of an older term is refused, which is no error of ours.
            Input::Message(message) => drop(self.raw.step(message)),
            Input::Command(command, promise) => {
                self.propose(command);
                self.wait_for_last(Waiter::One(promise));
            }
            Input::Commands(commands, window) => {
                for command in commands {
                    self.propose(command);
                    self.wait_for_last(Waiter::Window(Arc::clone(&window)));
                }
            }
        }
    }

    fn propose(&mut self, command: Vec<u8>) {
        self.raw.propose(Vec::new(), command).expect("a leader that stays");
    }

    fn wait_for_last(&mut self, waiter: Waiter) {
        self.waiting.push_back((self.raw.raft.raft_log.last_index(), waiter));
    }

    fn deal_with_ready(&mut self) {
        let mut ready = self.raw.ready();
        self.send(ready.take_messages());
        self.waking.after(|| self.apply(ready.take_committed_entries()));
        let storage = self.raw.store().clone();
        let hard_state = ready.hs();
        if let Some(disk) = &mut self.disk
            && (ready.must_sync() || !ready.entries().is_empty())
        {
            disk.persist(ready.entries(), hard_state, true);
        }
        let mut storage = storage.wl();
        storage.append(ready.entries()).expect("entries behind the last");
        if let Some(hard_state) = hard_state {
            storage.set_hardstate(hard_state.clone());
        }
        drop(storage);
        self.send(ready.take_persisted_messages());
        let mut light = self.raw.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.store().wl().mut_hard_state().commit = commit;
        }
        self.send(light.take_messages());
        self.waking.after(|| self.apply(light.take_committed_entries()));
        self.raw.advance_apply();
    }

    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            let to = message.to as usize - 1;
            self.inboxes[to].push(Input::Message(message));
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        let mut window: Option<Arc<Window>> = None;
        let mut answers = Vec::new();
        for entry in entries {
            // A new leader's own entry is empty.
            if entry.get_entry_type() != EntryType::EntryNormal || entry.data.is_empty() {
                continue;
            }
            let answer = self.tally.apply(&entry.data);
            match self.waiting.pop_front_if(|(index, _)| *index == entry.index) {
                Some((_, Waiter::One(promise))) => promise.keep(answer),
                Some((_, Waiter::Window(its))) => {
                    answers.push(answer);
                    window = Some(its);
                }
                None => {}
            }
        }
        // There is one window at a time, and it is told once.
        if let Some(window) = window {
            window.answered(answers);
        }
        self.compact(last);
    }

    fn compact(&mut self, applied: u64) {
        if let Some(disk) = &mut self.disk {
            disk.applied(applied);
        }
        // Whatever another node may still ask for stays.
        if applied >= self.compacted + 2 * COMPACTED_ENTRIES {
            self.compacted += COMPACTED_ENTRIES;
            self.raw.store().wl().compact(self.compacted).expect("it was applied");
        }
    }
}
