//! The disk with nobody else at it: one writer, who writes a block and syncs it, again and again; alone,
//! or while another writes as much as a store did, in long pieces. No limit for a store, which may write
//! otherwise; but where even such a writer is slow, or stands still, the disk is.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::floor::Floor;

const FILE_BYTES: u64 = 16 << 20;
const BLOCK_BYTES: usize = 4096;

/// What the other one writes and syncs at once, as snapshots are, and how many such pieces its file has.
const PIECE_BYTES: usize = 2 << 20;
const PIECES: u64 = 64;

/// The writers.
pub(crate) struct Bare {
    file: Floor,
    block: Vec<u8>,
    other: Other,
}

/// Who writes long pieces, over and over the same file.
struct Other {
    file: File,
    piece: Vec<u8>,
    next: u64,
}

/// How long each write and its sync took, the quickest first, and all of them.
pub(crate) struct Took(Vec<Duration>, Duration);

impl Bare {
    /// A writer to a file in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = dir.join("bare");
        std::fs::create_dir_all(&dir).expect("a folder for data");
        let other = Other::new(&dir).expect("a file for long pieces");
        Self { file: Floor::new(&dir, FILE_BYTES), block: vec![7; BLOCK_BYTES], other }
    }

    /// Writes for so many seconds, while the other writes so many bytes a second.
    pub(crate) fn write_beside(&mut self, seconds: f64, bytes_per_second: f64) -> Took {
        let Self { file, block, other } = self;
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writes = scope.spawn(|| other.write(bytes_per_second, &is_over));
            let took = write(file, block, seconds);
            is_over.store(true, Ordering::Relaxed);
            writes.join().expect("it only writes").expect("long pieces can be written");
            took
        })
    }

    /// Writes for so many seconds.
    pub(crate) fn write(&mut self, seconds: f64) -> Took {
        write(&mut self.file, &self.block, seconds)
    }
}

fn write(file: &mut Floor, block: &[u8], seconds: f64) -> Took {
    let starts = Instant::now();
    let ends = starts + Duration::from_secs_f64(seconds);
    let mut all = Vec::new();
    while all.is_empty() || Instant::now() < ends {
        let began = Instant::now();
        file.append(block);
        all.push(began.elapsed());
    }
    all.sort_unstable();
    Took(all, starts.elapsed())
}

impl Other {
    fn new(dir: &Path) -> io::Result<Self> {
        let mut file = File::create(dir.join("long"))?;
        let piece = vec![9; PIECE_BYTES];
        (0..PIECES).try_for_each(|_| file.write_all(&piece))?;
        file.sync_all()?;
        Ok(Self { file, piece, next: 0 })
    }

    /// Writes as evenly as it can, until it is over.
    fn write(&mut self, bytes_per_second: f64, is_over: &AtomicBool) -> io::Result<()> {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let every = Duration::from_secs_f64(PIECE_BYTES as f64 / bytes_per_second.max(1.0));
        let mut due = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            self.file.write_all_at(&self.piece, self.next * PIECE_BYTES as u64)?;
            self.file.sync_data()?;
            self.next = (self.next + 1) % PIECES;
            // Who is late does not make up for it.
            due = (due + every).max(Instant::now());
            while !is_over.load(Ordering::Relaxed) && Instant::now() < due {
                thread::sleep((due - Instant::now()).min(Duration::from_millis(5)));
            }
        }
        Ok(())
    }
}

impl Took {
    /// How many writes there were a second.
    pub(crate) fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.0.len()).expect("it writes for seconds"))
            / self.1.as_secs_f64()
    }

    /// What so many of a thousand did not exceed, in milliseconds.
    pub(crate) fn permille_ms(&self, permille: usize) -> f64 {
        let at = self.0.len() * permille / 1000;
        self.0[at.min(self.0.len() - 1)].as_secs_f64() * 1e3
    }

    /// The longest, in milliseconds.
    pub(crate) fn longest_ms(&self) -> f64 {
        self.permille_ms(1000)
    }
}
