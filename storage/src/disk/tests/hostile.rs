//! Bytes that no writer made but whose checksums are right, as a faulty tool might leave them: an
//! error or a state, but never a panic, and never more memory than the files are long.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::open;
use super::workload::{Model, random_steps, run};
use crate::Persister;
use crate::fs::sim::SimFs;

/// A block that has a checksum of its own: where it begins, how long it is, where its CRC stands,
/// and from where on that covers it.
struct Block {
    name: String,
    at: usize,
    len: usize,
    crc_at: usize,
}

impl Block {
    fn fix_crc(&self, content: &mut [u8]) {
        let block = &mut content[self.at..self.at + self.len];
        let mut hasher = crc32fast::Hasher::new();
        if self.crc_at == 8 {
            hasher.update(&block[..8]);
        }
        hasher.update(&block[self.crc_at + 4..]);
        block[self.crc_at..self.crc_at + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

fn blocks(fs: &SimFs) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (name, content) in fs.contents() {
        for at in (0..content.len()).step_by(512) {
            let len = match content.get(at..at + 8) {
                Some(b"OARLKSEG" | b"OARLKSNP") => 4096,
                Some(b"OARLKIDN" | b"OARLKVOT") => 512,
                Some(bytes) if bytes.starts_with(b"OBAT") => {
                    blocks.push(Block { name: name.clone(), at, len: 144, crc_at: 4 });
                    continue;
                }
                _ => continue,
            };
            blocks.push(Block { name: name.clone(), at, len, crc_at: 8 });
        }
    }
    blocks
}

#[test]
fn a_segments_head_must_agree_with_the_segments_before_it() {
    let reference = SimFs::new();
    run(&reference, &random_steps(4, 40));
    let blocks: Vec<Block> = blocks(&reference)
        .into_iter()
        .filter(|block| block.name.starts_with("wal-") && block.at == 0)
        .collect();
    assert!(blocks.len() > 1, "there are segments to compare");
    // First batch, last index and term, generation, term, vote, chain, current snapshot.
    for field in [56, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144] {
        let mut contents = reference.contents();
        let block = &blocks[blocks.len() - 1];
        let content = contents.get_mut(&block.name).unwrap();
        content[field] ^= 1;
        block.fix_crc(content);
        let error = open(&SimFs::holding(&contents)).err();
        let text = error.unwrap_or_else(|| panic!("field {field} is not compared")).to_string();
        assert!(text.contains("does not continue") || text.contains("are gone"), "{field}: {text}");
    }
}

#[test]
fn false_fields_with_true_checksums_never_panic() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut tried, mut opened) = (0, 0);
    for seed in [4, 5, 6] {
        let reference = SimFs::new();
        run(&reference, &random_steps(seed, 30));
        let contents = reference.contents();
        for block in blocks(&reference) {
            // Field by field; what is behind the last one is zero and means nothing.
            for field in (8..block.len.min(192) - 3).step_by(4) {
                for value in [0, 1, u64::MAX, u64::MAX / 2, random.u64(..), random.u64(..100)] {
                    let mut contents = contents.clone();
                    let content = contents.get_mut(&block.name).unwrap();
                    let len = 8.min(block.len - field);
                    let at = block.at + field;
                    content[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
                    block.fix_crc(content);
                    let fs = SimFs::holding(&contents);
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        open(&fs).map(|mut persister| Model::of(&persister.load())).is_ok()
                    }));
                    let Ok(is_ok) = result else {
                        panic!("{} at {} + {field}: {value:#x}", block.name, block.at);
                    };
                    tried += 1;
                    opened += u32::from(is_ok);
                }
            }
        }
    }
    assert!(tried > 3000 && opened > 100, "{opened} of {tried} opened");
}
