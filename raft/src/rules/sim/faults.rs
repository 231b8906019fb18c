//! What clients ask of the simulated cluster, and what goes wrong in it.

use std::time::Duration;

use oarlock_storage::MemoryRoom;

use super::world::{Event, World};
use crate::rules::Begun;

impl World {
    pub(super) fn propose(&mut self) {
        let gap = Duration::from_micros(2_000 + self.below(60_000));
        self.schedule(gap, Event::Propose);
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            if self.peers[&id].running.is_none() {
                continue;
            }
            // Some are larger than a probe carries.
            let payload: Vec<u8> = self.proposals.to_le_bytes().repeat(1 + self.below(10) as usize);
            let committed = self.check.last_committed();
            let now = self.now;
            let running = self.running(id);
            let started = running.rules.start(payload.into(), now).is_some();
            if let Some(Begun::Waits(read)) = running.rules.begin_read(None, now) {
                running.reads.insert(read.number, committed);
            }
            self.proposals += u64::from(started);
            self.pump(id);
        }
    }

    pub(super) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let gap = Duration::from_millis(50 + self.below(1500));
        self.schedule(gap, Event::Fault);
        let ids: Vec<_> = self.ids().collect();
        let victim = ids[self.below(ids.len() as u64) as usize];
        let other = ids[self.below(ids.len() as u64) as usize];
        let room =
            [MemoryRoom::Enough, MemoryRoom::Enough, MemoryRoom::Reserve, MemoryRoom::NoEntries];
        let room = room[self.below(4) as usize];
        match self.below(10) {
            0 | 1 => self.crash(victim),
            2 | 3 if self.peers[&victim].running.is_none() => self.start_peer(victim),
            4 => self.cut.push((victim, other)),
            5 => {
                let others = ids.iter().filter(|&&id| id != victim);
                self.cut.extend(others.flat_map(|&id| [(victim, id), (id, victim)]));
            }
            6 => self.cut.clear(),
            8 => self.peers[&victim].disk.set_room(room),
            9 => self.peers.values().for_each(|peer| peer.disk.set_room(room)),
            _ => {
                let down = ids.iter().find(|id| self.peers[id].running.is_none());
                if let Some(&id) = down {
                    self.start_peer(id);
                }
            }
        }
    }
}
