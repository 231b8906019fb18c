//! How long to wait before the next dial: twice as long each time, with jitter, up to a limit.

use std::time::Duration;

/// The row of pauses between failed dials.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The next pause: between half and all of the current step, so that the many ends that lost
    /// one peer at the same moment do not come back to it at the same moment.
    pub(super) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Starts the row again, after a success.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_start_again_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(20), ms(100));
        for step in [20, 40, 80, 100, 100] {
            let pause = backoff.pause();
            assert!((ms(step) / 2..=ms(step)).contains(&pause), "step {step}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= ms(20));
    }
}
