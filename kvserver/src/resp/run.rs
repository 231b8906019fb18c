//! Pipelined commands on data, bundled: a run of them is executed as one request, which costs one
//! trip to the majority's disks instead of one for each.
//!
//! A bundle is invisible but for its speed. Its commands execute in order and are answered in order;
//! each fails alone. The limit on the size of a request's answers must not show either: a bundle
//! that writes holds no more than surely fits, and one that only reads is asked again from the first
//! command that did not fit.

use std::collections::VecDeque;

use super::ask::{Ask, BYTES_MAX, COMMANDS_MAX, Company};
use super::data_commands::{Planned, Shape};
use super::front_end::{Stats, error_reply};
use super::reply::Writer;
use crate::error::ExecuteError;
use crate::op::{ANSWER_BYTES_MAX, Answer, Op, OpError};

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

/// What an answer is for.
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

    /// Whether nothing waits to be executed.
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// What the store is to be asked, and what its answers are for.
    pub(super) fn ask(&mut self) -> (Ask, AskedRun) {
        let Self { ops, shapes, writes, bytes, answer_bytes_max } = std::mem::take(self);
        assert!(!ops.is_empty(), "there is nothing to ask");
        let company = if writes { Company::Writes } else { Company::Reads };
        // Only reads may have to be asked again.
        let kept = if writes { Vec::new() } else { ops.clone() };
        (Ask { ops, bytes, answer_bytes_max, company }, AskedRun { kept, shapes, alone: false })
    }
}

/// Commands that are being executed.
#[derive(Debug)]
pub(super) struct AskedRun {
    /// The operations, if they only read.
    kept: Vec<Op>,
    shapes: VecDeque<Expected>,
    /// No answers but theirs count towards the limit.
    alone: bool,
}

impl AskedRun {
    /// Writes the replies. What did not fit is to be asked again.
    pub(super) fn answer(
        mut self,
        result: Result<&[Answer], &ExecuteError>,
        stats: &Stats,
        writer: &mut Writer<'_>,
    ) -> Option<(Ask, Self)> {
        let answers = match result {
            Ok(answers) => answers,
            Err(error) => {
                let error = error_reply(error);
                for _ in self.shapes.drain(..).filter(|expected| !expected.muted) {
                    stats.count_error();
                    writer.error(&error);
                }
                return None;
            }
        };
        let fitting = self.fitting(answers);
        for answer in &answers[..fitting] {
            let expected = self.shapes.pop_front().expect("one for each operation");
            if !expected.muted {
                stats.count_answer(answer);
                expected.shape.write(answer, writer);
            }
        }
        if self.shapes.is_empty() {
            return None;
        }
        let kept = self.kept.split_off(fitting);
        let ask = Ask { ops: kept.clone(), bytes: 0, answer_bytes_max: 0, company: Company::None };
        Some((ask, Self { kept, shapes: self.shapes, alone: true }))
    }

    /// How many of the answers are final: if there was company, or something in front, the first
    /// that did not fit may fit when it is asked again.
    fn fitting(&self, answers: &[Answer]) -> usize {
        if self.kept.is_empty() {
            return answers.len();
        }
        let surely = usize::from(self.alone);
        let first = answers[surely..].iter().position(did_not_fit);
        first.map_or(answers.len(), |first| surely + first)
    }
}

fn did_not_fit(answer: &Answer) -> bool {
    *answer == Answer::Error(OpError::AnswerTooLarge)
}
