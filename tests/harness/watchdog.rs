//! No test hangs: one that takes longer than the labs allow ends the process, and says where every
//! peer stands.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::{seed, trace};

/// The labs' limit for one test, from the construction of its cluster.
const TEST_MAX: Duration = Duration::from_secs(120);
/// A peer whose lock is stuck cannot tell where it stands.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Ends the process unless it is dropped in time.
pub(crate) struct Watchdog {
    called_off: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches the test `name`, which has drawn `seed`, and whose peers 0 to `peers` - 1 are
    /// described by `describe`.
    pub(crate) fn new(
        name: String,
        seed: u64,
        peers: usize,
        describe: impl Fn(usize) -> String + Send + Sync + 'static,
    ) -> Self {
        let (called_off, watched) = bounded::<()>(0);
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                if watched.recv_timeout(TEST_MAX) == Err(RecvTimeoutError::Timeout) {
                    abort(&name, seed, peers, Arc::new(describe));
                }
            })
            .expect("the system has room for another thread");
        Self { called_off: Some(called_off), thread: Some(thread) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.called_off = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watchdog does not panic");
        }
    }
}

fn abort(
    name: &str,
    seed: u64,
    peers: usize,
    describe: Arc<dyn Fn(usize) -> String + Send + Sync>,
) -> ! {
    let mut lines = vec![format!("{name}: not done after {TEST_MAX:?}. The last events:")];
    lines.push(trace::recent());
    for peer in 0..peers {
        let (tx, rx) = bounded(1);
        let describe = Arc::clone(&describe);
        // Nobody joins it: the process ends.
        thread::spawn(move || drop(tx.send(describe(peer))));
        let answer = rx.recv_timeout(ANSWER_MAX);
        let answer = answer.unwrap_or_else(|_| format!("no answer in {ANSWER_MAX:?}"));
        lines.push(format!("S{peer}: {answer}"));
    }
    // What the test printed when it began may be lost with the process, too.
    let variable = seed::VARIABLE;
    lines.push(format!("{name}: aborted by the watchdog after {TEST_MAX:?} ({variable}={seed})\n"));
    // Past the capture of libtest, which would be lost with the process.
    drop(io::stderr().write_all(lines.join("\n").as_bytes()));
    std::process::abort()
}
