//! What a server keeps across a crash, in memory or on disk (`OARLOCK_PERSISTER=memory` or `disk`).
//!
//! The labs crash a server in this order: cut it off the network, copy what it has persisted, kill
//! it; the successor starts from the copy, so whatever the old instance writes after the copy is
//! lost, and nothing it has acknowledged can be missing. A directory cannot be copied while somebody
//! writes in it. So here the order is: cut it off the network, [`Durable::cut`], kill it, open the
//! same medium again. From the cut on every write of the old instance fails without touching the
//! medium, which loses the same writes that a copy at that moment would; and before a disk is opened
//! again, whatever had not been synced by the cut is taken back, as if the machine had lost power.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oarlock_storage::{
    Batch, DiskOptions, DiskPersister, MemoryPersister, Persister, PowerCut, Recovered, Snapshot,
    SnapshotStage, StagedSnapshot, StorageError,
};
use tempfile::TempDir;

const VARIABLE: &str = "OARLOCK_PERSISTER";
/// Small, so that the suites fill segments and delete them.
const SEGMENT_BYTES: u64 = 64 << 10;
/// A write that takes this long is worth a line in the trace.
const SLOW: Duration = Duration::from_millis(20);

/// The durable state of one server, across its incarnations.
pub(crate) struct Durable {
    server: usize,
    medium: Medium,
    /// Of the present incarnation, or the last.
    line: Arc<Line>,
}

enum Medium {
    Memory(MemoryPersister),
    /// Removed with the cluster.
    Disk {
        dir: TempDir,
        power: Option<PowerCut>,
    },
}

/// What connects a server's incarnation to its medium.
#[derive(Default)]
struct Line {
    cut: AtomicBool,
    raft_state_bytes: AtomicU64,
    snapshot_bytes: AtomicU64,
}

impl Durable {
    /// An empty one for `server`, on the medium that the environment asks for.
    pub(crate) fn new(server: usize) -> Self {
        let choice = std::env::var(VARIABLE);
        let medium = match choice.as_deref() {
            Ok("memory") => Medium::Memory(MemoryPersister::new()),
            Ok("disk") | Err(_) => {
                let dir = TempDir::with_prefix("oarlock-labs-").expect("a temporary directory");
                Medium::Disk { dir, power: None }
            }
            Ok(other) => panic!("{VARIABLE}={other}: neither memory nor disk"),
        };
        Self { server, medium, line: Arc::default() }
    }

    /// Opens what is there, for a new incarnation; the old one must be dead. Also returns the
    /// snapshot found, which a service loads before it starts its Raft.
    pub(crate) fn open(&mut self) -> (Box<dyn Persister>, Option<Snapshot>) {
        let mut inner: Box<dyn Persister> = match &mut self.medium {
            Medium::Memory(memory) => {
                *memory = memory.copy();
                Box::new(memory.clone())
            }
            Medium::Disk { dir, power } => {
                if let Some(power) = power {
                    power.forget().expect("what was not synced can be taken back");
                }
                let options = DiskOptions::new(self.server as u64);
                let options = DiskOptions { segment_bytes: SEGMENT_BYTES, ..options };
                let opened = DiskPersister::open_with_power_cut(dir.path(), &options);
                let (persister, plug) = opened
                    .unwrap_or_else(|error| panic!("what a crash has left does not open: {error}"));
                *power = Some(plug);
                Box::new(persister)
            }
        };
        let recovered = inner.load();
        let snapshot = recovered.snapshot.clone();
        self.line = Arc::default();
        self.line.note_raft_state(&*inner);
        self.line.note_snapshot(snapshot.as_ref());
        let line = Arc::clone(&self.line);
        (
            Box::new(Severable { inner, recovered: Some(recovered), line, server: self.server }),
            snapshot,
        )
    }

    /// The crash: what the present incarnation writes from here on is lost.
    pub(crate) fn cut(&self) {
        self.line.cut.store(true, Ordering::SeqCst);
        if let Medium::Disk { power: Some(power), .. } = &self.medium {
            power.cut();
        }
    }

    /// The size of the persisted logical state without the snapshot, in bytes; that of a crashed
    /// server is what it left.
    pub(crate) fn raft_state_bytes(&self) -> u64 {
        self.line.raft_state_bytes.load(Ordering::SeqCst)
    }

    /// The size of the persisted snapshot, in bytes; 0 without one.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.line.snapshot_bytes.load(Ordering::SeqCst)
    }
}

impl Line {
    fn check(&self) -> Result<(), StorageError> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(StorageError::Latched("the test has crashed this server".to_owned()));
        }
        Ok(())
    }

    fn note_raft_state(&self, persister: &dyn Persister) {
        self.raft_state_bytes.store(persister.raft_state_bytes(), Ordering::SeqCst);
    }

    fn note_snapshot(&self, snapshot: Option<&Snapshot>) {
        let len = snapshot.map_or(0, |snapshot| snapshot.len() as u64);
        self.snapshot_bytes.store(len, Ordering::SeqCst);
    }
}

/// A persister whose line can be cut, and whose sizes can be asked while another owns it.
struct Severable {
    inner: Box<dyn Persister>,
    recovered: Option<Recovered>,
    line: Arc<Line>,
    server: usize,
}

impl Severable {
    /// A test that fails because the disk was slow should say so.
    fn note_time(&self, began: Instant) {
        let took = began.elapsed();
        if took >= SLOW {
            log::debug!(target: "PERS", "S{} took {took:.1?} to persist", self.server);
        }
    }
}

impl Persister for Severable {
    fn load(&mut self) -> Recovered {
        self.recovered.take().expect("a persister is loaded once")
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.line.check()?;
        let began = Instant::now();
        self.inner.persist(batch)?;
        self.note_time(began);
        self.line.note_raft_state(&*self.inner);
        Ok(())
    }

    fn make_room(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.line.check()?;
        self.inner.make_room(batch)
    }

    fn has_room(&self) -> bool {
        self.inner.has_room()
    }

    fn snapshot_stage(&self) -> Arc<dyn SnapshotStage> {
        self.inner.snapshot_stage()
    }

    fn save_state_and_snapshot(
        &mut self,
        batch: &Batch,
        staged: StagedSnapshot,
    ) -> Result<Snapshot, StorageError> {
        self.line.check()?;
        let began = Instant::now();
        let snapshot = self.inner.save_state_and_snapshot(batch, staged)?;
        self.note_time(began);
        self.line.note_raft_state(&*self.inner);
        self.line.note_snapshot(Some(&snapshot));
        Ok(snapshot)
    }

    fn raft_state_bytes(&self) -> u64 {
        self.inner.raft_state_bytes()
    }
    fn is_instant(&self) -> bool {
        self.inner.is_instant()
    }
}
