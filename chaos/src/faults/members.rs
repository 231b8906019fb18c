//! Members that come and go while the cluster works, by the commands that operators give, and with
//! something going wrong on the way.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::{Faults, Kind, both_ways};
use crate::round::RECOVERS_WITHIN;

/// The pause before a command that failed is given again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long a command tries, in seconds.
const PATIENCE: &str = "10";
/// What a node says that stops because it was removed.
const LAST_WORDS: &str = "removed from its cluster";

impl Faults<'_> {
    /// A new node joins and another leaves: in one step, or in two.
    pub(super) fn change_members(&mut self) -> anyhow::Result<()> {
        let Some(new) = self.cluster.unused() else { return Ok(()) };
        self.cluster.start_node(new)?;
        let (peer, client) = (self.cluster.links.peer_addr(new), self.cluster.client_addr(new));
        let member = format!("{new}={peer}/{client}");
        if self.rng.bool() {
            let old = self.some_node();
            if self.change(&["replace", &old.to_string(), &member], new)? {
                self.cluster.has_joined(new);
                self.leaves(old)?;
            }
        } else if self.change(&["add", &member], new)? {
            self.cluster.has_joined(new);
            let old = self.some_node();
            if self.change(&["remove", &old.to_string()], new)? {
                self.leaves(old)?;
            }
        }
        Ok(())
    }

    /// Gives a command until it is carried out; whether it was. Meanwhile something goes wrong, and
    /// is mended again.
    fn change(&mut self, what: &[&str], new: usize) -> anyhow::Result<bool> {
        let mut command = self.command(what)?;
        self.disturb(new)?;
        self.cluster.links.heal()?;
        let deadline = Instant::now() + RECOVERS_WITHIN;
        loop {
            let output = command.wait_with_output()?;
            if output.status.success() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
                let what = what.join(" ");
                self.complaints.push(format!("`member {what}` is not carried out: {said}"));
                self.kinds.retain(|&kind| kind != Kind::Members);
                return Ok(false);
            }
            thread::sleep(AGAIN_AFTER);
            // One that joins ends if nobody tells it of the cluster.
            if self.cluster.has_ended(new)? {
                self.cluster.start_node(new)?;
            }
            command = self.command(what)?;
        }
    }

    fn command(&mut self, what: &[&str]) -> anyhow::Result<std::process::Child> {
        let anybody = self.some_node();
        let at = self.cluster.client_addr(anybody).to_string();
        let at = ["--addr", &at, "--timeout", PATIENCE];
        self.cluster.spawn(&[&["member"], what, &at].concat())
    }

    /// What goes wrong: nothing, a kill, or links around a node, of the new one too.
    fn disturb(&mut self, new: usize) -> anyhow::Result<()> {
        let mut ids: Vec<usize> = self.cluster.ids().chain([new]).collect();
        ids.dedup();
        let victim = ids[self.rng.usize(..ids.len())];
        let others = ids.into_iter().filter(|&other| other != victim);
        self.wait(0, 300);
        match self.rng.u32(..4) {
            0 => self.wait(0, 1500),
            1 => {
                self.cluster.kill(victim);
                self.wait(0, 1500);
                self.cluster.start_node(victim)?;
            }
            2 => {
                let links: Vec<_> = others.map(|other| (victim, other)).collect();
                self.cluster.links.cut(&links)?;
                self.wait(0, 3000);
            }
            _ => {
                self.cluster.links.cut(&both_ways(others.map(|other| (victim, other))))?;
                self.wait(0, 3000);
            }
        }
        Ok(())
    }

    /// A node that was removed hears of it, and ends.
    fn leaves(&mut self, id: usize) -> anyhow::Result<()> {
        self.cluster.has_left(id);
        if self.cluster.wait_for_end(id, RECOVERS_WITHIN)?.is_none() {
            self.complaints.push(format!("node {id} was removed, and runs on"));
            self.cluster.kill(id);
            return Ok(());
        }
        if !fs::read_to_string(self.cluster.log_of(id))?.contains(LAST_WORDS) {
            self.complaints.push(format!("node {id} was removed, and ended without knowing"));
        }
        Ok(())
    }
}
