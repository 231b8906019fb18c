//! Pipelined commands on data, bundled: a run of them is executed as one request, which costs one
//! trip to the majority's disks instead of one for each.
//!
//! A bundle is invisible but for its speed. Its commands execute in order and are answered in order;
//! each fails alone. The limit on the size of a request's answers must not show either: a bundle
//! that writes holds no more than surely fits, and one that only reads is asked again from the first
//! command that did not fit.

use std::collections::VecDeque;

use super::Store;
use super::data_commands::{Planned, Shape};
use super::front_end::{Stats, error_reply};
use super::reply::Writer;
use crate::op::{ANSWER_BYTES_MAX, Answer, Op, OpError};

/// The most commands of a bundle.
const COMMANDS_MAX: usize = 1024;

/// A bundle of several commands has no more bytes than this.
const BYTES_MAX: usize = 1 << 20;

/// So many reads in front of a write are worth a request of their own: then they stay out of the
/// log.
const READS_WORTH_A_REQUEST: usize = 8;

/// Commands that are understood, but not yet executed.
#[derive(Debug, Default)]
pub(super) struct Run {
    ops: Vec<Op>,
    shapes: VecDeque<Expected>,
    bytes: usize,
    answer_bytes_max: usize,
    writes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Expected {
    shape: Shape,
    /// The client asked not to be told.
    muted: bool,
}

impl Run {
    /// Whether `planned`, of about `bytes`, may join the commands that are here.
    pub(super) fn has_room_for(&self, planned: &Planned, bytes: usize) -> bool {
        if self.ops.is_empty() {
            return true;
        }
        let begins_to_write = !self.writes && !planned.op.is_read();
        if begins_to_write && self.ops.len() >= READS_WORTH_A_REQUEST {
            return false;
        }
        let answer_bytes = self.answer_bytes_max.saturating_add(planned.op.answer_bytes_max());
        let answers_fit = answer_bytes <= ANSWER_BYTES_MAX;
        let only_reads = !self.writes && planned.op.is_read();
        self.ops.len() < COMMANDS_MAX
            && self.bytes + bytes <= BYTES_MAX
            && (only_reads || answers_fit)
    }

    /// Adds a command.
    pub(super) fn push(&mut self, planned: Planned, bytes: usize, muted: bool) {
        let Planned { op, shape } = planned;
        self.bytes += bytes;
        self.answer_bytes_max = self.answer_bytes_max.saturating_add(op.answer_bytes_max());
        self.writes |= !op.is_read();
        self.ops.push(op);
        self.shapes.push_back(Expected { shape, muted });
    }

    /// Executes what is here, and writes the replies.
    pub(super) fn flush(&mut self, store: &dyn Store, stats: &Stats, writer: &mut Writer<'_>) {
        let Self { mut ops, mut shapes, writes, .. } = std::mem::take(self);
        while !ops.is_empty() {
            // Only reads may have to be asked again.
            let kept = if writes || ops.len() == 1 { Vec::new() } else { ops.clone() };
            let answers = match store.execute(ops) {
                Ok(answers) => answers,
                Err(error) => {
                    let error = error_reply(&error);
                    for _ in shapes.drain(..).filter(|expected| !expected.muted) {
                        stats.count_error();
                        writer.error(&error);
                    }
                    return;
                }
            };
            let fitting = match answers.iter().position(did_not_fit) {
                Some(first @ 1..) if !kept.is_empty() => first,
                _ => answers.len(),
            };
            for answer in &answers[..fitting] {
                let expected = shapes.pop_front().expect("one for each operation");
                if !expected.muted {
                    stats.count_answer(answer);
                    expected.shape.write(answer, writer);
                }
            }
            ops = kept.into_iter().skip(fitting).collect();
        }
    }
}

fn did_not_fit(answer: &Answer) -> bool {
    *answer == Answer::Error(OpError::AnswerTooLarge)
}
