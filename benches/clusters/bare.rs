//! The disk with nobody else at it: one writer, who writes a block and syncs it, again and again. No limit
//! for a store, which may write otherwise; but where even such a writer is slow, or stands still, the disk is.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::floor::Floor;

const FILE_BYTES: u64 = 16 << 20;
const BLOCK_BYTES: usize = 4096;

/// The writer.
pub(crate) struct Bare {
    file: Floor,
    block: Vec<u8>,
}

/// How long each write and its sync took, the quickest first, and all of them.
pub(crate) struct Took(Vec<Duration>, Duration);

impl Bare {
    /// A writer to a file in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = dir.join("bare");
        std::fs::create_dir_all(&dir).expect("a folder for data");
        Self { file: Floor::new(&dir, FILE_BYTES), block: vec![7; BLOCK_BYTES] }
    }

    /// Writes for so many seconds.
    pub(crate) fn write(&mut self, seconds: f64) -> Took {
        let starts = Instant::now();
        let ends = starts + Duration::from_secs_f64(seconds);
        let mut all = Vec::new();
        while all.is_empty() || Instant::now() < ends {
            let began = Instant::now();
            self.file.append(&self.block);
            all.push(began.elapsed());
        }
        all.sort_unstable();
        Took(all, starts.elapsed())
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
