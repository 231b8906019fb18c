//! What is asked: which kind of request, of which key, with which value.

use anyhow::ensure;

use super::Args;

/// The steepest distribution of keys: beyond it, one key has them all.
const ZIPF_MAX: f64 = 10.0;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Set,
    Get,
    Ping,
}

/// Draws requests.
pub(super) struct Workload {
    random: fastrand::Rng,
    reads: u64,
    pings: bool,
    creates_first: bool,
    keys: usize,
    value_bytes: usize,
    /// The chance that a key is this one or an earlier one; empty if all are alike.
    up_to: Vec<f64>,
}

impl Workload {
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let keys = usize::try_from(args.keys).expect("bounded");
        let mut up_to = Vec::new();
        if let Some(steepness) = args.zipf {
            ensure!(
                (0.0..=ZIPF_MAX).contains(&steepness),
                "--zipf {steepness}: from 0 to {ZIPF_MAX}"
            );
            let mut sum = 0.0;
            up_to = (1..=u32::try_from(args.keys).expect("bounded"))
                .map(|rank| {
                    sum += f64::from(rank).powf(-steepness);
                    sum
                })
                .collect();
            for chance in &mut up_to {
                *chance /= sum;
            }
        }
        Ok(Self {
            random: fastrand::Rng::with_seed(args.seed),
            reads: args.reads,
            pings: args.ping,
            creates_first: args.speak.creates_first(),
            keys,
            value_bytes: usize::try_from(args.value_bytes).expect("bounded"),
            up_to,
        })
    }

    /// The next request's kind and key.
    pub(super) fn draw(&mut self) -> (Kind, usize) {
        if self.pings {
            return (Kind::Ping, 0);
        }
        let reads = self.random.u64(0..100) < self.reads;
        let key = if self.up_to.is_empty() {
            self.random.usize(0..self.keys)
        } else {
            let drawn = self.random.f64();
            self.up_to.partition_point(|&chance| chance < drawn).min(self.keys - 1)
        };
        (if reads { Kind::Get } else { Kind::Set }, key)
    }

    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// Whether keys must be there before they are measured.
    pub(super) fn needs_filling(&self) -> bool {
        (self.reads > 0 || self.creates_first) && !self.pings
    }

    pub(super) fn value_bytes(&self) -> usize {
        self.value_bytes
    }
}

/// The name of a key.
pub(super) fn key_name(key: usize) -> String {
    format!("bench:{key:08}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn drawn(line: &[&str]) -> Vec<(Kind, usize)> {
        let line = Line::parse_from([&["bench"], line].concat());
        let mut workload = Workload::new(&line.args).unwrap();
        (0..10_000).map(|_| workload.draw()).collect()
    }

    #[test]
    fn requests_are_mixed_as_asked() {
        let drawn = drawn(&["--reads", "30", "--keys", "10"]);
        let reads = drawn.iter().filter(|(kind, _)| *kind == Kind::Get).count();
        assert!((2700..3300).contains(&reads), "{reads}");
        let of_key = |key| drawn.iter().filter(|(_, k)| *k == key).count();
        assert!((0..10).all(|key| (800..1200).contains(&of_key(key))));
    }

    #[test]
    fn some_keys_are_asked_for_more_than_others() {
        let drawn = drawn(&["--zipf", "1", "--keys", "100"]);
        let of_key = |key| drawn.iter().filter(|(_, k)| *k == key).count();
        // The sum of 1/n up to 100 is 5.19.
        assert!((1700..2150).contains(&of_key(0)), "{}", of_key(0));
        assert!((800..1120).contains(&of_key(1)), "{}", of_key(1));
        assert!(of_key(99) < 60);
    }
}
