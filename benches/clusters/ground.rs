//! What this machine takes for the pieces of a write with nothing built on them: a sync, while two others
//! sync as well, a trip over the loopback device, and a hand-over between threads.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::floor::Floor as Disk;
use crate::median;

/// How often each piece is measured.
const TIMES: usize = 2000;
/// A put's message, and a write's block on the disk.
const PUT_BYTES: usize = 300;
const BLOCK_BYTES: usize = 4096;
/// So many nodes write to the disk at once.
const NODES: usize = 3;

/// The median of each piece, in microseconds.
pub(crate) struct Floor {
    /// The batch written and synced.
    pub(crate) sync: f64,
    /// The same, by three at once.
    pub(crate) crowded: f64,
    /// The batch as a message, there and back.
    pub(crate) trip: f64,
    /// A thread that wakes another, one way.
    pub(crate) hand_over: f64,
}

impl Floor {
    /// A put's road, in microseconds: from the client to the leader and back, from there to a follower and back, its
    /// disk; and from a reader to the log writer there, here from a reader to the applier and on to the
    /// thread that answers.
    pub(crate) fn of_a_put(&self) -> f64 {
        self.crowded + 2.0 * self.trip + 3.0 * self.hand_over
    }
}

/// What is measured with.
pub(crate) struct Ground {
    disks: Vec<Disk>,
}

impl Ground {
    /// Files in folders below `dir`, to begin with.
    pub(crate) fn new(dir: &Path) -> Self {
        let disks = (0..NODES).map(|node| {
            let dir = dir.join(format!("ground-{node}"));
            std::fs::create_dir_all(&dir).expect("a folder for data");
            Disk::new(&dir, 16 << 20)
        });
        Self { disks: disks.collect() }
    }

    /// Measures every piece, for batches of so many puts.
    pub(crate) fn measure(&mut self, puts: usize, is_test: bool) -> Floor {
        let times = if is_test { 20 } else { TIMES };
        let batch = &vec![7; (puts * PUT_BYTES).next_multiple_of(BLOCK_BYTES)];
        let sync = timed(times, || self.disks[0].append(batch));
        let crowded = std::thread::scope(|scope| {
            let disks = self.disks.iter_mut();
            let all = disks.map(|disk| scope.spawn(|| timed(times, || disk.append(batch))));
            let all: Vec<_> = all.collect();
            median(all.into_iter().map(|one| one.join().expect("it only writes")).collect())
        });
        let (trip, hand_over) = (trip(times, puts * PUT_BYTES), hand_over(times) / 2.0);
        Floor { sync, crowded, trip, hand_over }
    }
}

/// The median time of `f`, in microseconds.
fn timed(times: usize, mut f: impl FnMut()) -> f64 {
    let all = (0..times).map(|_| {
        let began = Instant::now();
        f();
        began.elapsed().as_secs_f64() * 1e6
    });
    median(all.collect())
}

/// A message of `len` there, and one put's answer back.
fn trip(times: usize, len: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        stream.set_nodelay(true).expect("it is a socket");
        let mut bytes = vec![0; len];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes[..PUT_BYTES]).expect("it is waited for");
        }
    });
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_nodelay(true).expect("it is a socket");
    let message = vec![1; len];
    let micros = timed(times, || {
        stream.write_all(&message).expect("it takes them");
        stream.read_exact(&mut [0; PUT_BYTES]).expect("they come back");
    });
    drop(stream);
    echo.join().expect("it echoes to the end");
    micros
}

/// There and back.
fn hand_over(times: usize) -> f64 {
    // Whose turn it is, by its parity; the end when it is too many.
    let table = Arc::new((Mutex::new(0), Condvar::new()));
    let pass = |table: &(Mutex<usize>, Condvar), mine: usize| {
        let (turn, changed) = table;
        let mut turn = turn.lock().expect("nobody panics");
        while *turn % 2 != mine {
            turn = changed.wait(turn).expect("nobody panics");
        }
        *turn += 1;
        changed.notify_all();
    };
    let other = Arc::clone(&table);
    let thread = std::thread::spawn(move || (0..times).for_each(|_| pass(&other, 1)));
    let micros = timed(times, || pass(&table, 0));
    thread.join().expect("it takes its turns");
    micros
}
